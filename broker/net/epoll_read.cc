// The epoll engine's receiving side: one recv per connection and turn into the engine's buffer, kept bytes in a block
// of the connection's own, and the three ways to learn that a peer has gone.
//
// Where the bytes of a delivery stand. A recv goes behind what was kept, so that the handler sees one span:
//
//     few kept bytes (kTailCopyMax):   receive buffer  | copy of the tail | new bytes ...      |
//     many kept bytes:                 tail block      | the tail         | new bytes ... room |
//
// Kept bytes may be half a password, and whoever has read the whole of it overwrites only what was lent: so wherever
// bytes of half a message are copied, the place that they leave is overwritten. Whole messages are never copied.
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fault.h"
#include "net/epoll_engine.h"

namespace berth::net {
namespace {

// With one of these reasons the peer would wait for something far away, so a peer that has closed is told of at once.
// Under the others (backpressure, pipeline) the bytes in front of its FIN are on their way through, and come first.
constexpr uint8_t kFarReasons = kPauseWaiting | kPauseLogin | kPauseHeld;

}  // namespace

// Everything that may be done for the reading side in one turn.
void EpollEngine::read_on(EpollConn* conn) {
  if (conn->eof_told) return;
  if (conn->paused) return look_for_hangup(conn);
  if (conn->resumed) {
    conn->resumed = 0;
    if (conn->tls && conn->tls->state() == TlsSession::State::kHandshake) {
      shake(conn);
    } else if (conn->tail && conn->tail->size() >= conn->need) {
      lend_tail(conn);
    }
    if (conn->paused) return;  // paused again; pause() has posted what is to be seen to
  }
  if (conn->wants_read()) receive(conn);
}

// `got` bytes stand behind `kept` ones, at one of the two places of the drawing. Always inlined: of its two callers
// the one is on the path of every query.
[[gnu::always_inline]] inline void EpollEngine::take_in(EpollConn* conn, size_t kept, size_t got) {
  if (kept > kTailCopyMax) {
    conn->tail->end += static_cast<uint32_t>(got);
    if (conn->tail->size() >= conn->need) lend_tail(conn);
  } else if (kept + got < conn->need) {
    make_room(conn, got);
    conn->tail->append({receive_.get() + (FAULT(stale_receive_buffer) ? 0 : kept), got});
    wipe(receive_.get(), kept + got);
  } else {
    const std::string_view rest = lend(conn, {receive_.get(), kept + got});
    if (conn->tail) [[unlikely]] {
      wipe(conn->tail->data(), conn->tail->end);
      drop_tail(conn);
    }
    keep(conn, rest);
  }
  // Fairness: what more there is to read waits for the next turn.
  if (conn->paused || !conn->wants_read()) return;
  conn->work |= kWorkRead;
  if (!conn->linked()) later_.push_back(conn);
}

void EpollEngine::receive(EpollConn* conn) {
  if (conn->tls) [[unlikely]]
    return receive_tls(conn);
  const size_t kept = conn->tail ? conn->tail->size() : 0;
  char* into = nullptr;
  size_t room = 0;
  if (kept <= kTailCopyMax) {
    if (kept > 0) std::memcpy(receive_.get(), conn->tail->bytes().data(), kept);
    into = receive_.get() + kept;
    room = kReceiveSize - kept;
  } else {
    // The last bytes of one long message need no more room than they take: to grow would copy all of it once more.
    const bool suffices = conn->tail->begin == 0 && conn->need > kept && conn->need - kept <= conn->tail->room();
    conn->tail->compact();
    if (conn->tail->room() < kReceiveMin && !suffices) make_room(conn, kReceiveMin);
    into = conn->tail->data() + conn->tail->end;
    room = conn->tail->room();
  }
  ssize_t got = 0;
  do {
    // Not recv(2) of the C library: in a process with threads that is a cancellation point, and costs two atomics.
    got = syscall(SYS_recvfrom, conn->fd, into, room, MSG_DONTWAIT, nullptr, nullptr);
  } while (got < 0 && errno == EINTR);
  // Less than asked for: the socket is empty, and what comes later is a new edge. (The end has told its edge already;
  // see wants_read.)
  conn->readable = got == static_cast<ssize_t>(room);
  if (got > 0) return take_in(conn, kept, static_cast<size_t>(got));
  received_nothing(conn, got);
}

// The end, an error (in errno), or neither: then there was nothing to read.
void EpollEngine::received_nothing(EpollConn* conn, ssize_t got) {
  ASSERT(got <= 0);
  if (got == 0) {
    tell_eof(conn, conn->error);
  } else if (errno != EAGAIN) {
    tell_eof(conn, conn->error ? conn->error : errno);
  } else if (conn->hung_up || conn->broken) {  // nothing left in front of the end
    tell_eof(conn, conn->error);
  }
}

// For what has been decrypted to there.
void EpollEngine::received(EpollConn* conn, size_t kept, size_t got) {
  take_in(conn, kept, got);
}

// Shows `bytes` to the handler until it wants more than there is; returns what it did not consume.
std::string_view EpollEngine::lend(EpollConn* conn, std::string_view bytes) {
  for (;;) {
    const Taken taken = conn->handler->on_bytes(bytes);
    ASSERT(taken.consumed <= bytes.size() && taken.need <= BlockPool::kMessageMax);
    bytes.remove_prefix(taken.consumed);
    conn->need = static_cast<uint32_t>(taken.need);
    // Once more only if it asked for bytes that are there, and got on: a handler that stands still would never end.
    const bool again = taken.need > 0 && bytes.size() >= taken.need && taken.consumed > 0;
    if (!again || conn->paused || conn->state != ConnState::kOpen) return bytes;
  }
}

void EpollEngine::lend_tail(EpollConn* conn) {
  Block* tail = conn->tail;
  const std::string_view rest = lend(conn, tail->bytes());
  if (rest.empty()) return drop_tail(conn);
  tail->begin = tail->end - static_cast<uint32_t>(rest.size());
  if (tail->capacity > BlockPool::kLarge && rest.size() <= tail->capacity / 4) {
    conn->tail = nullptr;  // a large block is not held for a small rest
    keep(conn, rest);
    blocks_.give(tail);
  }
}

void EpollEngine::keep(EpollConn* conn, std::string_view bytes) {
  ASSERT(!conn->tail);
  if (bytes.empty()) return;
  conn->tail = blocks_.take(bytes.size());
  conn->tail->append(bytes);
  scrub_lent(bytes);
}

// Makes room for `more` bytes behind the kept ones. The block grows by what has come, never at once to what was
// announced: a header that promises 16 MB costs nothing.
void EpollEngine::make_room(EpollConn* conn, size_t more) {
  if (!conn->tail) {
    conn->tail = blocks_.take(more);
    return;
  }
  Block* old = conn->tail;
  old->compact();
  if (old->room() >= more) return;
  const size_t least = old->size() + more;
  const size_t doubled = 2 * static_cast<size_t>(old->capacity);
  const size_t whole = conn->need + (conn->tls ? kTlsReceiveMin : 0);
  const size_t size = std::max(least, conn->need > 0 ? std::min(doubled, whole) : doubled);
  conn->tail = blocks_.take(size);
  conn->tail->append(old->bytes());
  wipe(old->data(), old->end);
  blocks_.give(old);
}

void EpollEngine::drop_tail(EpollConn* conn) {
  if (!conn->tail) return;
  blocks_.give(conn->tail);
  conn->tail = nullptr;
}

// A paused connection whose end the kernel has told.
void EpollEngine::look_for_hangup(EpollConn* conn) {
  if (!conn->ended()) return;
  bool at_once = conn->broken || conn->paused & kFarReasons;
  if (!at_once && conn->hung_up) {
    // A Unix socket's peer that has closed. What it sent last (a server's reason for leaving) comes first.
    int unread = 0;
    at_once = !conn->tail && (ioctl(conn->fd, FIONREAD, &unread) < 0 || unread == 0);
  }
  if (at_once) tell_eof(conn, conn->error);
}

void EpollEngine::tell_eof(EpollConn* conn, int error) {
  ASSERT(!conn->eof_told);
  conn->eof_told = 1;
  drop_tail(conn);  // half a message, and its end will not come
  conn->handler->on_eof(error);
}

}  // namespace berth::net
