// Where a database finds this broker's console: a libpq connection string. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "net/address.h"

namespace berth::link {

// What is known when a link is up.
struct ConsolePlace {
  std::vector<net::Address> listeners;  // of this process
  net::Address own, server;             // both ends of the link's socket
  std::string directory;                // of the Unix sockets, absolute (or abstract: @ in front); empty: none
};

// `host=... port=... dbname=... user=pgberth_link`. Empty: nothing listens where that database could reach it.
//
//   1. link_console says it.
//   2. The server is on this machine (its end of the link is a Unix socket, or has our own address): the Unix socket.
//   3. Our address as the link sees it, if a listener has that address or all of them.
//   4. Any listener's address that is not of this machine alone.
std::string console_address(const config::Config& config, const ConsolePlace& place);

// The host of a connection string if that is a name whose address does not stand beside it (hostaddr); else empty.
std::string host_to_look_up(std::string_view conninfo);

// A value of a connection string, in quotes where it needs them.
std::string quoted(std::string_view value);

}  // namespace berth::link
