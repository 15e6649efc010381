// The connections to PostgreSQL that the broker makes for itself (auth_query, link) and that lead over a network:
// nobody sees what they carry but the operator, so a warning tells where they may be in clear, or where libpq, which
// makes the link, does something else than the settings say. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace berth::config {

struct OwnConnection {
  std::string words;    // "auth_user to db.example.net"
  std::string setting;  // which one says the mode
  std::string sslmode;
  bool by_libpq = false;
};

// At most one of each kind.
std::vector<OwnConnection> remote_own_connections(const Config& config);

}  // namespace berth::config
