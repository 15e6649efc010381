// Listening sockets: TCP for a list of addresses and names, and the Unix socket of a port. Used at start, before
// there are threads (it sets the umask for a moment, and names are looked up on the spot).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace berth::net {

struct ListenPlace {
  std::vector<std::string> hosts;  // addresses, names, "*" for all of IPv4 and IPv6; empty: no TCP
  std::string unix_directory;      // '@' in front: abstract name space; empty: no Unix socket
  int unix_mode = 0777;
  std::string unix_group;  // name or number; empty: the process's
  int backlog = 128;
  // TCP only, see socket_options.h. Set before the first client can come: a connection has them from its handshake
  // on.
  bool keepalive = false;
  bool defer_accept = false;
};

// One listening socket: non-blocking, close-on-exec.
struct ListenSocket {
  int fd = -1;
  std::string text;       // "127.0.0.1:6432", "unix:/tmp/.s.PGSQL.6432": for the log
  std::string unix_path;  // the file to remove at the end; empty: none
  bool is_unix = false;
  // Of the file, to remove only what is ours.
  unsigned long device = 0;
  unsigned long inode = 0;
};

struct ListenSockets {
  std::vector<ListenSocket> sockets;
  std::vector<std::string> notes;  // what was left out and does no harm: a name's address that this machine lacks
};

// All sockets of `place` for one port, or an Error that names each place which cannot be had and why; then none is
// open. A Unix socket's file that a process still serves is never touched; one that nobody serves is removed.
Result<ListenSockets> listen_on(const ListenPlace& place, int port);

// Closes them, and removes the files of the Unix sockets that are still theirs.
void close_listeners(std::vector<ListenSocket>& sockets);

}  // namespace berth::net
