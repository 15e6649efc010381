// Which databases the broker has a link to: from the configuration, and, for those that come through the entry "*",
// from what is in use now. Pure.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/entries.h"

namespace berth::link {

// Where one link leads. Two entries that lead to one database share a link: it is the database that is told of the
// broker, not the name.
struct Target {
  std::vector<std::string> names;  // the databases as clients call them
  std::string host;                // one name, address or socket directory
  int64_t port = 5432;
  std::string dbname;
  std::string user;                // empty: there is nobody to log in as
  SecretString password;           // empty: none is known
  std::vector<config::Pair> more;  // of `link` = connection string: what it says beyond these

  bool operator==(const Target& other) const;
  bool same_place(const Target& other) const {
    return host == other.host && port == other.port && dbname == other.dbname;
  }
};

// An entry with several hosts gives a target for each: every one is a server of its own. `in_use` are the databases
// with open servers.
std::vector<Target> targets_of(const config::Config& config, const std::vector<std::string>& in_use);

// The hosts of one entry, for a login as `user`; `name` is what clients call the database.
std::vector<Target> targets_of_entry(const config::Config& config, const config::DatabaseEntry& entry,
                                     const std::string& name, const std::string& user);

}  // namespace berth::link
