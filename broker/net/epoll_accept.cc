// The epoll engine's listeners. Every worker accepts on the same sockets; the kernel wakes one of them.
#include <sys/socket.h>

#include <cerrno>

#include "net/address.h"
#include "net/epoll_engine.h"

namespace berth::net {

void EpollEngine::listen(int fd, int listener, AcceptHandler* handler) {
  ASSERT(fd >= 0 && handler);
  size_t place = 0;
  while (place < listeners_.size() && listeners_[place].fd >= 0) ++place;
  if (place == listeners_.size()) listeners_.emplace_back();
  listeners_[place] = {fd, listener, handler, 0};
  ASSERT(watch(place));
}

void EpollEngine::unlisten(int fd) {
  for (Listener& listener : listeners_) {
    if (listener.fd != fd) continue;
    if (listener.retry_at > 0) {
      --listeners_off_;
    } else {
      epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    }
    listener = {};
  }
}

bool EpollEngine::watch(size_t place) {
  // Level-triggered, so that what kAcceptBatch left is told again; exclusive, so that one worker wakes and not all.
  epoll_event event{EPOLLIN | EPOLLEXCLUSIVE, {.u64 = place << 3 | kTagListener}};
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, listeners_[place].fd, &event) == 0;
}

void EpollEngine::accept_some(size_t place) {
  for (int i = 0; i < kAcceptBatch; ++i) {
    if (!accept_one(place)) return;
  }
}

// Returns whether there may be another one.
bool EpollEngine::accept_one(size_t place) {
  const Listener listener = listeners_[place];  // a copy: the handler may call listen() or unlisten()
  if (listener.fd < 0 || listener.retry_at > 0) return false;
  Address peer;
  peer.size = sizeof peer.storage;
  const int fd =
      accept4(listener.fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    listener.handler->on_accepted(fd, listener.number, peer);
    return true;
  }
  const int error = errno;
  switch (error) {
    case EAGAIN:
      return false;  // another worker was faster
    // This one connection has failed before it was accepted; accept(2) lists them. The next may be well.
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
    case ETIMEDOUT: return true;
    default: break;
  }
  // Out of descriptors or memory. The connection stays in the queue and the socket readable, so looking away is the
  // only way not to spin.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, listener.fd, nullptr);
  listeners_[place].retry_at = now_ + kAcceptPause;
  ++listeners_off_;
  listener.handler->on_accept_failed(error, listener.number);
  return false;
}

void EpollEngine::retry_listeners() {
  for (size_t place = 0; place < listeners_.size(); ++place) {
    Listener& listener = listeners_[place];
    if (listener.retry_at == 0 || listener.retry_at > now_) continue;
    if (watch(place)) {
      listener.retry_at = 0;
      --listeners_off_;
    } else {
      listener.retry_at = now_ + kAcceptPause;
    }
  }
}

}  // namespace berth::net
