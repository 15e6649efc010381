// Lookups and effective values. The order of precedence stands here once: the user's value, the database's, the
// global.
#include "config/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/ldap_options.h"
#include "config/values.h"

namespace berth::config {

std::string Remark::format() const {
  std::string out = file;
  if (line > 0) out += fmt::format(":{}", line);
  if (!out.empty()) out += ": ";
  if (!key.empty()) out += key + ": ";
  return out + text;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view part = trim(text.substr(0, comma));
    if (!part.empty()) parts.emplace_back(part);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

namespace {

template <typename Entry>
void index_by_name(const std::vector<Entry>& entries, StringMap<size_t>& out) {
  out.clear();
  for (size_t i = 0; i < entries.size(); ++i) out[entries[i].name] = i;
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool contains_ignoring_case(const std::vector<std::string>& names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](const auto& n) { return equal_ignoring_case(n, name); });
}

template <typename T>
T value_or(const UserEntry* user, std::optional<T> UserEntry::*field, T otherwise) {
  return user && user->*field ? *(user->*field) : otherwise;
}

int64_t set_or(int64_t value, int64_t otherwise) {
  return value >= 0 ? value : otherwise;
}

}  // namespace

void Config::index() {
  ldap.reset();
  if (!options.auth_ldap_options.empty()) {
    if (Result<LdapOptions> parsed = parse_ldap_options(options.auth_ldap_options)) {
      ldap = std::make_shared<const LdapOptions>(std::move(parsed.value()));
    }
  }
  index_by_name(databases, database_index_);
  index_by_name(users, user_index_);
  admins_ = split_list(options.admin_users);
  stats_ = split_list(options.stats_users);
  ignored_parameters_ = split_list(options.ignore_startup_parameters);
  tracked_parameters_ = split_list(options.track_extra_parameters);
}

const DatabaseEntry* Config::find_own_database(std::string_view name) const {
  const auto found = database_index_.find(name);
  if (found == database_index_.end() || databases[found->second].is_fallback) return nullptr;
  return &databases[found->second];
}

const DatabaseEntry* Config::find_database(std::string_view name) const {
  if (const DatabaseEntry* own = find_own_database(name)) return own;
  const auto fallback = database_index_.find(std::string_view("*"));
  return fallback == database_index_.end() ? nullptr : &databases[fallback->second];
}

const UserEntry* Config::find_user(std::string_view name) const {
  const auto found = user_index_.find(name);
  return found == user_index_.end() ? nullptr : &users[found->second];
}

const SecretString* Config::find_secret(std::string_view user) const {
  const auto found = secrets.find(user);
  return found == secrets.end() ? nullptr : &found->second;
}

bool Config::is_admin(std::string_view user) const {
  return options.auth_type == AuthType::kAny || contains(admins_, user);
}
bool Config::is_stats(std::string_view user) const {
  return contains(stats_, user);
}
bool Config::ignores_startup_parameter(std::string_view name) const {
  return contains_ignoring_case(ignored_parameters_, name);
}
bool Config::tracks_extra_parameter(std::string_view name) const {
  return contains_ignoring_case(tracked_parameters_, name);
}

PoolMode Config::pool_mode(const DatabaseEntry& database, const UserEntry* user) const {
  return value_or(user, &UserEntry::pool_mode, database.pool_mode.value_or(options.pool_mode));
}
int64_t Config::pool_size(const DatabaseEntry& database, const UserEntry* user) const {
  return value_or(user, &UserEntry::pool_size, set_or(database.pool_size, options.default_pool_size));
}
int64_t Config::min_pool_size(const DatabaseEntry& database, const UserEntry* user) const {
  return std::min(set_or(database.min_pool_size, options.min_pool_size), pool_size(database, user));
}
int64_t Config::reserve_pool_size(const DatabaseEntry& database, const UserEntry* user) const {
  return value_or(user, &UserEntry::reserve_pool_size, set_or(database.reserve_pool_size, options.reserve_pool_size));
}
int64_t Config::max_db_connections(const DatabaseEntry& database) const {
  return set_or(database.max_db_connections, options.max_db_connections);
}
int64_t Config::max_db_client_connections(const DatabaseEntry& database) const {
  return set_or(database.max_db_client_connections, options.max_db_client_connections);
}
int64_t Config::max_user_connections(const UserEntry* user) const {
  return value_or(user, &UserEntry::max_user_connections, options.max_user_connections);
}
int64_t Config::max_user_client_connections(const UserEntry* user) const {
  return value_or(user, &UserEntry::max_user_client_connections, options.max_user_client_connections);
}
Micros Config::server_lifetime(const DatabaseEntry& database) const {
  return database.server_lifetime.value_or(options.server_lifetime);
}
Micros Config::query_timeout(const UserEntry* user) const {
  return value_or(user, &UserEntry::query_timeout, options.query_timeout);
}
Micros Config::idle_transaction_timeout(const UserEntry* user) const {
  return value_or(user, &UserEntry::idle_transaction_timeout, options.idle_transaction_timeout);
}
Micros Config::transaction_timeout(const UserEntry* user) const {
  return value_or(user, &UserEntry::transaction_timeout, options.transaction_timeout);
}
Micros Config::client_idle_timeout(const UserEntry* user) const {
  return value_or(user, &UserEntry::client_idle_timeout, options.client_idle_timeout);
}
const std::string& Config::auth_user(const DatabaseEntry* database) const {
  return database && !database->auth_user.empty() ? database->auth_user : options.auth_user;
}
const std::string& Config::auth_query(const DatabaseEntry* database) const {
  return database && !database->auth_query.empty() ? database->auth_query : options.auth_query;
}
const std::string& Config::auth_dbname(const DatabaseEntry* database) const {
  return database && !database->auth_dbname.empty() ? database->auth_dbname : options.auth_dbname;
}
Micros Config::query_wait_timeout(const DatabaseEntry& database, const UserEntry* user) const {
  return value_or(user, &UserEntry::query_wait_timeout,
                  database.query_wait_timeout.value_or(options.query_wait_timeout));
}

Remark Config::where(std::string_view option) const {
  const auto found = option_places.find(option);
  return found == option_places.end() ? Remark{path, 0, std::string(option), {}} : found->second;
}

}  // namespace berth::config
