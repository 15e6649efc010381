// The process at the other end of a Unix socket.
#pragma once

namespace berth::net {

// Its process id; 0 for other sockets and when the system does not say.
int peer_process(int fd);

}  // namespace berth::net
