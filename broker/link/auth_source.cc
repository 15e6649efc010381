#include "link/auth_source.h"

#include <fmt/format.h>

namespace berth::link {

static const std::string& default_query() {
  static const std::string query = config::Options().auth_query;
  return query;
}

Result<AuthSource> auth_source(const config::Config& config, std::string_view database, bool console) {
  const config::DatabaseEntry* asked = console ? nullptr : config.find_database(database);
  const std::string& elsewhere = config.auth_dbname(asked);
  AuthSource source;
  source.database = elsewhere.empty() ? database : elsewhere;
  const config::DatabaseEntry* entry =
      elsewhere.empty() ? asked : config.find_database(elsewhere);  // the console's name is none of theirs
  if (!entry || source.database == "pgbouncer") {
    return Error{fmt::format("auth_dbname: database \"{}\" is not configured", source.database), {}};
  }
  source.query = config.auth_query(asked);
  source.standard = source.query == default_query();
  source.made_up = elsewhere.empty() && entry->is_fallback && entry->dbname.empty();
  source.targets = targets_of_entry(config, *entry, source.database, config.auth_user(asked));
  return source;
}

}  // namespace berth::link
