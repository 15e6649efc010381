// Fuzzes the whole way from the files to a Config. The input is the main file, one that it may include ("b"), a user
// list
// ("u") and rules ("h"), apart by lines of %. Checked: what the lines say is what a second reader (ini_reference.h)
// finds in them; which value counts where; a mistake means no Config; a Config that is written down and read again,
// or changed to what it is, is the same; and load_config() makes of real files what the pure parts make of the texts.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "base/assert.h"
#include "config/build.h"
#include "config/diff.h"
#include "config/hba.h"
#include "config/load.h"
#include "config/options.h"
#include "config/show.h"
#include "config/userlist.h"
#include "config/values.h"
#include "fuzz/ini_reference.h"
#include "fuzz/ini_written.h"

namespace berth::config {

using Texts = std::map<std::string, std::string>;
constexpr size_t kReadsMax = 50;  // of includes, so that no input is slow

// ---- what the lines say

static void same_settings(const Ini& ini, const ini_reference::Reader& reference) {
  ASSERT(ini.settings.size() == reference.settings.size() && ini.settings.size() <= kMaxSettings);
  for (size_t i = 0; i < ini.settings.size(); ++i) {
    const Setting& read = ini.settings[i];
    const ini_reference::Setting& expected = reference.settings[i];
    ASSERT(read.section == expected.section && read.key == expected.key && read.value == expected.value);
    ASSERT(read.file == expected.file && read.line == expected.line);
  }
  ASSERT(ini.mistakes.size() == reference.mistaken.size());
  for (size_t i = 0; i < ini.mistakes.size(); ++i) {
    ASSERT(ini.mistakes[i].file == reference.mistaken[i].first &&
           ini.mistakes[i].line == reference.mistaken[i].second);
  }
}

// The value of the last pair of this name; without one `otherwise`.
static std::string last(const ini_reference::Pairs& pairs, std::string_view key, std::string otherwise = {}) {
  for (const auto& [name, value] : pairs) {
    if (name == key) otherwise = value;
  }
  return otherwise;
}

// -1: not set.
static int64_t number(const std::string& text) {
  return std::strtoll(text.c_str(), nullptr, 0);
}
static std::optional<int64_t> set_number(const ini_reference::Pairs& pairs, std::string_view key) {
  const int64_t value = number(last(pairs, key, "-1"));
  return value < 0 ? std::nullopt : std::optional<int64_t>(value);
}
static std::optional<Micros> set_time(const ini_reference::Pairs& pairs, std::string_view key) {
  const std::string text = last(pairs, key, "-1");
  return text == "-1" ? std::nullopt : std::optional<Micros>(parse_time(text).value());
}

static void same_entry(const DatabaseEntry& entry, const ini_reference::Pairs& pairs) {
  std::string name = last(pairs, "dbname");
  ASSERT(entry.dbname == (name.empty() && entry.name != "*" ? entry.name : name));
  std::string hosts, wanted;
  for (const std::string& host : entry.hosts) hosts += host + ",";
  std::string rest = last(pairs, "host") + ",";
  for (size_t comma; (comma = rest.find(',')) != std::string::npos; rest.erase(0, comma + 1)) {
    const std::string host = ini_reference::trimmed(rest.substr(0, comma));
    if (!host.empty()) wanted += host + ",";
  }
  ASSERT(hosts == wanted && entry.port == number(last(pairs, "port", "5432")));
  ASSERT(entry.user == last(pairs, "user") && entry.password.view() == last(pairs, "password"));
  ASSERT(entry.connect_query == last(pairs, "connect_query") && entry.timezone == last(pairs, "timezone"));
  ASSERT(entry.client_encoding == last(pairs, "client_encoding") && entry.datestyle == last(pairs, "datestyle"));
  ASSERT(entry.auth_user == last(pairs, "auth_user") && entry.auth_query == last(pairs, "auth_query"));
  ASSERT(entry.auth_dbname == last(pairs, "auth_dbname"));
  ASSERT(entry.pool_size == number(last(pairs, "pool_size", "-1")));
  ASSERT(entry.min_pool_size == number(last(pairs, "min_pool_size", "-1")));
  ASSERT(entry.max_db_connections == number(last(pairs, "max_db_connections", "-1")));
  ASSERT(entry.max_db_client_connections == number(last(pairs, "max_db_client_connections", "-1")));
  ini_reference::Pairs reserve;  // has two names
  for (const auto& [key, value] : pairs) {
    if (key == "reserve_pool" || key == "reserve_pool_size") reserve.emplace_back("reserve", value);
  }
  ASSERT(entry.reserve_pool_size == number(last(reserve, "reserve", "-1")));
  ASSERT(entry.server_lifetime == set_time(pairs, "server_lifetime"));
  ASSERT(entry.query_wait_timeout == set_time(pairs, "query_wait_timeout"));
  name = last(pairs, "pool_mode");
  ASSERT(entry.pool_mode.has_value() == !name.empty());
  if (entry.pool_mode) ASSERT(equal_ignoring_case(to_string(*entry.pool_mode), name));
  const bool first_only = equal_ignoring_case(last(pairs, "load_balance_hosts"), "disable");
  ASSERT(entry.load_balance_hosts == (first_only ? LoadBalance::kDisable : LoadBalance::kRoundRobin));
}

static void same_entry(const UserEntry& entry, const ini_reference::Pairs& pairs) {
  ASSERT(entry.pool_size == set_number(pairs, "pool_size"));
  ASSERT(entry.reserve_pool_size == set_number(pairs, "reserve_pool_size"));
  ASSERT(entry.max_user_connections == set_number(pairs, "max_user_connections"));
  ASSERT(entry.max_user_client_connections == set_number(pairs, "max_user_client_connections"));
  ASSERT(entry.query_timeout == set_time(pairs, "query_timeout"));
  ASSERT(entry.idle_transaction_timeout == set_time(pairs, "idle_transaction_timeout"));
  ASSERT(entry.transaction_timeout == set_time(pairs, "transaction_timeout"));
  ASSERT(entry.client_idle_timeout == set_time(pairs, "client_idle_timeout"));
  ASSERT(entry.query_wait_timeout == set_time(pairs, "query_wait_timeout"));
  const std::string mode = last(pairs, "pool_mode");
  ASSERT(entry.pool_mode.has_value() == !mode.empty());
  if (entry.pool_mode) ASSERT(equal_ignoring_case(to_string(*entry.pool_mode), mode));
}

// Of each section, by name: the last line, which counts.
static std::map<std::string, std::string> section(const ini_reference::Reader& reference, std::string_view name) {
  std::map<std::string, std::string> out;
  for (const ini_reference::Setting& setting : reference.settings) {
    if (setting.section == name) out[setting.key] = setting.value;
  }
  return out;
}

template <typename Entry>
void same_entries(const std::vector<Entry>& entries, const std::map<std::string, std::string>& lines) {
  ASSERT(entries.size() == lines.size());
  for (const Entry& entry : entries) {
    const auto line = lines.find(entry.name);
    ASSERT(line != lines.end());
    const std::optional<ini_reference::Pairs> pairs = ini_reference::pairs_of(line->second);
    ASSERT(pairs.has_value());
    same_entry(entry, *pairs);
  }
}

static void same_options(const Options& options, const std::map<std::string, std::string>& lines) {
  Options expected;
  for (const OptionInfo& info : all_options()) {
    const auto line = lines.find(std::string(info.name));
    const bool derived = info.name == "conffile" || info.name == "server_tls_sslmode";
    if (line == lines.end() && derived) continue;
    if (line != lines.end()) ASSERT(assign_option(expected, info, line->second).empty());
    ASSERT(option_value(options, info) == option_value(expected, info));
    if (line != lines.end() && info.kind == OptionKind::kText) ASSERT(options.*info.as_text == line->second);
    if (line != lines.end() && info.kind == OptionKind::kNumber)
      ASSERT(options.*info.as_number == number(line->second));
  }
}

// What docs/config.md promises: with these a broker does not start.
static void no_open_doors(const Config& config) {
  const Options& options = config.options;
  ASSERT(!options.disable_pqexec && !config.find_own_database("pgbouncer"));
  ASSERT(options.auth_type != AuthType::kHba || !options.auth_hba_file.empty());
  ASSERT(options.auth_type != AuthType::kCert || options.client_tls_sslmode == "verify-full");
  ASSERT(options.auth_type != AuthType::kLdap || config.ldap);
  ASSERT(options.client_tls_sslmode == "disable" ||
         (!options.client_tls_cert_file.empty() && !options.client_tls_key_file.empty()));
  ASSERT(!options.client_tls_sslmode.starts_with("verify") || !options.client_tls_ca_file.empty());
  ASSERT(!options.server_tls_sslmode.starts_with("verify") || !options.server_tls_ca_file.empty());
  ASSERT(options.transaction_port == 0 || options.transaction_port != options.session_port);
  ASSERT(options.listen_port == 0 || options.listen_port != options.transaction_port);
  ASSERT(!options.listen_addr.empty() || !options.unix_socket_dir.empty());
}

// ---- which value counts: the user's, the database's, the global one

static void try_inheritance(const Config& config, const DatabaseEntry& database, const UserEntry* user) {
  const Options& options = config.options;
  const auto of_database = [](int64_t value, int64_t global) { return value < 0 ? global : value; };
  const UserEntry none, &own = user ? *user : none;
  const int64_t size = own.pool_size.value_or(of_database(database.pool_size, options.default_pool_size));
  ASSERT(config.pool_size(database, user) == size);
  ASSERT(config.min_pool_size(database, user) ==
         std::min(size, of_database(database.min_pool_size, options.min_pool_size)));
  ASSERT(config.reserve_pool_size(database, user) ==
         own.reserve_pool_size.value_or(of_database(database.reserve_pool_size, options.reserve_pool_size)));
  ASSERT(config.pool_mode(database, user) == (own.pool_mode        ? *own.pool_mode
                                              : database.pool_mode ? *database.pool_mode
                                                                   : options.pool_mode));
  ASSERT(config.max_db_connections(database) == of_database(database.max_db_connections, options.max_db_connections));
  ASSERT(config.max_db_client_connections(database) ==
         of_database(database.max_db_client_connections, options.max_db_client_connections));
  ASSERT(config.max_user_connections(user) == own.max_user_connections.value_or(options.max_user_connections));
  ASSERT(config.max_user_client_connections(user) ==
         own.max_user_client_connections.value_or(options.max_user_client_connections));
  ASSERT(config.server_lifetime(database) == database.server_lifetime.value_or(options.server_lifetime));
  ASSERT(config.query_timeout(user) == own.query_timeout.value_or(options.query_timeout));
  ASSERT(config.idle_transaction_timeout(user) ==
         own.idle_transaction_timeout.value_or(options.idle_transaction_timeout));
  ASSERT(config.transaction_timeout(user) == own.transaction_timeout.value_or(options.transaction_timeout));
  ASSERT(config.client_idle_timeout(user) == own.client_idle_timeout.value_or(options.client_idle_timeout));
  ASSERT(config.query_wait_timeout(database, user) ==
         (own.query_wait_timeout ? *own.query_wait_timeout
                                 : database.query_wait_timeout.value_or(options.query_wait_timeout)));
  const auto text = [](const std::string& a, const std::string& b) { return a.empty() ? b : a; };
  ASSERT(config.auth_user(&database) == text(database.auth_user, options.auth_user));
  ASSERT(config.auth_query(&database) == text(database.auth_query, options.auth_query));
  ASSERT(config.auth_dbname(&database) == text(database.auth_dbname, options.auth_dbname));
}

// ---- written down again

static void try_rewriting(const Config& config) {
  std::string text = "[pgbouncer]\n";
  for (const OptionInfo& info : all_options()) {
    text += fmt::format("{} = {}\n", info.name, option_value(config.options, info));
  }
  text += "[databases]\n";
  for (const DatabaseEntry& entry : config.databases) text += written(entry);
  text += "[users]\n";
  for (const UserEntry& entry : config.users) text += written(entry);
  const Built again =
      build_config(parse_ini("a", [&](const std::string&) -> Result<std::string> { return text; }), "a");
  ASSERT(again.mistakes.empty());
  ASSERT(again.config.databases == config.databases && again.config.users == config.users);
  ASSERT(diff_configs(config, again.config).empty() && diff_configs(again.config, config).empty());
}

// SET of one option to what it is, and a reload of a broker that has run with the defaults.
static void try_changes(const Config& config, size_t which) {
  const OptionInfo& info = all_options()[which % all_options().size()];
  if (const auto set = set_option(config, info.name, option_value(config.options, info)); set) {
    ASSERT(info.reloadable && diff_configs(config, *set.value()).empty());
  }
  const Config defaults;
  const auto merged = merge_reload(defaults, config);
  const Diff left = diff_configs(*merged, config), done = diff_configs(defaults, *merged);
  ASSERT(left.lines.empty() && done.needs_restart.empty());
  ASSERT(left.needs_restart == diff_configs(defaults, config).needs_restart);
}

// ---- as files

// A directory that goes with the process.
class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "fuzz_config_ini.XXXXXX";
    ASSERT(mkdtemp(name.data()));
    path_ = name + "/";
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    const int fd = open((path_ + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT(fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    close(fd);
    return path_ + name;
  }

 private:
  std::string path_;
};

// A relative name starts at the main file's folder, wherever the process is; some settings have words beside.
static void find_files(Options& options, const std::string& folder) {
  const auto find = [&](std::string& name) {
    if (!name.empty() && name[0] != '/') name = folder + name;
  };
  for (std::string* name : {&options.auth_file, &options.auth_hba_file, &options.auth_ident_file,
                            &options.client_tls_ca_file, &options.client_tls_cert_file, &options.client_tls_key_file,
                            &options.server_tls_cert_file, &options.server_tls_key_file}) {
    find(*name);
  }
  if (options.server_tls_ca_file != "system") find(options.server_tls_ca_file);
  const std::string& parameters = options.client_tls_dheparams;
  if (parameters != "auto" && parameters != "none" && parameters != "legacy") find(options.client_tls_dheparams);
}

static void try_files(const Built& built, const Texts& texts) {
  static const Folder folder;
  const Options& options = built.config.options;
  std::string main;
  for (const auto& [name, text] : texts) {
    const std::string path = folder.write(name, text);
    if (name == "a") main = path;
  }
  const auto loaded = load_config(main, nullptr, {main.substr(0, main.rfind('/')), {}});
  const Userlist users = parse_userlist(texts.at("u"), "u");
  const bool no_login = options.auth_type == AuthType::kTrust || options.auth_type == AuthType::kAny ||
                        options.auth_type == AuthType::kPam || options.auth_type == AuthType::kLdap;
  const ReadFile read = [&](const std::string& name) -> Result<std::string> { return texts.at(name); };
  bool good = built.mistakes.empty();
  if (!options.auth_file.empty()) good = good && (no_login || users.mistakes.empty());
  const bool rules = options.auth_type == AuthType::kHba && !options.auth_hba_file.empty();
  ParsedHba hba;
  if (rules) {
    hba = parse_hba(options.auth_hba_file, options.auth_ident_file, read);
    good = good && hba.mistakes.empty();
  }
  ASSERT(loaded.ok() == good);
  if (!good) return ASSERT(!loaded.error().text.empty());
  const Config& config = *loaded.value();
  Config expected = built.config;
  find_files(expected.options, main.substr(0, main.rfind('/') + 1));
  expected.options.conffile = config.options.conffile;
  if (!options.auth_file.empty()) expected.secrets = users.secrets;
  if (rules) hba.hba.file = config.hba->file;
  if (rules) expected.hba = std::make_shared<const Hba>(hba.hba);
  ASSERT(diff_configs(expected, config).empty() && config.databases == built.config.databases);
}

// ---- all of it

static bool is_ours(const std::string& name, std::string_view one_of) {
  return name.empty() || (name.size() == 1 && one_of.find(name[0]) != std::string_view::npos);
}

static void try_config(const Built& built, const ini_reference::Reader& reference, size_t which) {
  const Config& config = built.config;
  same_options(config.options, section(reference, "pgbouncer"));
  same_entries(config.databases, section(reference, "databases"));
  same_entries(config.users, section(reference, "users"));
  no_open_doors(config);
  for (size_t i = 0; i < config.databases.size() && i < 8; ++i) {
    try_inheritance(config, config.databases[i], nullptr);
    for (size_t user = 0; user < config.users.size() && user < 8; ++user) {
      try_inheritance(config, config.databases[i], &config.users[user]);
    }
  }
  try_rewriting(config);
  try_changes(config, which);
}

static void try_input(std::string_view text) {
  Texts texts;
  for (const char* name : {"a", "b", "u", "h"}) {
    const size_t end = text.starts_with("%\n") ? 0 : text.find("\n%\n");
    texts[name] = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end == 0 ? 2 : end + 3);
  }
  size_t reads = 0;
  bool own_files = true;
  const auto find = [&](const std::string& name) -> std::optional<std::string> {
    own_files = own_files && is_ours(name, "ab") && reads < kReadsMax;
    if (++reads > kReadsMax || !texts.contains(name)) return std::nullopt;
    return texts.at(name);
  };
  Ini ini = parse_ini("a", [&](const std::string& name) -> Result<std::string> {
    if (auto found = find(name)) return *found;
    return Error{"absent", {}};
  });
  reads = 1;
  ini_reference::Reader reference(find);
  reference.read(texts["a"], "a");
  same_settings(ini, reference);
  const size_t syntax = ini.mistakes.size();
  const Built built = build_config(std::move(ini), "a");
  ASSERT(built.mistakes.size() >= syntax && describe(built.mistakes).empty() == built.mistakes.empty());
  const Config& config = built.config;
  for (const DatabaseEntry& database : config.databases) {
    const DatabaseEntry* found = config.find_database(database.name);
    ASSERT(found && found->name == database.name && database.is_fallback == (database.name == "*"));
    ASSERT(config.find_database("no such") == config.find_database("*") || config.find_own_database("no such"));
  }
  ASSERT(diff_configs(config, config).empty() && show_config(config).size() == all_options().size());
  if (built.mistakes.empty()) try_config(built, reference, texts["a"].size());
  const Options& options = config.options;
  own_files = own_files && is_ours(options.auth_file, "u") && is_ours(options.auth_hba_file, "h") &&
              is_ours(options.auth_ident_file, "h") && texts["h"].find('@') == std::string::npos;
  if (own_files) try_files(built, texts);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
