// See clear.h. Each case gets one warning, however many lines it has.
#include "config/clear.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "config/ldap_options.h"

namespace berth::config {

namespace {

// A name or address of this machine, with or without a port.
bool is_local(std::string_view host) {
  if (host == "::1" || host.starts_with("[::1]")) return true;
  if (std::count(host.begin(), host.end(), ':') == 1) host = host.substr(0, host.find(':'));
  return host == "localhost" || host.starts_with("127.");
}

bool listens_on_a_network(const Options& options) {
  const std::vector<std::string> addresses = split_list(options.listen_addr);
  return !std::all_of(addresses.begin(), addresses.end(), is_local);
}

bool clients_must_use_tls(const Options& options) {
  return options.client_tls_sslmode == "require" || options.client_tls_sslmode.starts_with("verify-");
}

// Without a name DNS says where the directory is, which may be anywhere.
bool asks_a_directory_in_clear(const LdapOptions& ldap) {
  if (ldap.scheme == "ldaps" || ldap.tls) return false;
  std::string_view rest = ldap.server;
  do {
    const size_t space = std::min(rest.find(' '), rest.size());
    if (!is_local(rest.substr(0, space)) && (space > 0 || ldap.server.empty())) return true;
    rest.remove_prefix(std::min(space + 1, rest.size()));
  } while (!rest.empty());
  return false;
}

constexpr std::string_view kToDirectory =
    "passwords go to the directory in clear: ldaptls=1 or ldapscheme=ldaps encrypts them";

std::string to_broker(std::string_view what, const Options& options) {
  return fmt::format(
      "{} has clients send their passwords in clear, and client_tls_sslmode is {}: set require, so that no network "
      "sees "
      "them",
      what, options.client_tls_sslmode);
}

void add(std::vector<Remark>& warnings, Remark remark, std::string text) {
  remark.text = std::move(text);
  warnings.push_back(std::move(remark));
}

// The first of `keys` that the file sets to something.
void warn_of_unused(const Config& config, std::span<const std::pair<std::string_view, const std::string*>> keys,
                    std::string_view text, std::vector<Remark>& warnings) {
  for (const auto& [key, value] : keys) {
    if (!value->empty()) return add(warnings, config.where(key), std::string(text));
  }
}

void warn_of_unused_certificates(const Config& config, std::vector<Remark>& warnings) {
  const Options& options = config.options;
  using Key = std::pair<std::string_view, const std::string*>;
  if (options.client_tls_sslmode == "disable") {
    const auto keys = std::to_array<Key>({{"client_tls_cert_file", &options.client_tls_cert_file},
                                          {"client_tls_key_file", &options.client_tls_key_file},
                                          {"client_tls_ca_file", &options.client_tls_ca_file}});
    warn_of_unused(config, keys,
                   "client_tls_sslmode is disable: the certificate is not used, clients speak in clear; set require",
                   warnings);
  }
  if (options.server_tls_sslmode == "disable") {  // server_tls_ca_file has a warning of its own, in rules.cc
    const auto keys = std::to_array<Key>({{"server_tls_cert_file", &options.server_tls_cert_file},
                                          {"server_tls_key_file", &options.server_tls_key_file}});
    warn_of_unused(
        config, keys,
        "server_tls_sslmode is disable: the certificate is not used, servers are spoken to in clear; set verify-full",
        warnings);
  }
}

// With any, everybody is an admin; with trust whoever says such a name.
void warn_of_an_open_console(const Config& config, std::vector<Remark>& warnings) {
  const Options& options = config.options;
  if (!listens_on_a_network(options)) return;
  if (options.auth_type == AuthType::kAny) {
    add(warnings, config.where("auth_type"),
        "with any everybody whom listen_addr lets connect is an admin of the console: set another auth_type");
  }
  if (options.auth_type != AuthType::kTrust) return;
  const std::string_view key = !options.admin_users.empty() ? "admin_users" : "stats_users";
  if (options.admin_users.empty() && options.stats_users.empty()) return;
  add(warnings, config.where("auth_type"),
      fmt::format("with trust whoever says the name of one of {} has the console, without a password, from wherever "
                  "listen_addr lets him connect: set another auth_type",
                  key));
}

bool is_loopback(const HbaAddress& address) {
  const std::array<unsigned char, 16> loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (address.family == HbaAddress::Family::kIpv4) return address.bytes[0] == 127 && address.mask[0] == 255;
  return address.family == HbaAddress::Family::kIpv6 && address.bytes == loopback && address.mask[15] == 255;
}

bool asks_in_clear(const HbaRule& rule) {
  if (rule.record != HbaRecord::kHost && rule.record != HbaRecord::kHostNoSsl) return false;
  if (is_loopback(rule.address)) return false;
  return rule.method == HbaMethod::kPassword || rule.method == HbaMethod::kPam || rule.method == HbaMethod::kLdap;
}

// An address that the rule is meant for. For "all" one that no rule will name: it is for use in documents.
HbaClient someone_of(const HbaRule& rule) {
  HbaClient out;
  out.family = rule.address.family;
  out.address = rule.address.bytes;
  if (out.family != HbaAddress::Family::kAll) return out;
  out.family = HbaAddress::Family::kIpv4;
  out.address = {203, 0, 113, 77};
  return out;
}

// Which of `users` the rule lets into the console from another machine by the name alone; empty: none.
std::string_view trusted_at_console(const Options& options, const Hba& hba, const HbaRule& rule,
                                    const std::vector<std::string>& users) {
  if (rule.method != HbaMethod::kTrust || rule.record == HbaRecord::kLocal || is_loopback(rule.address)) return {};
  HbaClient client = someone_of(rule);
  client.database = "pgbouncer";  // whichever of its names it is asked for by
  for (const std::string& user : users) {
    client.user = user;
    for (const bool tls : {false, true}) {
      if (tls ? options.client_tls_sslmode == "disable" : clients_must_use_tls(options)) continue;
      client.tls = tls;
      if (find_rule(hba, client) == &rule) return user;
    }
  }
  return {};
}

}  // namespace

void warn_of_clear(const Config& config, std::vector<Remark>& warnings) {
  warn_of_unused_certificates(config, warnings);
  const Options& options = config.options;
  const AuthType type = options.auth_type;
  warn_of_an_open_console(config, warnings);
  const bool asks = type == AuthType::kPlain || type == AuthType::kPam || type == AuthType::kLdap;
  if (asks && listens_on_a_network(options) && !clients_must_use_tls(options)) {
    add(warnings, config.where("auth_type"), to_broker(to_string(type), options));
  }
  if (type != AuthType::kLdap) return;
  const Result<LdapOptions> ldap = parse_ldap_options(options.auth_ldap_options);
  if (ldap && asks_a_directory_in_clear(ldap.value())) {
    add(warnings, config.where("auth_ldap_options"), std::string(kToDirectory));
  }
}

void warn_of_clear_rules(const Config& config, const Hba& hba, std::vector<Remark>& warnings) {
  const auto warn_of_first = [&](auto fits, auto text) {
    const auto rule = std::find_if(hba.rules.begin(), hba.rules.end(), fits);
    if (rule != hba.rules.end()) warnings.push_back({hba.file, rule->line, {}, text(*rule)});
  };
  if (listens_on_a_network(config.options) && !clients_must_use_tls(config.options)) {
    warn_of_first(asks_in_clear,
                  [&](const HbaRule& rule) { return to_broker(to_string(rule.method), config.options); });
  }
  if (listens_on_a_network(config.options)) {
    std::vector<std::string> users = split_list(config.options.admin_users);
    for (std::string& user : split_list(config.options.stats_users)) users.push_back(std::move(user));
    const auto who = [&](const HbaRule& rule) { return trusted_at_console(config.options, hba, rule, users); };
    warn_of_first(
        [&](const HbaRule& rule) { return !who(rule).empty(); },
        [&](const HbaRule& rule) {
          return fmt::format(
              "trust lets whoever says the name \"{}\" into the console, without a password: put a line for "
              "database pgbouncer before it",
              who(rule));
        });
  }
  warn_of_first(
      [](const HbaRule& rule) { return rule.method == HbaMethod::kLdap && asks_a_directory_in_clear(rule.ldap); },
      [](const HbaRule&) { return std::string(kToDirectory); });
}

}  // namespace berth::config
