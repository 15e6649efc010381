// The configuration as the broker uses it: plain data, immutable once loaded, shared by all threads as
// shared_ptr<const Config>. load.h reads it from a file, options.def lists every setting.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/secret_memory.h"
#include "base/time.h"

namespace berth::config {

// At the console this name is the extension's, with a secret of the process's own; no list of users gives it more.
inline constexpr std::string_view kLinkUser = "pgberth_link";

enum class PoolMode : uint8_t { kSession, kTransaction, kStatement };
// cert is a door: a known name that refuses to start until it works. With hba each rule has its own.
enum class AuthType : uint8_t { kTrust, kAny, kPlain, kMd5, kScramSha256, kCert, kHba, kPam, kLdap };

// "session", "transaction", "statement"; "trust" ... "scram-sha-256" ...: as they stand in the file and in SHOW.
std::string_view to_string(PoolMode mode);
std::string_view to_string(AuthType type);

// One field per line of options.def, with its default.
struct Options {
#define BERTH_BOOL(name, preset, kind, reload, doc) bool name = preset;
#define BERTH_INT(name, preset, min, max, kind, reload, doc) int64_t name = preset;
#define BERTH_TIME(name, preset, kind, reload, doc) Micros name = preset * kSecond;
#define BERTH_TEXT(name, preset, kind, reload, doc) std::string name = preset;
#define BERTH_ENUM(type, name, preset, kind, reload, doc) type name = type::preset;
#include "config/options.def"
#undef BERTH_BOOL
#undef BERTH_INT
#undef BERTH_TIME
#undef BERTH_TEXT
#undef BERTH_ENUM
};

enum class LoadBalance : uint8_t { kRoundRobin, kDisable };

// A line of [databases]. Numbers that are unset are -1, and the effective values come from Config's helpers.
struct DatabaseEntry {
  std::string name;                // what clients ask for; "*" for the fallback
  std::string dbname;              // the server's database; empty only in the fallback: the name that the client gave
  std::vector<std::string> hosts;  // names, addresses, socket directories; empty: a Unix socket in unix_socket_dir
  int port = 5432;
  std::string user;  // forced: every client is served as this user; empty: as itself
  SecretString password;
  int64_t pool_size = -1;
  int64_t min_pool_size = -1;
  int64_t reserve_pool_size = -1;
  int64_t max_db_connections = -1;
  int64_t max_db_client_connections = -1;
  std::string connect_query;  // runs on each new server; empty: none
  std::optional<PoolMode> pool_mode;
  std::optional<Micros> server_lifetime;
  std::optional<Micros> query_wait_timeout;
  std::string client_encoding;  // set on each new server; empty: not set
  std::string datestyle;
  std::string timezone;
  LoadBalance load_balance_hosts = LoadBalance::kRoundRobin;
  std::string auth_user;  // as whom, what and where auth_query runs; empty: as the global ones
  std::string auth_query;
  std::string auth_dbname;
  bool is_fallback = false;

  bool operator==(const DatabaseEntry&) const = default;
};

// A line of [users]. What is not set falls back to the database's or the global value.
struct UserEntry {
  std::string name;
  std::optional<int64_t> pool_size;
  std::optional<int64_t> reserve_pool_size;
  std::optional<PoolMode> pool_mode;
  std::optional<int64_t> max_user_connections;
  std::optional<int64_t> max_user_client_connections;
  std::optional<Micros> query_timeout;
  std::optional<Micros> idle_transaction_timeout;
  std::optional<Micros> transaction_timeout;
  std::optional<Micros> client_idle_timeout;
  std::optional<Micros> query_wait_timeout;

  bool operator==(const UserEntry&) const = default;
};

// What there is to say about one place of a file: a mistake that refuses it, or a warning that does not.
struct Remark {
  std::string file;
  int line = 0;
  std::string key;
  std::string text;
  // "file:line: key: text"
  std::string format() const;
};

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <typename T>
using StringMap = std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

struct Hba;          // hba.h
struct LdapOptions;  // ldap_options.h
struct HbaRule;

struct Config {
  Options options;
  std::vector<DatabaseEntry> databases;  // in the file's order; the fallback among them
  std::vector<UserEntry> users;
  StringMap<SecretString> secrets;          // auth_file: user -> secret as written
  std::shared_ptr<const Hba> hba;           // auth_hba_file and its maps; never null with auth_type hba, null without
  std::shared_ptr<const LdapOptions> ldap;  // auth_ldap_options as index() has read them; null: there are none
  std::string path;                         // the file that was read
  std::string started_in;                   // the broker's working directory, where a relative name may lead
  std::vector<std::string> files;           // all that were read, as whole paths
  std::vector<std::string> optional_files;  // as well, but a reload that cannot read them goes on without
  std::vector<Remark> warnings;
  std::vector<std::string> explicit_options;  // names of the options that the file set, in order
  StringMap<Remark> option_places;            // where: file, line and key

  // The entry of that very name, else the fallback "*", else null.
  const DatabaseEntry* find_database(std::string_view name) const;
  // The entry of that very name only.
  const DatabaseEntry* find_own_database(std::string_view name) const;
  const UserEntry* find_user(std::string_view name) const;
  // Null when auth_file does not name the user.
  const SecretString* find_secret(std::string_view user) const;
  // Everybody is an admin when auth_type is any, as in PgBouncer.
  bool is_admin(std::string_view user) const;
  // Named in stats_users. An admin need not be.
  bool is_stats(std::string_view user) const;
  // Parameter names are compared without regard to case.
  bool ignores_startup_parameter(std::string_view name) const;
  bool tracks_extra_parameter(std::string_view name) const;

  // Where the file sets an option; line 0 of the main file if it does not.
  Remark where(std::string_view option) const;

  // Effective values. `user` may be null: a user without a line in [users]. A user's value goes before the
  // database's, and that before the global one, as in PgBouncer. For limits 0 means without limit, for times never.
  PoolMode pool_mode(const DatabaseEntry& database, const UserEntry* user) const;
  int64_t pool_size(const DatabaseEntry& database, const UserEntry* user) const;
  // Never more than pool_size.
  int64_t min_pool_size(const DatabaseEntry& database, const UserEntry* user) const;
  int64_t reserve_pool_size(const DatabaseEntry& database, const UserEntry* user) const;
  int64_t max_db_connections(const DatabaseEntry& database) const;
  int64_t max_db_client_connections(const DatabaseEntry& database) const;
  int64_t max_user_connections(const UserEntry* user) const;
  int64_t max_user_client_connections(const UserEntry* user) const;
  Micros server_lifetime(const DatabaseEntry& database) const;
  Micros query_timeout(const UserEntry* user) const;
  Micros idle_transaction_timeout(const UserEntry* user) const;
  Micros transaction_timeout(const UserEntry* user) const;
  Micros client_idle_timeout(const UserEntry* user) const;
  Micros query_wait_timeout(const DatabaseEntry& database, const UserEntry* user) const;

  // Of auth_query. `database` may be null: the console's logins. Empty auth_user: users of auth_file only. Empty
  // auth_dbname: the database itself.
  const std::string& auth_user(const DatabaseEntry* database) const;
  const std::string& auth_query(const DatabaseEntry* database) const;
  const std::string& auth_dbname(const DatabaseEntry* database) const;

  // Rebuilds what the find functions look into. Call it after databases, users, or a list among the options changed.
  void index();

 private:
  StringMap<size_t> database_index_;
  StringMap<size_t> user_index_;
  std::vector<std::string> admins_;
  std::vector<std::string> stats_;
  std::vector<std::string> ignored_parameters_;
  std::vector<std::string> tracked_parameters_;
};

// "a, b,c" as a, b and c; spaces around are dropped, empty parts too.
std::vector<std::string> split_list(std::string_view text);

}  // namespace berth::config
