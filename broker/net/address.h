// A socket address: IPv4, IPv6 or a Unix socket's path. Plain data.
#pragma once

#include <sys/socket.h>

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

// A literal IPv4 or IPv6 address; an Error for anything else (a name must be resolved).
Result<Address> parse_ip(std::string_view host, int port);
// The socket that PostgreSQL opens in `directory` for `port`; a leading '@' means the abstract name space. An Error
// when the path does not fit (107 bytes).
Result<Address> unix_address(std::string_view directory, int port);
// The two ends of a connected socket; invalid when it has gone.
Address peer_address(int fd);
Address local_address(int fd);

}  // namespace berth::net
