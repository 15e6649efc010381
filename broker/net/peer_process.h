// The process at the other end of a Unix socket.
#pragma once

#include <string>

namespace berth::net {

// Its process id; 0 for other sockets and when the system does not say.
int peer_process(int fd);
// The name of the system's user to whom it belonged when it connected; empty for other sockets and when the system
// does not say or does not know the user. It asks the system's user list, which is a file, or a service that may
// block.
std::string peer_user(int fd);

}  // namespace berth::net
