// See rules.h: one function for each subject.
#include "config/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "config/clear.h"
#include "config/entries.h"
#include "config/ldap_options.h"
#include "config/own_connections.h"

namespace berth::config {

namespace {

struct Rules {
  const Config& config;
  const WhereIs& where;
  std::vector<Remark>& warnings;
  std::vector<Remark> mistakes;

  void mistake(std::string_view key, std::string text) { add(mistakes, key, std::move(text)); }
  void warn(std::string_view key, std::string text) { add(warnings, key, std::move(text)); }

  void add(std::vector<Remark>& list, std::string_view key, std::string text) {
    Remark remark = where(key);
    remark.text = std::move(text);
    list.push_back(std::move(remark));
  }
};

constexpr std::string_view kModes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};

bool is_mode(const std::string& text) {
  return std::find(std::begin(kModes), std::end(kModes), text) != std::end(kModes);
}

// What of a side's TLS settings does not fit together. What the files hold is looked at when they are read.
struct TlsRules {
  std::string side;  // client or server
  const std::string& mode;
  const std::string& ca_file;
  const std::string& cert_file;
  const std::string& key_file;

  std::string key(std::string_view rest) const { return fmt::format("{}_tls_{}", side, rest); }
  bool verifies() const { return mode.starts_with("verify-"); }
};

void check_tls(Rules& rules, const TlsRules& tls) {
  if (!is_mode(tls.mode)) {
    return rules.mistake(tls.key("sslmode"), fmt::format("\"{}\" is not one of disable, allow, prefer, require, "
                                                         "verify-ca, verify-full",
                                                         tls.mode));
  }
  if (tls.mode == "disable") return;
  if (tls.verifies() && tls.ca_file.empty()) {
    rules.mistake(tls.key("sslmode"), fmt::format("{} needs {}: without root certificates nothing can be checked",
                                                  tls.mode, tls.key("ca_file")));
  }
  if (!tls.cert_file.empty() && tls.key_file.empty()) {
    rules.mistake(tls.key("cert_file"), fmt::format("it needs its key: {} is not set", tls.key("key_file")));
  }
  if (tls.cert_file.empty() && !tls.key_file.empty()) {
    rules.mistake(tls.key("key_file"),
                  fmt::format("a key without a certificate: {} is not set", tls.key("cert_file")));
  }
}

void check_tls_of_clients(Rules& rules) {
  const Options& options = rules.config.options;
  const TlsRules tls{"client", options.client_tls_sslmode, options.client_tls_ca_file, options.client_tls_cert_file,
                     options.client_tls_key_file};
  check_tls(rules, tls);
  if (is_mode(tls.mode) && tls.mode != "disable" && tls.cert_file.empty() && tls.key_file.empty()) {
    rules.mistake("client_tls_sslmode",
                  fmt::format("{} needs client_tls_cert_file and client_tls_key_file", tls.mode));
  }
}

void check_tls_of_servers(Rules& rules) {
  const Options& options = rules.config.options;
  const TlsRules tls{"server", options.server_tls_sslmode, options.server_tls_ca_file, options.server_tls_cert_file,
                     options.server_tls_key_file};
  check_tls(rules, tls);
  if (!tls.ca_file.empty() && !tls.verifies()) {
    rules.warn("server_tls_ca_file",
               fmt::format("servers are not checked by it: server_tls_sslmode is {}, verify-ca and verify-full check",
                           tls.mode));
  }
  const bool must = tls.mode == "require" || tls.verifies();
  const std::string& negotiation = options.server_tls_negotiation;
  if (negotiation != "postgres" && negotiation != "direct") {
    rules.mistake("server_tls_negotiation", fmt::format("\"{}\" is not postgres or direct", negotiation));
  } else if (negotiation == "direct" && !must) {
    rules.mistake("server_tls_negotiation",
                  fmt::format("direct needs server_tls_sslmode require or above, it is {}", tls.mode));
  }
  const std::string& binding = options.server_channel_binding;
  if (binding != "disable" && binding != "prefer" && binding != "require") {
    rules.mistake("server_channel_binding", fmt::format("\"{}\" is not disable, prefer or require", binding));
  } else if (binding == "require" && !must) {
    rules.mistake("server_channel_binding",
                  fmt::format("require needs server_tls_sslmode require or above, it is {}", tls.mode));
  }
}

void check_ldap(Rules& rules) {
  const std::string& options = rules.config.options.auth_ldap_options;
  if (options.empty()) return rules.mistake("auth_type", "ldap needs auth_ldap_options");
  const Result<LdapOptions> parsed = parse_ldap_options(options);
  if (!parsed) rules.mistake("auth_ldap_options", parsed.error().text);
}

bool uses_auth_query(const Config& config) {
  return !config.options.auth_user.empty() ||
         std::any_of(config.databases.begin(), config.databases.end(),
                     [](const DatabaseEntry& database) { return !database.auth_user.empty(); });
}

void check_auth_dbname(Rules& rules, std::string_view key, const std::string& name) {
  if (name.empty()) return;
  if (name == "pgbouncer") return rules.mistake(key, "auth_dbname: \"pgbouncer\" is reserved for the console");
  if (!rules.config.find_database(name)) {
    rules.warn(key,
               fmt::format("auth_dbname: database \"{}\" is not configured: nobody can be looked up there", name));
  }
}

void check_auth_query(Rules& rules) {
  const Options& options = rules.config.options;
  check_auth_dbname(rules, "auth_dbname", options.auth_dbname);
  for (const DatabaseEntry& database : rules.config.databases) {
    check_auth_dbname(rules, database.name, database.auth_dbname);
    if (!database.auth_user.empty() || !options.auth_user.empty()) continue;
    if (!database.auth_query.empty()) rules.warn(database.name, "auth_query has no effect without auth_user");
    if (!database.auth_dbname.empty()) rules.warn(database.name, "auth_dbname has no effect without auth_user");
  }
  if (uses_auth_query(rules.config)) return;
  if (rules.where("auth_query").line > 0) rules.warn("auth_query", "it has no effect without auth_user");
  if (!options.auth_dbname.empty()) rules.warn("auth_dbname", "it has no effect without auth_user");
}

void check_auth_type(Rules& rules) {
  const AuthType type = rules.config.options.auth_type;
  switch (type) {
    case AuthType::kPam: return;
    case AuthType::kLdap: return check_ldap(rules);
    case AuthType::kCert:
      // As PgBouncer: every client shows a certificate, or nobody would know what a login without one means.
      if (rules.config.options.client_tls_sslmode != "verify-full") {
        rules.mistake("auth_type", "cert needs client_tls_sslmode = verify-full");
      }
      return;
    case AuthType::kAny:
      for (const DatabaseEntry& database : rules.config.databases) {
        if (!database.user.empty()) continue;
        rules.warn(
            "auth_type",
            fmt::format("with any each database needs user=..., \"{}\" has none: nobody can use it", database.name));
      }
      return;
    case AuthType::kHba:
      if (rules.config.options.auth_hba_file.empty()) {
        rules.mistake("auth_type", "hba needs auth_hba_file: without rules nobody could log in");
      }
      [[fallthrough]];
    case AuthType::kPlain:
    case AuthType::kMd5:
    case AuthType::kScramSha256:
      if (rules.config.options.auth_file.empty() && !uses_auth_query(rules.config)) {
        rules.warn("auth_file", fmt::format("it is not set: with auth_type {} nobody can log in", to_string(type)));
      }
      return;
    case AuthType::kTrust: return;
  }
}

void check_doors(Rules& rules) {
  const Options& options = rules.config.options;
  check_tls_of_clients(rules);
  check_tls_of_servers(rules);
  if (!options.auth_hba_file.empty() && options.auth_type != AuthType::kHba) {
    rules.warn("auth_hba_file", fmt::format("its rules are not looked at: auth_type is {}, they count with hba only",
                                            to_string(options.auth_type)));
  }
  if (!options.auth_ident_file.empty() && options.auth_type != AuthType::kHba) {
    rules.warn("auth_ident_file", fmt::format("its maps are not looked at: auth_type is {}, they count with hba only",
                                              to_string(options.auth_type)));
  }
  if (!options.auth_ldap_options.empty() && options.auth_type != AuthType::kLdap) {
    rules.warn("auth_ldap_options",
               fmt::format("no directory is asked by it: auth_type is {}, it counts with ldap only (rules of "
                           "auth_hba_file have their own)",
                           to_string(options.auth_type)));
  }
  if (options.disable_pqexec) {
    rules.mistake("disable_pqexec",
                  "it does not work yet: simple queries would still be let through. Remove the line");
  }
}

void check_ports(Rules& rules) {
  const Options& options = rules.config.options;
  struct Port {
    std::string_view key;
    int64_t number;
  };
  const Port ports[] = {{"listen_port", options.listen_port},
                        {"transaction_port", options.transaction_port},
                        {"session_port", options.session_port}};
  for (size_t i = 0; i < std::size(ports); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (ports[i].number == 0 || ports[i].number != ports[j].number) continue;
      rules.mistake(ports[i].key, fmt::format("{} is {} too", ports[i].number, ports[j].key));
    }
  }
  if (options.listen_addr.empty() && options.unix_socket_dir.empty()) {
    rules.mistake("listen_addr", "nowhere to listen on: set listen_addr or unix_socket_dir");
  }
  const bool both = options.transaction_port != 0 && options.session_port != 0;
  if (both && options.default_pool_size > 0 && options.default_pool_size <= options.transaction_reserve) {
    rules.warn("transaction_reserve",
               fmt::format("{} of the {} servers of a pool are kept for transactions: session clients "
                           "will never get one",
                           options.transaction_reserve, options.default_pool_size));
  }
}

void check_syslog(Rules& rules) {
  constexpr std::array<std::string_view, 12> kFacilities = {"auth",   "authpriv", "daemon", "user",
                                                            "local0", "local1",   "local2", "local3",
                                                            "local4", "local5",   "local6", "local7"};
  for (const std::string_view facility : kFacilities) {
    if (rules.config.options.syslog_facility == facility) return;
  }
  rules.mistake("syslog_facility", fmt::format("\"{}\" is not one of auth, authpriv, daemon, user, local0 to local7",
                                               rules.config.options.syslog_facility));
}

// A part of a connection string. What it holds is shown by SHOW CONFIG, so it holds no secret.
void check_connection_string(Rules& rules, std::string_view key, const std::string& text) {
  const Result<std::vector<Pair>> pairs = parse_pairs(text);
  if (!pairs) return rules.mistake(key, pairs.error().text);
  for (const Pair& pair : pairs.value()) {
    if (pair.key != "password") continue;
    return rules.mistake(key, "no password here, SHOW CONFIG would show it: put it into auth_file");
  }
}

// libpq opens them, in the directory in which the broker was started.
void warn_of_relative_files(Rules& rules, const std::string& link) {
  constexpr std::string_view kFiles[] = {"sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile"};
  const Result<std::vector<Pair>> pairs = parse_pairs(link);
  if (!pairs) return;
  for (const Pair& pair : pairs.value()) {
    if (std::find(std::begin(kFiles), std::end(kFiles), pair.key) == std::end(kFiles)) continue;
    if (pair.value.empty() || pair.value[0] == '/' || pair.value == "system") continue;
    rules.warn("link", fmt::format("{}: a relative name starts where the broker was started, which others may write: "
                                   "write the whole path",
                                   pair.key));
  }
}

void check_link(Rules& rules) {
  const Options& options = rules.config.options;
  if (options.link != "auto" && options.link != "off") {
    check_connection_string(rules, "link", options.link);
    warn_of_relative_files(rules, options.link);
  }
  check_connection_string(rules, "link_console", options.link_console);
  for (const std::string_view key : {"admin_users", "stats_users"}) {
    for (const std::string& user : split_list(key[0] == 'a' ? options.admin_users : options.stats_users)) {
      if (user != kLinkUser) continue;
      rules.warn(key, fmt::format("\"{}\" is the extension's own name at the console: naming it here has no effect",
                                  kLinkUser));
    }
  }
}

// Whoever is in between may decline TLS for the server. (libpq, which makes the link, even goes on in clear after a
// handshake that failed.)
void check_own_connections(Rules& rules) {
  for (const OwnConnection& own : remote_own_connections(rules.config)) {
    if (own.sslmode != "disable" && own.sslmode != "allow" && own.sslmode != "prefer") continue;
    rules.warn(own.setting,
               fmt::format("with {} the connection of {} may be in clear: require or above prevents that",
                           own.sslmode, own.words));
  }
}

}  // namespace

void choose_server_sslmode(Config& config) {
  if (!config.options.server_tls_ca_file.empty() && config.where("server_tls_sslmode").line == 0) {
    config.options.server_tls_sslmode = "verify-full";
  }
}

std::vector<Remark> check_rules(const Config& config, const WhereIs& where, std::vector<Remark>& warnings) {
  Rules rules{config, where, warnings, {}};
  check_doors(rules);
  check_auth_type(rules);
  check_auth_query(rules);
  check_ports(rules);
  check_syslog(rules);
  check_link(rules);
  check_own_connections(rules);
  warn_of_clear(config, warnings);
  return std::move(rules.mistakes);
}

}  // namespace berth::config
