// See rules.h: one function for each subject.
#include "config/rules.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "config/entries.h"

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

constexpr std::string_view kRefuses[] = {"require", "verify-ca", "verify-full"};
constexpr std::string_view kWithoutTls[] = {"allow", "prefer"};

void check_sslmode(Rules& rules, std::string_view key, const std::string& mode, std::string_view peers,
                   std::string_view otherwise) {
  for (const std::string_view refused : kRefuses) {
    if (mode != refused) continue;
    return rules.mistake(
        key, fmt::format("{} does not work yet, since TLS does not: {} would be served without it. {}", mode, peers,
                         otherwise));
  }
  for (const std::string_view accepted : kWithoutTls) {
    if (mode != accepted) continue;
    // PgBouncer's default for servers is prefer: who has not written it is not told.
    if (rules.where(key).line > 0) {
      rules.warn(key, fmt::format("{} has no effect yet: connections of {} do without TLS", mode, peers));
    }
    return;
  }
  if (mode != "disable") {
    rules.mistake(key,
                  fmt::format("\"{}\" is not one of disable, allow, prefer, require, verify-ca, verify-full", mode));
  }
}

void check_auth_type(Rules& rules) {
  const AuthType type = rules.config.options.auth_type;
  switch (type) {
    case AuthType::kCert:
    case AuthType::kPam:
    case AuthType::kLdap:
      return rules.mistake("auth_type", fmt::format("{} does not work yet. Use scram-sha-256 (or md5) with auth_file",
                                                    to_string(type)));
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
      if (rules.config.options.auth_file.empty()) {
        rules.warn("auth_file", fmt::format("it is not set: with auth_type {} nobody can log in", to_string(type)));
      }
      return;
    case AuthType::kTrust: return;
  }
}

void check_doors(Rules& rules) {
  const Options& options = rules.config.options;
  check_sslmode(rules, "client_tls_sslmode", options.client_tls_sslmode, "clients",
                "Use disable, and an encrypted network or a TLS proxy in front");
  check_sslmode(rules, "server_tls_sslmode", options.server_tls_sslmode, "servers",
                "Use disable, and a Unix socket or an encrypted network to the server");
  if (!options.auth_hba_file.empty() && options.auth_type != AuthType::kHba) {
    rules.warn("auth_hba_file", fmt::format("its rules are not looked at: auth_type is {}, they count with hba only",
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

void check_link(Rules& rules) {
  const Options& options = rules.config.options;
  if (options.link != "auto" && options.link != "off") check_connection_string(rules, "link", options.link);
  check_connection_string(rules, "link_console", options.link_console);
  for (const std::string_view key : {"admin_users", "stats_users"}) {
    for (const std::string& user : split_list(key[0] == 'a' ? options.admin_users : options.stats_users)) {
      if (user != kLinkUser) continue;
      rules.warn(key, fmt::format("\"{}\" is the extension's own name at the console: naming it here has no effect",
                                  kLinkUser));
    }
  }
}

}  // namespace

std::vector<Remark> check_rules(const Config& config, const WhereIs& where, std::vector<Remark>& warnings) {
  Rules rules{config, where, warnings, {}};
  check_doors(rules);
  check_auth_type(rules);
  check_ports(rules);
  check_syslog(rules);
  check_link(rules);
  return std::move(rules.mistakes);
}

}  // namespace berth::config
