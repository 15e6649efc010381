// Addresses to text and back. No name is ever looked up here; that is the resolver's work.
#include "net/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace berth::net {
namespace {

constexpr size_t kUnixPathMax = sizeof(sockaddr_un::sun_path) - 1;  // 107 bytes and the end

template <typename T>
const T& as(const Address& address) {
  return reinterpret_cast<const T&>(address.storage);
}

// The path of a Unix socket; '@' stands for the abstract name space's leading zero; empty when it has no name.
std::string unix_path(const Address& address) {
  const size_t head = offsetof(sockaddr_un, sun_path);
  if (address.size <= head) return {};
  const sockaddr_un& name = as<sockaddr_un>(address);
  const size_t size = address.size - head;
  if (name.sun_path[0] == '\0') return "@" + std::string(name.sun_path + 1, size - 1);
  return std::string(name.sun_path, strnlen(name.sun_path, size));
}

}  // namespace

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (!valid()) return "";
  switch (storage.ss_family) {
    case AF_INET: return inet_ntop(AF_INET, &as<sockaddr_in>(*this).sin_addr, text, sizeof text);
    case AF_INET6: return inet_ntop(AF_INET6, &as<sockaddr_in6>(*this).sin6_addr, text, sizeof text);
    case AF_UNIX: return "unix";
    default: return "";
  }
}

int Address::port() const {
  if (!valid()) return 0;
  if (storage.ss_family == AF_INET) return ntohs(as<sockaddr_in>(*this).sin_port);
  if (storage.ss_family == AF_INET6) return ntohs(as<sockaddr_in6>(*this).sin6_port);
  return 0;
}

std::string Address::text() const {
  if (!valid()) return "(none)";
  if (is_unix()) return "unix:" + unix_path(*this);
  if (storage.ss_family == AF_INET6) return fmt::format("[{}]:{}", host(), port());
  return fmt::format("{}:{}", host(), port());
}

int shown_port(const Address& address) {
  if (!address.valid() || !address.is_unix()) return address.valid() ? address.port() : 0;
  const std::string path = address.text();
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return 0;
  int port = 0;
  for (const char digit : path.substr(dot + 1)) {
    if (digit < '0' || digit > '9' || port > 65535) return 0;
    port = port * 10 + (digit - '0');
  }
  return port;
}

ShortAddress shorten(const Address& address) {
  ShortAddress out;
  if (!address.valid()) return out;
  out.port = static_cast<uint16_t>(shown_port(address));
  switch (address.storage.ss_family) {
    case AF_INET:
      out.kind = ShortAddress::Kind::kIpv4;
      std::memcpy(out.bytes.data(), &as<sockaddr_in>(address).sin_addr, 4);
      break;
    case AF_INET6:
      out.kind = ShortAddress::Kind::kIpv6;
      std::memcpy(out.bytes.data(), &as<sockaddr_in6>(address).sin6_addr, 16);
      break;
    case AF_UNIX: out.kind = ShortAddress::Kind::kUnix; break;
    default: break;
  }
  return out;
}

std::string ShortAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  switch (kind) {
    case Kind::kNone: return "";
    case Kind::kIpv4: return inet_ntop(AF_INET, bytes.data(), text, sizeof text);
    case Kind::kIpv6: return inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
    case Kind::kUnix: return "unix";
  }
  return "";
}

Result<Address> parse_ip(std::string_view host, int port) {
  if (port < 0 || port > 65535) return Error{fmt::format("invalid port number: {}", port)};
  const std::string text(host);
  Address address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (text.find('\0') != std::string::npos) return Error{"not an IP address"};
  if (inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof v4;
    return address;
  }
  if (inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof v6;
    return address;
  }
  return Error{fmt::format("not an IP address: {}", text)};
}

Result<Address> unix_address(std::string_view directory, int port) {
  const std::string path = fmt::format("{}/.s.PGSQL.{}", directory, port);
  if (path.size() > kUnixPathMax) {
    return Error{fmt::format("Unix socket path \"{}\" is too long (at most {} bytes)", path, kUnixPathMax)};
  }
  if (path.find('\0') != std::string::npos) return Error{"Unix socket path contains a zero byte"};
  Address address;
  auto& name = reinterpret_cast<sockaddr_un&>(address.storage);
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const bool abstract = path[0] == '@';
  if (abstract) name.sun_path[0] = '\0';
  // An abstract name ends where its size says, a path with a zero byte.
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  return address;
}

static Address name_of(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  Address address;
  socklen_t size = sizeof address.storage;
  if (get(fd, reinterpret_cast<sockaddr*>(&address.storage), &size) == 0) address.size = size;
  return address;
}

Address peer_address(int fd) {
  return name_of(fd, getpeername);
}
Address local_address(int fd) {
  return name_of(fd, getsockname);
}

}  // namespace berth::net
