// How to ask a directory (LDAP) whether a password is right: what a line of auth_hba_file with the method ldap says,
// or auth_ldap_options for auth_type ldap. The words are PostgreSQL's. Pure.
//
//   simple bind      the user is bound as ldapprefix + its name + ldapsuffix
//   search and bind  bound as ldapbinddn (or as nobody), ldapbasedn is searched for the user, and whom that finds is
//                    bound with the password
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace berth::config {

struct LdapOptions {
  enum class Scope : uint8_t { kBase, kOne, kSub };

  std::string server;  // names or addresses, with spaces between; empty: what DNS says of the domain of basedn
  std::string scheme;  // "ldap" or "ldaps"; empty: ldap
  int port = 0;        // 0: that of the scheme
  bool tls = false;    // STARTTLS
  std::string prefix, suffix;
  bool simple = false;  // one of them was given, maybe empty
  std::string base_dn, bind_dn;
  std::string bind_password;  // a secret
  std::string search_attribute, search_filter;
  Scope scope = Scope::kSub;

  bool operator==(const LdapOptions&) const = default;
};

// Takes one option, "ldapserver" and so on. Empty: done; else why not, without the value of a secret.
std::string take_ldap_option(std::string_view name, std::string_view value, LdapOptions& out);
// Whether they make sense together. Empty: they do.
std::string check_ldap_options(const LdapOptions& options);
// auth_ldap_options: name=value with spaces or commas between, a value with such in double quotes.
Result<LdapOptions> parse_ldap_options(std::string_view text);
// The same text without the secrets in it, for SHOW and the log.
std::string without_ldap_secrets(std::string_view text);

}  // namespace berth::config
