// The epoll engine's turn: waiting, handing each event to the connection's state, and the agenda afterwards.
#include "net/epoll_engine.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/fault.h"
#include "net/address.h"
#include "net/socket_options.h"

namespace berth::net {
namespace {

EpollConn* record(Conn* conn) {
  return reinterpret_cast<EpollConn*>(conn);
}
const EpollConn* record(const Conn* conn) {
  return reinterpret_cast<const EpollConn*>(conn);
}
Conn* handle(EpollConn* conn) {
  return reinterpret_cast<Conn*>(conn);
}

int socket_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return errno;
  return error;
}

}  // namespace

EpollEngine::EpollEngine() : now_(monotonic_now()), receive_(new char[kReceiveSize + TlsSession::kHeldMost]) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ASSERT(epoll_ >= 0 && wake_ >= 0);
  // Edge-triggered, so each wake() is one event and the counter is never read.
  epoll_event event{EPOLLIN | EPOLLET, {.u64 = kTagWake}};
  ASSERT(epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) == 0);
  const timespec none{};
  microsecond_wait_ = epoll_pwait2(epoll_, events_.data(), 1, &none, nullptr) >= 0;
}

EpollEngine::~EpollEngine() {
  ::close(wake_);
  ::close(epoll_);
}

void EpollEngine::wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the event is pending anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

EngineMemory EpollEngine::memory() const {
  return {sizeof(EpollConn),      conns_.in_use(),         conns_.bytes(),         blocks_.blocks_in_use(),
          blocks_.bytes_in_use(), blocks_.blocks_pooled(), blocks_.bytes_pooled(), blocks_.allocations()};
}

// ---- Calls that begin a connection ----

Conn* EpollEngine::attach(int fd, Handler* handler) {
  ASSERT(fd >= 0 && handler);
  EpollConn* conn = conns_.make();
  conn->handler = handler;
  conn->fd = fd;
  if (!control(EPOLL_CTL_ADD, conn, kReadEvents)) fail_output(conn, errno);
  return handle(conn);
}

Conn* EpollEngine::connect(const Address& address, Handler* handler) {
  ASSERT(address.valid() && handler);
  EpollConn* conn = conns_.make();
  conn->handler = handler;
  conn->state = ConnState::kConnecting;
  conn->fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (conn->fd >= 0) {
    if (!address.is_unix()) send_at_once(conn->fd);
    const sockaddr* name = reinterpret_cast<const sockaddr*>(&address.storage);
    if (::connect(conn->fd, name, address.size) == 0) {  // a Unix socket connects at once
      if (control(EPOLL_CTL_ADD, conn, kReadEvents)) errno = 0;
    } else if (errno == EINPROGRESS || errno == EINTR) {
      conn->out_armed = 1;
      if (control(EPOLL_CTL_ADD, conn, kReadEvents | EPOLLOUT)) return handle(conn);
    }
  }
  conn->error = errno;
  post(conn, kWorkConnected);
  return handle(conn);
}

// ---- Small calls ----

size_t EpollEngine::unsent(const Conn* conn) const {
  return record(conn)->unsent;
}
uint8_t EpollEngine::paused(const Conn* conn) const {
  return record(conn)->paused;
}
int EpollEngine::descriptor(const Conn* conn) const {
  return record(conn)->fd;
}

void EpollEngine::pause(Conn* handle, PauseReason reason) {
  EpollConn* conn = record(handle);
  conn->paused |= reason;
  // The kernel has told of the hang-up before and will not repeat it: see whether this reason makes it matter now.
  if (conn->ended() && conn->state == ConnState::kOpen) post(conn, kWorkRead);
}

void EpollEngine::resume(Conn* handle, PauseReason reason) {
  EpollConn* conn = record(handle);
  if (!(conn->paused & reason)) return;
  conn->paused &= static_cast<uint8_t>(FAULT(pause_reasons_forgotten) ? 0 : ~reason);
  if (conn->paused || conn->state != ConnState::kOpen) return;
  // Also when nothing is kept yet: this may be a call from within on_bytes, which will leave some.
  conn->resumed = 1;
  post(conn, kWorkRead);
}

void EpollEngine::close(Conn* handle) {
  EpollConn* conn = record(handle);
  ASSERT(conn->state != ConnState::kDetaching);
  if (conn->state == ConnState::kClosing || conn->state == ConnState::kLingering) return;
  if (conn->tls) say_goodbye(conn);
  conn->state = ConnState::kClosing;
  post(conn, 0);
}

void EpollEngine::detach(Conn* handle) {
  EpollConn* conn = record(handle);
  const bool held_back = conn->gathered;
  if (held_back) send_gathered();
  ASSERT(conn->state == ConnState::kOpen && (held_back || conn->unsent == 0));
  if (conn->unsent > 0) {
    // We had not told the caller. A connection that has lost bytes is of no use: the next owner shall find its end.
    shutdown(conn->fd, SHUT_RDWR);
    drop_output(conn);
  }
  epoll_ctl(epoll_, EPOLL_CTL_DEL, conn->fd, nullptr);
  conn->state = ConnState::kDetaching;
  post(conn, 0);
}

bool EpollEngine::control(int operation, EpollConn* conn, uint32_t events) {
  epoll_event event{events, {.ptr = conn}};
  return epoll_ctl(epoll_, operation, conn->fd, &event) == 0;
}

// ---- The turn ----

void EpollEngine::run_once(Micros deadline) {
  if (busy_) give_way();
  const int count = wait(next_deadline(deadline));
  now_ = monotonic_now();
  busy_ = count > 0;
  in_turn_ = batch_.available();
  // No record is freed before the agenda, so an event of this batch never meets a record that has gone.
  for (int i = 0; i < count; ++i) dispatch(events_[i]);
  if (listeners_off_ > 0) retry_listeners();
  if (!lingering_.empty()) expire_lingering(now_);
  run_agenda();
  in_turn_ = false;
  send_gathered();
}

// Whom our sends have made runnable shall run before we look for events, as long as that is short (net/courtesy.h).
void EpollEngine::give_way() {
  if (!courtesy_.allowed(now_)) return;
  const Micros before = monotonic_now();
  sched_yield();
  const Micros after = monotonic_now();
  courtesy_.took(after - before, after);
}

// The engine's own timers may be due before the caller's deadline; with work at hand, there is no waiting at all.
Micros EpollEngine::next_deadline(Micros deadline) const {
  if (!agenda_.empty()) return 0;
  if (const EpollConn* first = lingering_.front()) deadline = std::min(deadline, first->linger_until);
  if (listeners_off_ > 0) {
    for (const Listener& listener : listeners_) {
      if (listener.retry_at > 0) deadline = std::min(deadline, listener.retry_at);
    }
  }
  return deadline;
}

// A wait that is interrupted goes on: a debugger does that, and the kernel when a ring of this thread has been
// closed.
int EpollEngine::wait(Micros deadline) {
  for (;;) {
    const int count = wait_once(deadline);
    if (count >= 0) return count;
    ASSERT(errno == EINTR);
  }
}

int EpollEngine::wait_once(Micros deadline) {
  constexpr Micros kForever = std::numeric_limits<Micros>::max();
  const Micros left = deadline == kForever ? kForever : deadline <= 0 ? 0 : deadline - monotonic_now();
  if (microsecond_wait_) {
    const Micros micros = std::max<Micros>(left, 0);
    const timespec time{micros / kSecond, (micros % kSecond) * 1000};
    return epoll_pwait2(epoll_, events_.data(), kEventsMax, left == kForever ? nullptr : &time, nullptr);
  }
  // Rounded up: a wait that ends before the deadline would only be repeated.
  const Micros millis = left <= 0 ? 0 : left / kMillisecond + 1;
  const int timeout = left == kForever ? -1 : static_cast<int>(std::min<Micros>(millis, 3'600'000));
  return epoll_wait(epoll_, events_.data(), kEventsMax, timeout);
}

void EpollEngine::dispatch(const epoll_event& event) {
  switch (event.data.u64 & kTagMask) {
    case 0: conn_on_event(static_cast<EpollConn*>(event.data.ptr), event.events); break;
    case kTagListener: accept_some(event.data.u64 >> 3); break;
    case kTagWake: break;  // to have returned is all that was asked for
  }
}

void EpollEngine::conn_on_event(EpollConn* conn, uint32_t events) {
  switch (conn->state) {
    case ConnState::kOpen: open_on_event(conn, events); break;
    case ConnState::kConnecting: connecting_on_event(conn, events); break;
    case ConnState::kLingering: lingering_on_event(conn, events); break;
    case ConnState::kFailed:     // told already
    case ConnState::kClosing:    // an event of the same batch; the agenda closes it
    case ConnState::kDetaching:  // likewise; the next engine will be told anew
      break;
  }
}

void EpollEngine::open_on_event(EpollConn* conn, uint32_t events) {
  if (events & EPOLLERR && !conn->broken) {
    // Sends would fail now, and nothing waits for them any more. Bytes that came before the error are still read.
    const int error = socket_error(conn->fd);
    fail_output(conn, error ? error : ECONNRESET);
  }
  if (events & EPOLLOUT && conn->unsent > 0) flush(conn);
  if (!remember(conn, events) || conn->state != ConnState::kOpen) return;
  read_soon(conn);
}

// Notes what an edge says about reading, as it is said once. Returns whether it says anything.
bool EpollEngine::remember(EpollConn* conn, uint32_t events) {
  if (events & EPOLLRDHUP) conn->half_closed = 1;
  if (events & EPOLLHUP) conn->hung_up = 1;
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return false;
  conn->readable = 1;
  return true;
}

// Reads now, unless the connection has a place on the agenda: one recv per turn is enough.
void EpollEngine::read_soon(EpollConn* conn) {
  if (conn->linked()) {
    conn->work |= kWorkRead;
  } else {
    read_on(conn);
  }
}

void EpollEngine::connecting_on_event(EpollConn* conn, uint32_t events) {
  if (conn->linked()) {  // it is connected, and the agenda will tell; what is there to read comes after that
    remember(conn, events);
    return;
  }
  conn->error = socket_error(conn->fd);
  conn->out_armed = 0;
  // Bytes that are already there (or a hang-up) become an event of their own by this call.
  if (conn->error == 0 && !control(EPOLL_CTL_MOD, conn, kReadEvents)) conn->error = errno;
  tell_connected(conn);
}

void EpollEngine::tell_connected(EpollConn* conn) {
  const int error = conn->error;
  conn->state = error == 0 ? ConnState::kOpen : ConnState::kFailed;
  conn->error = 0;
  conn->handler->on_connected(error);
}

void EpollEngine::lingering_on_event(EpollConn* conn, uint32_t events) {
  if (events & (EPOLLHUP | EPOLLERR)) {  // nobody will read the rest
    drop_output(conn);
  } else if (events & EPOLLOUT) {
    flush(conn);
  }
  if (conn->unsent > 0) return;
  lingering_.remove(conn);
  conn->state = ConnState::kClosing;
  post(conn, 0);
}

// ---- The agenda ----

void EpollEngine::post(EpollConn* conn, uint8_t work) {
  conn->work |= work;
  if (!conn->linked()) agenda_.push_back(conn);
}

void EpollEngine::run_agenda() {
  // Only those that are on it now: what they cause is for the next turn, lest two of them keep each other going while
  // the sockets wait.
  for (size_t left = agenda_.size(); left > 0; --left) perform(agenda_.pop_front());
  while (EpollConn* conn = later_.pop_front()) agenda_.push_back(conn);
}

void EpollEngine::perform(EpollConn* conn) {
  const uint8_t work = conn->work;
  conn->work = 0;
  switch (conn->state) {
    case ConnState::kConnecting:
      ASSERT(work & kWorkConnected);
      tell_connected(conn);
      if (conn->wants_read()) read_soon(conn);
      break;
    case ConnState::kOpen:
      if (work & kWorkRead) read_on(conn);
      break;
    case ConnState::kFailed: break;
    case ConnState::kClosing: begin_close(conn); break;
    case ConnState::kDetaching: finish_detach(conn); break;
    case ConnState::kLingering: ASSERT(false && "a lingering connection is on the lingering list"); break;
  }
}

}  // namespace berth::net
