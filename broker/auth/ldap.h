// Asks a directory (LDAP) whether a password is right: by a bind, after a search for the user where the options say
// so.
#pragma once

#include <string>
#include <string_view>

#include "auth/password_check.h"
#include "base/time.h"
#include "config/ldap_options.h"

namespace berth::auth {

inline constexpr Micros kLdapConnectTime = 5 * kSecond;  // for each address of the server, its TLS included
inline constexpr Micros kLdapAnswerTime = 10 * kSecond;  // for each answer

class LdapCheck final : public PasswordCheck {
 public:
  LdapCheck(const config::LdapOptions& options, std::string_view user, std::string_view password);
  void run() override;

 private:
  const config::LdapOptions options_;
};

// ---- its pure parts
// A user's name inside a filter (RFC 4515): nothing in it means more than itself.
std::string escape_for_filter(std::string_view text);
// A user's name as a value in a distinguished name (RFC 4514).
std::string escape_for_dn(std::string_view text);
// What to search for.
std::string search_filter(const config::LdapOptions& options, std::string_view user);
// Whom a simple bind names. The name is escaped where it stands in a DN (ldapprefix has a "="), and not where the
// directory has another form for it (ann@example.net, DOMAIN\ann).
std::string simple_bind_name(const config::LdapOptions& options, std::string_view user);
// "ldap://one:389 ldap://two:389" of the servers in the options.
std::string server_uris(const config::LdapOptions& options);

}  // namespace berth::auth
