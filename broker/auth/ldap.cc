// See ldap.h. OpenLDAP's calls that wait do so for a bounded time each, on threads of their own lane only.
#include "auth/ldap.h"

#include <fmt/format.h>
#include <ldap.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/fault.h"
#include "base/log.h"

namespace berth::auth {

namespace {

constexpr std::string_view kPlaceholder = "$username";

struct Unbind {
  void operator()(LDAP* handle) const { ldap_unbind_ext_s(handle, nullptr, nullptr); }
};
using Handle = std::unique_ptr<LDAP, Unbind>;
struct FreeMessage {
  void operator()(LDAPMessage* message) const { ldap_msgfree(message); }
};
using Message = std::unique_ptr<LDAPMessage, FreeMessage>;
struct FreeMemory {
  void operator()(char* text) const { ldap_memfree(text); }
};
using Text = std::unique_ptr<char, FreeMemory>;

timeval time_of(Micros time) {
  return {time / kSecond, time % kSecond};
}

std::string hex_escape(char c) {
  return fmt::format("\\{:02x}", static_cast<unsigned char>(c));
}

std::string failed(std::string_view what, int code) {
  return fmt::format("{}: {}", what, ldap_err2string(code));
}

// The servers that DNS names for the domain of a DN: ou=x,dc=example,dc=net is example.net.
std::string uris_of_domain(const config::LdapOptions& options, std::string& why) {
  char *domain = nullptr, *hosts = nullptr;
  if (ldap_dn2domain(options.base_dn.c_str(), &domain) != LDAP_SUCCESS || !domain) {
    why = "ldapserver is not set, and ldapbasedn names no domain";
    return {};
  }
  const Text domain_held(domain);
  if (ldap_domain2hostlist(domain, &hosts) != LDAP_SUCCESS || !hosts) {
    why = fmt::format("DNS names no LDAP server for {}", domain);
    return {};
  }
  const Text hosts_held(hosts);
  config::LdapOptions of_dns = options;
  of_dns.server = hosts;  // host:port each
  of_dns.port = -1;
  return server_uris(of_dns);
}

// A server's certificate and its name are checked whatever TLS_REQCERT of a ldap.conf or the environment says; the
// roots are theirs to name. Null: for the process, with whose value the TLS context of all connections is made.
bool demand_certificates(LDAP* handle) {
  const int demand = LDAP_OPT_X_TLS_DEMAND;
  return ldap_set_option(handle, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) == LDAP_OPT_SUCCESS;
}

// The library reads its configuration once, before the first handle, and a file of it (ldaprc) in the working
// directory, where it may be anybody's. So this thread leaves that directory for good, the others stay. (Where a
// sandbox does not let it, it stays as well, and the log says so if there is such a file.)
bool prepare_library() {
  if (unshare(CLONE_FS) == 0) {
    if (chdir("/") != 0) return false;
  } else if (access("ldaprc", F_OK) == 0) {
    LOG_WARNING(
        "ldap: the file ldaprc where the broker was started counts (unshare: {}): remove it, or start elsewhere",
        std::strerror(errno));
  }
  return demand_certificates(nullptr);
}

// Connects, with TLS if asked for. Nothing is sent yet otherwise.
Handle connect(const config::LdapOptions& options, std::string& why) {
  static const bool demanded = prepare_library();
  const std::string uris = options.server.empty() ? uris_of_domain(options, why) : server_uris(options);
  if (uris.empty()) return {};
  LDAP* made = nullptr;
  int code = ldap_initialize(&made, uris.c_str());
  Handle handle(made);
  if (code != LDAP_SUCCESS) {
    why = failed(fmt::format("cannot use {}", uris), code);
    return {};
  }
  const int version = LDAP_VERSION3;
  const timeval connect_time = time_of(kLdapConnectTime), answer_time = time_of(kLdapAnswerTime);
  ldap_set_option(made, LDAP_OPT_PROTOCOL_VERSION, &version);
  ldap_set_option(made, LDAP_OPT_NETWORK_TIMEOUT, &connect_time);
  ldap_set_option(made, LDAP_OPT_TIMEOUT, &answer_time);
  ldap_set_option(made, LDAP_OPT_REFERRALS,
                  LDAP_OPT_OFF);  // the password goes to the servers named, and nowhere else
  const bool secured = options.tls || uris.find("ldaps://") != std::string::npos;
  if (secured && !(demanded && demand_certificates(made))) {
    why = "the LDAP library does not let certificates be checked";
    return {};
  }
  if (options.tls) code = ldap_start_tls_s(made, nullptr, nullptr);
  if (code != LDAP_SUCCESS) {
    why = failed(fmt::format("no TLS with {}", uris), code);
    return {};
  }
  return handle;
}

int bind_as(LDAP* handle, const std::string& name, std::string_view password) {
  berval secret{static_cast<ber_len_t>(password.size()), const_cast<char*>(password.data())};
  return ldap_sasl_bind_s(handle, name.c_str(), LDAP_SASL_SIMPLE, &secret, nullptr, nullptr, nullptr);
}

int scope_of(config::LdapOptions::Scope scope) {
  switch (scope) {
    case config::LdapOptions::Scope::kBase: return LDAP_SCOPE_BASE;
    case config::LdapOptions::Scope::kOne: return LDAP_SCOPE_ONELEVEL;
    case config::LdapOptions::Scope::kSub: break;
  }
  return LDAP_SCOPE_SUBTREE;
}

// The one entry that the search finds; empty: `why`.
std::string find_user(LDAP* handle, const config::LdapOptions& options, const std::string& user, std::string& why,
                      bool& broken) {
  int code = bind_as(handle, options.bind_dn, options.bind_password);
  if (code != LDAP_SUCCESS) {
    broken = true;
    why = failed(fmt::format("cannot bind as \"{}\" to search", options.bind_dn), code);
    return {};
  }
  const std::string filter = search_filter(options, user);
  char no_attributes[] = LDAP_NO_ATTRS;
  char* attributes[] = {no_attributes, nullptr};
  timeval answer_time = time_of(kLdapAnswerTime);
  LDAPMessage* found = nullptr;
  code = ldap_search_ext_s(handle, options.base_dn.c_str(), scope_of(options.scope), filter.c_str(), attributes, 0,
                           nullptr, nullptr, &answer_time, 2, &found);
  const Message message(found);
  // More than two: the limit's error, with what came before it.
  if (code != LDAP_SUCCESS && code != LDAP_SIZELIMIT_EXCEEDED) {
    broken = true;
    why = failed(fmt::format("the search for {} failed", filter), code);
    return {};
  }
  const int count = found ? ldap_count_entries(handle, found) : 0;
  if (count != 1 || code != LDAP_SUCCESS) {
    why = fmt::format("the search for {} finds {}", filter, count == 0 ? "nobody" : "more than one");
    return {};
  }
  const Text dn(ldap_get_dn(handle, ldap_first_entry(handle, found)));
  if (!dn || *dn.get() == '\0') why = "the entry has no name";
  return dn ? std::string(dn.get()) : std::string();
}

}  // namespace

LdapCheck::LdapCheck(const config::LdapOptions& options, std::string_view user, std::string_view password)
    : PasswordCheck(Lane::kLdap, user, password), options_(options) {}

void LdapCheck::run() {
  std::string name;
  if (options_.simple) {
    name = simple_bind_name(options_, user());
  } else {
    const Handle handle = connect(options_, why);
    if (!handle) broken = true;
    if (handle) name = find_user(handle.get(), options_, user(), why, broken);
  }
  // Neither may be empty: a directory takes that for a bind without a name, which always succeeds.
  if (name.empty() || password().empty()) return;
  const Handle handle = connect(options_, why);  // anew: nothing of the search's rights may help
  if (!handle) {
    broken = true;
    return;
  }
  const int code = bind_as(handle.get(), name, password().view());
  right = code == LDAP_SUCCESS;
  if (right) return;
  why = failed(fmt::format("cannot bind as \"{}\"", name), code);
  broken = code < 0 || code == LDAP_UNAVAILABLE || code == LDAP_BUSY;
}

std::string escape_for_filter(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool special = c == '*' || c == '(' || c == ')' || c == '\\' || c == '\0';
    out += special ? hex_escape(c) : std::string(1, c);
  }
  return out;
}

std::string escape_for_dn(std::string_view text) {
  constexpr std::string_view kSpecial = ",+\"\\<>;=#";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool edge = c == ' ' && (i == 0 || i + 1 == text.size());
    const bool special = kSpecial.find(c) != std::string_view::npos || static_cast<unsigned char>(c) < 0x20;
    out += edge || special ? hex_escape(c) : std::string(1, c);
  }
  return out;
}

std::string search_filter(const config::LdapOptions& options, std::string_view user) {
  const std::string name = FAULT(ldap_name_unescaped) ? std::string(user) : escape_for_filter(user);
  if (options.search_filter.empty()) {
    return fmt::format("({}={})", options.search_attribute.empty() ? "uid" : options.search_attribute, name);
  }
  std::string out;
  std::string_view rest = options.search_filter;
  for (size_t at = rest.find(kPlaceholder); at != std::string_view::npos; at = rest.find(kPlaceholder)) {
    out.append(rest.substr(0, at)).append(name);
    rest.remove_prefix(at + kPlaceholder.size());
  }
  return out.append(rest);
}

std::string simple_bind_name(const config::LdapOptions& options, std::string_view user) {
  const bool in_dn = options.prefix.find('=') != std::string::npos;
  return options.prefix + (in_dn ? escape_for_dn(user) : std::string(user)) + options.suffix;
}

std::string server_uris(const config::LdapOptions& options) {
  const std::string_view scheme =
      options.scheme.empty() ? std::string_view("ldap") : std::string_view(options.scheme);
  const int port = options.port == 0 ? (scheme == "ldaps" ? LDAPS_PORT : LDAP_PORT) : options.port;
  std::string out;
  std::string_view rest = options.server;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view host = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (host.empty()) continue;
    if (!out.empty()) out += ' ';
    const bool bare_ipv6 = host.find(':') != std::string_view::npos && host.front() != '[' && port > 0;
    out += fmt::format("{}://{}{}{}", scheme, bare_ipv6 ? "[" : "", host, bare_ipv6 ? "]" : "");
    if (port > 0) out += fmt::format(":{}", port);
  }
  return out;
}

}  // namespace berth::auth
