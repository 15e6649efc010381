#include "net/peer_process.h"

#include <sys/socket.h>

namespace berth::net {

int peer_process(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return 0;
  return who.pid > 0 ? who.pid : 0;
}

}  // namespace berth::net
