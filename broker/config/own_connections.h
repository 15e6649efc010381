// The connections to PostgreSQL that the broker makes for itself (auth_query, link) and that lead over a network:
// what libpq does with them is not always what the settings say, and a warning tells. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace berth::config {

struct OwnConnection {
  std::string words;    // "auth_user to db.example.net"
  std::string setting;  // which one says the mode
  std::string sslmode;
};

// At most one of each kind.
std::vector<OwnConnection> remote_own_connections(const Config& config);

}  // namespace berth::config
