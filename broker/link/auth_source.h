// Where auth_query runs for the logins of one database, as whom, and what it says: from the configuration. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "link/targets.h"

namespace berth::link {

struct AuthSource {
  std::string database;         // in which it runs, as clients call it
  std::vector<Target> targets;  // one for each host of the entry: the next one is tried when one fails
  std::string query;
  bool standard = false;  // the default query
  bool made_up = false;   // the server's database is what a client has asked for: there may be none of that name
  bool operator==(const AuthSource&) const = default;
};

// `database` is what the client asks for. An Error: it cannot be asked, since the configuration is wrong.
Result<AuthSource> auth_source(const config::Config& config, std::string_view database, bool console);

}  // namespace berth::link
