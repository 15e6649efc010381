// The engine seam: the only thing that reads, writes and waits. Implementations: EpollEngine (net/epoll_engine.h),
// SimEngine (tests/sim). One engine per worker; every call below on the worker's own thread, save wake().
//
// Rules for both sides:
//  - Handlers run to completion and never block. An engine never calls a handler from inside a call that a handler
//    made: what follows from a call (a resumed read, a failed write, on_closed) is posted to the end of the turn.
//  - Memory is lent: the bytes of on_bytes live until it returns.
//  - After close() no handler call happens save on_closed, exactly once. After detach() none save on_detached. The
//  Conn
//    stays valid until then: a second close(), pause(), resume() mean nothing, and write() swallows.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/secret_memory.h"
#include "base/time.h"
#include "net/tls_session.h"

namespace berth::net {

struct Conn;     // an engine's record of one connection; opaque
struct Address;  // net/address.h

// Why a connection is not read. It is read iff no bit is set.
enum PauseReason : uint8_t {
  kPauseBackpressure = 1,  // the peer's connection has unsent bytes
  kPauseWaiting = 2,       // the client waits for a server
  kPausePipeline = 4,      // too many requests in flight
  kPauseLogin = 8,         // the login waits for something outside (DNS, a server's parameters)
  kPauseHeld = 16,         // held by PAUSE or by a limit
};

// What a handler did with lent bytes. `consumed` of them are done with; the engine keeps the rest and calls again
// when `need` bytes (counted from the first one kept) are there; 0 means: with whatever comes next.
struct Taken {
  size_t consumed = 0;
  size_t need = 0;
};

// The session's side of a connection.
class Handler {
 public:
  // The outcome of connect(): 0 or an errno value. After an error the connection must still be closed.
  virtual void on_connected(int error) = 0;
  virtual Taken on_bytes(std::string_view bytes) = 0;
  // The peer has closed (error 0) or the connection broke (errno). Called at most once, also while paused when the
  // hang-up can be seen without reading. Bytes that came before it were delivered unless the connection was paused:
  // one that waits, is in its login or held is told at once; under backpressure the bytes come first, after resume(),
  // unless the connection broke.
  virtual void on_eof(int error) = 0;
  // Everything that write() had to keep is sent now.
  virtual void on_drained() = 0;
  // The record is gone; the handler may free itself.
  virtual void on_closed() = 0;
  // The descriptor is the receiver's now, with what was read and not consumed, and with the TLS session if it has
  // one.
  virtual void on_detached(int fd, std::string_view unread, std::unique_ptr<TlsSession> tls) = 0;
  // The outcome of the handshake that start_tls() began; empty: from now on all bytes are what the peer has
  // encrypted. After an error, which the peer has been told, nothing follows and the connection must still be closed.
  virtual void on_handshake(std::string_view error);

 protected:
  ~Handler() = default;
};

class AcceptHandler {
 public:
  // A new descriptor, non-blocking and close-on-exec; the receiver owns it. `listener` is the number given to
  // listen(), `peer` the other end.
  virtual void on_accepted(int fd, int listener, const Address& peer) = 0;
  // accept(2) failed with EMFILE, ENFILE, ENOBUFS or ENOMEM: the engine tries again after kAcceptPause, without
  // spinning.
  virtual void on_accept_failed(int error, int listener) = 0;

 protected:
  ~AcceptHandler() = default;
};

// What an engine holds, for SHOW MEM.
struct EngineMemory {
  size_t conn_size = 0;          // of one connection's record
  size_t conns = 0;              // records in use
  size_t conn_bytes = 0;         // held for records, used or not
  size_t blocks = 0;             // blocks in use, for unsent bytes and incomplete messages
  size_t block_bytes = 0;        // their size
  size_t pooled_blocks = 0;      // blocks waiting to be used again
  size_t pooled_bytes = 0;       // their size
  size_t block_allocations = 0;  // since the start
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Starts to accept on a listening descriptor (shared with other engines; stays the caller's).
  virtual void listen(int fd, int listener, AcceptHandler* handler) = 0;
  // Stops accepting on it; returns once no accept can follow.
  virtual void unlisten(int fd) = 0;

  // Takes over a connected descriptor and starts reading.
  virtual Conn* attach(int fd, Handler* handler) = 0;
  // Starts to connect; on_connected follows. Never null: what fails at once is reported by on_connected, too.
  virtual Conn* connect(const Address& address, Handler* handler) = 0;

  // From now on the bytes on the wire are TLS, for both directions; on_handshake tells when the handshake is over.
  // Until then nothing may be written (it is swallowed) and on_bytes is not called. What the handler leaves of the
  // bytes that it is lent in this moment is taken for TLS, too: so whoever has asked for TLS in clear words must have
  // nothing behind them (T4). Not while paused. A session that came with on_detached goes on here, with the
  // descriptor attached just before: it is established, and nothing is told.
  virtual void start_tls(Conn* conn, std::unique_ptr<TlsSession> tls);
  // The session, to see what it has agreed on; null: none.
  virtual const TlsSession* tls(const Conn*) const { return nullptr; }

  // Takes all of it: sends what the kernel takes now, keeps a copy of the rest. Returns the bytes known to be unsent;
  // if not 0, on_drained follows. Inside a turn an engine may hold a few KiB per connection back until the turn's end
  // and count them as sent: what the kernel does not take of them is unsent from then on, and on_drained follows,
  // too. A broken connection swallows the bytes, and on_eof follows.
  virtual size_t write(Conn* conn, std::span<const iovec> spans) = 0;
  virtual size_t unsent(const Conn* conn) const = 0;

  virtual void pause(Conn* conn, PauseReason reason) = 0;
  // Kept bytes are delivered again at the end of the turn, before new ones.
  virtual void resume(Conn* conn, PauseReason reason) = 0;
  virtual uint8_t paused(const Conn* conn) const = 0;

  // Stops reading, says close_notify if it speaks TLS, sends what is unsent for at most kLingerTime, then closes;
  // on_closed follows.
  virtual void close(Conn* conn) = 0;
  // Takes the descriptor out; on_detached follows. Only with nothing unsent, as far as that is known: if the kernel
  // does not take what was held back, the descriptor is shut down, and whoever attaches it is told its end.
  virtual void detach(Conn* conn) = 0;
  // The descriptor, for getsockopt and getpeername only.
  virtual int descriptor(const Conn* conn) const = 0;

  // Waits for events until `deadline` (monotonic), or until wake(), and handles one batch of them.
  virtual void run_once(Micros deadline) = 0;
  // Makes run_once return soon. The only call for other threads.
  virtual void wake() = 0;
  // Monotonic time, read once a turn (after waiting).
  virtual Micros now() const = 0;
  virtual EngineMemory memory() const { return {}; }
};

inline size_t write(Engine& engine, Conn* conn, std::string_view bytes) {
  const iovec span{const_cast<char*>(bytes.data()), bytes.size()};
  return engine.write(conn, {&span, 1});
}

// Overwrites lent bytes that held a password: only inside on_bytes, and only what is consumed. The engine's buffers
// are used by all connections, and nobody is to find it there. (What an engine itself had to copy, it overwrites.)
inline void scrub_lent(std::string_view bytes) {
  wipe(const_cast<char*>(bytes.data()), bytes.size());
}

inline constexpr Micros kAcceptPause = 100 * kMillisecond;
inline constexpr Micros kLingerTime = 5 * kSecond;

}  // namespace berth::net
