#include "net/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace berth::net {

static void set(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

void send_at_once(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void defer_accept(int fd, bool on) {
  set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, on ? kDeferSeconds : 0);
}

void keep_alive(int fd, bool on) {
  set(fd, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
}

void tune_tcp_socket(int fd, const TcpOptions& options) {
  if (options.keepalive) {
    if (options.keepalive_idle > 0) set(fd, IPPROTO_TCP, TCP_KEEPIDLE, options.keepalive_idle);
    if (options.keepalive_interval > 0) set(fd, IPPROTO_TCP, TCP_KEEPINTVL, options.keepalive_interval);
    if (options.keepalive_count > 0) set(fd, IPPROTO_TCP, TCP_KEEPCNT, options.keepalive_count);
  }
  if (options.user_timeout > 0) set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options.user_timeout);
  if (options.buffer > 0) {
    set(fd, SOL_SOCKET, SO_SNDBUF, options.buffer);
    set(fd, SOL_SOCKET, SO_RCVBUF, options.buffer);
  }
}

}  // namespace berth::net
