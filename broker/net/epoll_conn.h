// The epoll engine's record of one connection, and the little enums that say where it stands. Only the files
// net/epoll_*.cc include this; everybody else knows a Conn as an opaque pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/block_pool.h"
#include "base/intrusive_list.h"
#include "base/time.h"
#include "net/engine.h"
#include "net/tls_session.h"

namespace berth::net {

enum class ConnState : uint8_t {
  kConnecting,  // connect(2) is under way
  kOpen,        // reading unless paused, writing
  kFailed,      // the connect failed; waits for close()
  kClosing,     // close() was called; the end of the turn takes it from here
  kLingering,   // unsent bytes still go out, for at most kLingerTime
  kDetaching,   // out of epoll; on_detached is posted
};

// What the end of the turn has to do for a connection. Close and detach need no bit: the state says it.
enum ConnWork : uint8_t {
  kWorkConnected = 1,  // tell the outcome of connect()
  kWorkRead = 2,       // deliver kept bytes, read, or look for a hang-up while paused
};

struct WorkTag;

// Up to this, copying the tail in front of the next bytes is cheaper than to receive into a block.
inline constexpr size_t kTailCopyMax = BlockPool::kSmall;

// Behind a long tail there is room for at least so many bytes, lest they come one by one.
inline constexpr size_t kReceiveMin = 16 * 1024;
// With TLS, where more may be decrypted than was received. Behind the last bytes of a message, too: a block that
// grows to the size of one message has this room behind it, so that it need not grow once more.
inline constexpr size_t kTlsReceiveMin = kReceiveMin + TlsSession::kHeldMost;

// On at most one of three lists: the agenda, the agenda of the next turn, or the lingering ones.
struct EpollConn : ListHook<WorkTag> {
  Handler* handler = nullptr;
  Block* out_first = nullptr;  // unsent bytes, oldest first
  Block* out_last = nullptr;
  size_t unsent = 0;
  Block* tail = nullptr;  // received, not consumed; null instead of empty. Plain, save before a handshake (shake())
  std::unique_ptr<TlsSession> tls;  // null: plain
  Micros linger_until = 0;
  uint32_t need = 0;  // no on_bytes before so many bytes are there
  int fd = -1;
  int error = 0;  // errno for on_connected or on_eof
  ConnState state = ConnState::kOpen;
  uint8_t paused = 0;  // PauseReason bits
  uint8_t work = 0;    // ConnWork bits
  // What the kernel has told. Edge-triggered: it says each of these once, so they are remembered here.
  uint8_t readable : 1 = 0;
  uint8_t half_closed : 1 = 0;  // EPOLLRDHUP: no more bytes will come behind those in the socket
  uint8_t hung_up : 1 = 0;      // EPOLLHUP: closed in both directions
  uint8_t broken : 1 = 0;       // EPOLLERR, or a send failed: what is written now is swallowed
  uint8_t resumed : 1 = 0;      // kept bytes have to be shown again
  uint8_t eof_told : 1 = 0;     // on_eof was called; nothing is read any more
  uint8_t out_armed : 1 = 0;    // EPOLLOUT is registered
  uint8_t gathered : 1 = 0;     // has bytes that go at the end of the turn

  bool ended() const { return half_closed || hung_up || broken; }
  // Whether a recv may bring something: bytes, the end or an error.
  bool wants_read() const { return state == ConnState::kOpen && !eof_told && (readable || ended()); }
};
static_assert(sizeof(EpollConn) <= 96, "an idle client pays for this record");

}  // namespace berth::net
