// The process at the other end of a Unix socket.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace berth::net {

// Its process id; 0 for other sockets and when the system does not say.
int peer_process(int fd);
// The system's user to whom it belonged when it connected. None for other sockets and when the system does not say.
std::optional<uid_t> peer_uid(int fd);
// That user's name; empty when the system does not know the user. It asks the system's user list, which is a file, or
// a service that may block: never on a worker.
std::string user_name(uid_t uid);

}  // namespace berth::net
