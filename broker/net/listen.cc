#include "net/listen.h"

#include <fmt/format.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "net/address.h"
#include "net/socket_options.h"

namespace berth::net {

namespace {

struct Listening {
  const ListenPlace& place;
  int port;
  ListenSockets out;
  std::vector<std::string> mistakes;

  void mistake(const std::string& where, const std::string& why) {
    mistakes.push_back(fmt::format("cannot listen on {}: {}", where, why));
  }
};

std::string why_of(int error) {
  if (error == EADDRINUSE) return "address already in use by another process";
  if (error == EADDRNOTAVAIL) return "this machine does not have the address";
  return std::strerror(error);
}

int open_socket(const Address& address) {
  return socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

const sockaddr* raw(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}

// ---- TCP

// Opens one address. 0, or the errno value.
int listen_tcp(Listening& state, const Address& address) {
  const int fd = open_socket(address);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Else the IPv6 socket of "*" takes the port for IPv4 too, and its own partner fails.
  if (address.storage.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  send_at_once(fd);
  keep_alive(fd, state.place.keepalive);
  defer_accept(fd, state.place.defer_accept);
  if (bind(fd, raw(address), address.size) != 0 || listen(fd, state.place.backlog) != 0) {
    const int error = errno;
    close(fd);
    return error;
  }
  ListenSocket socket;
  socket.fd = fd;
  socket.text = local_address(fd).text();
  state.out.sockets.push_back(std::move(socket));
  return 0;
}

Result<std::vector<Address>> resolve(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int problem = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (problem != 0) return Error{problem == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(problem), {}};
  std::vector<Address> addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    if (at->ai_addrlen > sizeof(sockaddr_storage)) continue;
    Address address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
    const auto same = [&](const Address& other) { return other.text() == address.text(); };
    if (std::none_of(addresses.begin(), addresses.end(), same)) addresses.push_back(address);
  }
  freeaddrinfo(found);
  return addresses;
}

// A name, or "*", that has several addresses needs one of them; those that this machine lacks (no IPv6) are left out.
void listen_on_host(Listening& state, const std::string& host) {
  std::vector<Address> addresses;
  const bool all = host == "*";
  if (all) {
    addresses = {parse_ip("0.0.0.0", state.port).value(), parse_ip("::", state.port).value()};
  } else {
    Result<std::vector<Address>> found = resolve(host, state.port);
    if (!found) return state.mistake(host, found.error().text);
    addresses = std::move(found.value());
  }
  const size_t before = state.out.sockets.size();
  std::optional<std::string> absent;
  for (const Address& address : addresses) {
    const int error = listen_tcp(state, address);
    if (error == 0) continue;
    if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) {
      absent = address.text();
    } else {
      state.mistake(address.text(), why_of(error));
    }
  }
  if (!absent) return;
  if (state.out.sockets.size() == before) return state.mistake(*absent, why_of(EADDRNOTAVAIL));
  if (!all) state.out.notes.push_back(fmt::format("not listening on {}: {}", *absent, why_of(EADDRNOTAVAIL)));
}

// ---- Unix

// Makes room for a socket at `path`. Empty: there is room now, else why not.
std::string clear_stale_socket(const std::string& path, const Address& address) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) return errno == ENOENT ? "" : std::strerror(errno);
  if (!S_ISSOCK(status.st_mode)) return "there is a file that is no socket";
  const int fd = open_socket(address);
  if (fd < 0) return std::strerror(errno);
  const int error = connect(fd, raw(address), address.size) == 0 ? 0 : errno;
  close(fd);
  // Only a refusal says that nobody listens. A full queue (EAGAIN) is a live process, and what may not be tried
  // (EACCES) is not ours to remove.
  if (error == ENOENT) return {};
  if (error == EACCES || error == EPERM) return "there is a socket that this user may not use";
  if (error != ECONNREFUSED) return "address already in use: another process listens on the socket";
  return unlink(path.c_str()) == 0 || errno == ENOENT
             ? ""
             : fmt::format("cannot remove the stale socket: {}", std::strerror(errno));
}

std::optional<gid_t> find_group(const std::string& name) {
  gid_t number = 0;
  const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (problem == std::errc() && end == name.data() + name.size()) return number;
  const group* found = getgrnam(name.c_str());
  return found ? std::optional<gid_t>(found->gr_gid) : std::nullopt;
}

// Sets owner and permissions of a socket's file. Empty: done.
std::string give_access(const ListenPlace& place, const std::string& path) {
  if (!place.unix_group.empty()) {
    const std::optional<gid_t> group = find_group(place.unix_group);
    if (!group) return fmt::format("unix_socket_group \"{}\" does not exist", place.unix_group);
    if (chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) {
      return fmt::format("cannot give the socket to group \"{}\": {}", place.unix_group, std::strerror(errno));
    }
  }
  if (chmod(path.c_str(), static_cast<mode_t>(place.unix_mode)) != 0) {
    return fmt::format("cannot set the socket's permissions: {}", std::strerror(errno));
  }
  return {};
}

// From bind on the file is ours; it is born without any access, so that nobody comes in before give_access.
std::string bind_unix(Listening& state, ListenSocket& socket, const Address& address) {
  const mode_t before = umask(0777);
  const int bound = bind(socket.fd, raw(address), address.size);
  const int error = errno;
  umask(before);
  if (bound != 0) return error == EADDRINUSE ? "address already in use by another process" : std::strerror(error);
  if (!socket.unix_path.empty()) {
    struct stat status;
    if (lstat(socket.unix_path.c_str(), &status) == 0) {
      socket.device = status.st_dev;
      socket.inode = status.st_ino;
    }
    std::string why = give_access(state.place, socket.unix_path);
    if (!why.empty()) return why;
  }
  return listen(socket.fd, state.place.backlog) == 0 ? "" : std::strerror(errno);
}

void listen_on_unix(Listening& state) {
  const Result<Address> address = unix_address(state.place.unix_directory, state.port);
  if (!address) return state.mistake("unix:" + state.place.unix_directory, address.error().text);
  ListenSocket socket;
  socket.is_unix = true;
  socket.text = address.value().text();
  const bool abstract = state.place.unix_directory.starts_with('@');
  const std::string path = fmt::format("{}/.s.PGSQL.{}", state.place.unix_directory, state.port);
  if (!abstract) {
    const std::string why = clear_stale_socket(path, address.value());
    if (!why.empty()) return state.mistake(socket.text, why);
  }
  socket.fd = open_socket(address.value());
  if (socket.fd < 0) return state.mistake(socket.text, std::strerror(errno));
  if (!abstract) socket.unix_path = path;
  const std::string why = bind_unix(state, socket, address.value());
  const std::string text = socket.text;
  state.out.sockets.push_back(std::move(socket));
  if (!why.empty()) state.mistake(text, why);  // with the others it is closed, and its file removed if it is ours
}

}  // namespace

Result<ListenSockets> listen_on(const ListenPlace& place, int port) {
  Listening state{place, port, {}, {}};
  for (const std::string& host : place.hosts) listen_on_host(state, host);
  if (!place.unix_directory.empty()) listen_on_unix(state);
  if (state.mistakes.empty()) return std::move(state.out);
  close_listeners(state.out.sockets);
  return Error{fmt::format("{}", fmt::join(state.mistakes, "\n")), {}};
}

void close_listeners(std::vector<ListenSocket>& sockets) {
  for (ListenSocket& socket : sockets) {
    struct stat status;
    const bool ours = !socket.unix_path.empty() && socket.inode != 0 &&
                      lstat(socket.unix_path.c_str(), &status) == 0 && status.st_dev == socket.device &&
                      status.st_ino == socket.inode;
    if (ours) unlink(socket.unix_path.c_str());
    if (socket.fd >= 0) close(socket.fd);
  }
  sockets.clear();
}

}  // namespace berth::net
