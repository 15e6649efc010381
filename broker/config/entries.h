// The values of [databases] and [users]: connection strings in libpq's style, `host=a port=5432 password='it''s'`.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "config/ini.h"

namespace berth::config {

struct Pair {
  std::string key;
  std::string value;
};

// key=value pairs with space between; a value in single quotes may hold spaces, and '' is a quote in it. Secrets
// stand in these strings, hence no Error quotes them.
Result<std::vector<Pair>> parse_pairs(std::string_view text);

// What reading one line gave; the entry counts only if there is no mistake.
template <typename Entry>
struct ParsedEntry {
  Entry entry;
  std::vector<Remark> mistakes;
  std::vector<Remark> warnings;
};

ParsedEntry<DatabaseEntry> parse_database(const Setting& setting);
ParsedEntry<UserEntry> parse_user(const Setting& setting);

}  // namespace berth::config
