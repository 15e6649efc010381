#include "net/peer_process.h"

#include <pwd.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

namespace berth::net {

namespace {

constexpr size_t kUserRecordMax = 65536;  // of a line of the user list

bool credentials(int fd, ucred& who) {
  socklen_t size = sizeof who;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0;
}

}  // namespace

int peer_process(int fd) {
  ucred who{};
  return credentials(fd, who) && who.pid > 0 ? who.pid : 0;
}

std::optional<uid_t> peer_uid(int fd) {
  ucred who{};
  if (!credentials(fd, who) || who.uid == static_cast<uid_t>(-1)) return std::nullopt;  // other sockets have no user
  return who.uid;
}

std::string user_name(uid_t uid) {
  for (size_t size = 1024; size <= kUserRecordMax; size *= 4) {
    std::vector<char> memory(size);
    passwd record{};
    passwd* found = nullptr;
    const int error = getpwuid_r(uid, &record, memory.data(), memory.size(), &found);
    if (error == 0) return found ? found->pw_name : std::string();
    if (error != ERANGE) return {};
  }
  return {};
}

}  // namespace berth::net
