// The epoll engine's sending side: what the kernel does not take at once is copied to a chain of blocks and follows
// with EPOLLOUT. And the end of a record: lingering, closing, handing over.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/fault.h"
#include "net/epoll_engine.h"

namespace berth::net {
namespace {

constexpr size_t kSpansMax = 64;  // per sendmsg; more take the way over the blocks
constexpr int kSendFlags = MSG_NOSIGNAL | MSG_DONTWAIT;

// Bytes sent, or -1 and errno. No bytes and no error cannot be.
ssize_t send_spans(int fd, std::span<const iovec> spans) {
  ssize_t sent = 0;
  do {
    if (spans.size() == 1) {
      // Not send(2) of the C library: see epoll_read.cc.
      sent = syscall(SYS_sendto, fd, spans[0].iov_base, spans[0].iov_len, kSendFlags, nullptr, 0);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(spans.data());
      message.msg_iovlen = std::min(spans.size(), kSpansMax);
      sent = sendmsg(fd, &message, kSendFlags);
    }
  } while (sent < 0 && errno == EINTR);
  return sent;
}

}  // namespace

size_t EpollEngine::write(Conn* handle, std::span<const iovec> spans) {
  EpollConn* conn = reinterpret_cast<EpollConn*>(handle);
  ASSERT(conn->state != ConnState::kConnecting && conn->state != ConnState::kDetaching);
  if (conn->state != ConnState::kOpen || conn->broken) return 0;
  if (conn->tls) [[unlikely]]
    return encrypt(conn, spans);
  size_t total = 0;
  for (const iovec& span : spans) total += span.iov_len;
  if (gather(conn, spans, total)) return 0;
  if (conn->broken) return 0;
  size_t sent = 0;
  if (conn->unsent == 0 && total > 0) {
    const ssize_t result = send_spans(conn->fd, spans);
    if (result < 0 && errno != EAGAIN) {
      fail_output(conn, errno);
      return 0;
    }
    sent = result > 0 ? static_cast<size_t>(result) : 0;
  }
  if (sent < total) keep_unsent(conn, spans, total, sent);
  return conn->unsent;
}

// Small sends of a turn wait for its end. What the connection has gathered before goes with it or first: a login's
// last two answers, say, are one packet.
bool EpollEngine::gather(EpollConn* conn, std::span<const iovec> spans, size_t bytes) {
  const bool small = in_turn_ && bytes > 0 && bytes <= SendBatch::kLongest;
  if (conn->gathered && small && batch_.extend(conn, spans, bytes)) return true;
  if (conn->gathered || (small && !batch_.has_room(bytes))) send_gathered();
  if (!small || conn->unsent > 0 || conn->broken) return false;
  batch_.add(conn, conn->fd, spans, bytes);
  conn->gathered = 1;
  return true;
}

void EpollEngine::send_gathered() {
  if (batch_.empty()) return;
  for (const SendBatch::Entry& entry : batch_.send()) {
    EpollConn* conn = entry.conn;
    conn->gathered = 0;
    if (conn->broken || entry.result == static_cast<int>(entry.size)) continue;
    if (entry.result < 0 && entry.result != -EAGAIN && entry.result != -EINTR) {
      fail_output(conn, -entry.result);
    } else {
      const iovec bytes = batch_.bytes_of(entry);
      keep_unsent(conn, {&bytes, 1}, entry.size, static_cast<size_t>(std::max(entry.result, 0)));
    }
  }
  batch_.clear();
}

// The kernel has taken the first `sent` bytes of these only.
void EpollEngine::keep_unsent(EpollConn* conn, std::span<const iovec> spans, size_t bytes, size_t sent) {
  store(conn, spans, sent);
  conn->unsent += bytes - sent;
  if (conn->out_armed) return;
  conn->out_armed = 1;
  // If there is room by now, this call makes it an event.
  ASSERT(control(EPOLL_CTL_MOD, conn, kReadEvents | EPOLLOUT));
}

// Copies the spans to the chain, without their first `skip` bytes.
void EpollEngine::store(EpollConn* conn, std::span<const iovec> spans, size_t skip) {
  for (const iovec& span : spans) {
    const size_t gone = std::min(skip, span.iov_len);
    skip -= gone;
    store_bytes(conn, {static_cast<const char*>(span.iov_base) + gone, span.iov_len - gone});
  }
}

void EpollEngine::store_bytes(EpollConn* conn, std::string_view bytes) {
  while (!bytes.empty()) {
    if (!conn->out_last || conn->out_last->room() == 0) {
      Block* block = blocks_.take(std::min(bytes.size(), BlockPool::kLarge));
      (conn->out_last ? conn->out_last->next : conn->out_first) = block;
      conn->out_last = block;
    }
    const size_t some = std::min(bytes.size(), conn->out_last->room());
    conn->out_last->append(bytes.substr(0, some));
    bytes.remove_prefix(some);
  }
}

// The socket has room again. Sends until it is full or nothing is left.
void EpollEngine::flush(EpollConn* conn) {
  ASSERT(conn->unsent > 0);
  while (conn->unsent > 0) {
    std::array<iovec, kSpansMax> spans;
    size_t count = 0;
    size_t offered = 0;
    for (Block* block = conn->out_first; block && count < spans.size(); block = block->next) {
      spans[count++] = {block->data() + block->begin, block->size()};
      offered += block->size();
    }
    const ssize_t sent = send_spans(conn->fd, {spans.data(), count});
    if (sent < 0 && errno != EAGAIN) return fail_output(conn, errno);
    if (sent > 0) forget_sent(conn, static_cast<size_t>(sent));
    if (sent < static_cast<ssize_t>(offered)) return;  // full; an edge follows
  }
  conn->out_armed = 0;
  ASSERT(control(EPOLL_CTL_MOD, conn, kReadEvents));
  if (conn->state == ConnState::kOpen) conn->handler->on_drained();
}

void EpollEngine::forget_sent(EpollConn* conn, size_t sent) {
  ASSERT(sent <= conn->unsent);
  conn->unsent -= sent;
  while (sent > 0) {
    Block* block = conn->out_first;
    const size_t some = std::min(sent, block->size());
    block->begin += static_cast<uint32_t>(some);
    sent -= some;
    if (block->size() > 0) return;
    conn->out_first = block->next;
    if (!conn->out_first) conn->out_last = nullptr;
    blocks_.give(block);
  }
}

// Nothing can be sent any more. The end is told by the agenda, after the bytes that the peer sent before it left.
void EpollEngine::fail_output(EpollConn* conn, int error) {
  conn->broken = 1;
  if (conn->error == 0) conn->error = error;
  drop_output(conn);
  if (conn->state == ConnState::kOpen) post(conn, kWorkRead);
}

void EpollEngine::drop_output(EpollConn* conn) {
  while (Block* block = conn->out_first) {
    conn->out_first = block->next;
    blocks_.give(block);
  }
  conn->out_last = nullptr;
  conn->unsent = 0;
}

// ---- The end of a record; all of these on the agenda, so no handler's span is cut off ----

void EpollEngine::begin_close(EpollConn* conn) {
  drop_tail(conn);
  if (conn->gathered) send_gathered();
  conn->state = ConnState::kLingering;
  // An edge that came between close() and now was passed over: ask the socket once (Close.RoomToldInTheSameBatch).
  if (conn->unsent > 0) flush(conn);
  if (conn->unsent == 0 || FAULT(last_words_lost)) return finish_close(conn);
  conn->linger_until = now_ + kLingerTime;
  lingering_.push_back(conn);
}

void EpollEngine::finish_close(EpollConn* conn) {
  ASSERT(!conn->gathered);
  drop_output(conn);
  if (conn->fd >= 0) {
    // A socket closed with unread bytes answers RST, which would take our last words (an error message) from the
    // peer. Of one that says no more and was read empty there are none.
    if (!conn->half_closed || conn->readable || conn->tls) {
      [[maybe_unused]] const ssize_t discarded = recv(conn->fd, receive_.get(), kReceiveSize, MSG_DONTWAIT);
    }
    ::close(conn->fd);
  }
  Handler* handler = conn->handler;
  conns_.destroy(conn);
  handler->on_closed();
}

void EpollEngine::finish_detach(EpollConn* conn) {
  Handler* handler = conn->handler;
  const int fd = conn->fd;
  Block* tail = conn->tail;
  std::unique_ptr<TlsSession> tls = std::move(conn->tls);
  conns_.destroy(conn);
  handler->on_detached(fd, tail && !FAULT(kept_bytes_lost) ? tail->bytes() : std::string_view(), std::move(tls));
  if (tail) blocks_.give(tail);
}

void EpollEngine::end_lingering() {
  expire_lingering(std::numeric_limits<Micros>::max());
}

void EpollEngine::expire_lingering(Micros until) {
  for (EpollConn* conn = lingering_.front(); conn && conn->linger_until <= until; conn = lingering_.front()) {
    lingering_.remove(conn);
    drop_output(conn);
    conn->state = ConnState::kClosing;
    post(conn, 0);
  }
}

}  // namespace berth::net
