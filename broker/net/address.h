// A socket address: IPv4, IPv6 or a Unix socket's path. Plain data.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace berth::net {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  bool valid() const { return size > 0; }
  bool is_unix() const { return storage.ss_family == AF_UNIX; }
  // "10.0.0.1", "::1" or "unix": as PgBouncer's SHOW prints the addr column; port() is 0 for Unix sockets.
  std::string host() const;
  int port() const;
  // "10.0.0.1:5432", "[::1]:5432", "unix:/tmp/.s.PGSQL.5432": for the log.
  std::string text() const;
};

// What is kept of a client's address for as long as it, or what it did, is known: 20 bytes.
struct ShortAddress {
  enum class Kind : uint8_t { kNone, kIpv4, kIpv6, kUnix };
  std::array<unsigned char, 16> bytes{};  // in network order; of IPv4 the first four
  uint16_t port = 0;                      // of a Unix socket, that in its name: see shown_port()
  Kind kind = Kind::kNone;

  std::string host() const;  // as Address::host()
};
static_assert(sizeof(ShortAddress) == 20);
ShortAddress shorten(const Address& address);

// A Unix socket has no port, so it is read off the path's end (.s.PGSQL.6432), as PgBouncer shows it.
int shown_port(const Address& address);

// A literal IPv4 or IPv6 address; an Error for anything else (a name must be resolved).
Result<Address> parse_ip(std::string_view host, int port);
// The socket that PostgreSQL opens in `directory` for `port`; a leading '@' means the abstract name space. An Error
// when the path does not fit (107 bytes).
Result<Address> unix_address(std::string_view directory, int port);
// The two ends of a connected socket; invalid when it has gone.
Address peer_address(int fd);
Address local_address(int fd);

}  // namespace berth::net
