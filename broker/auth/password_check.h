// Passwords that somebody else knows: PAM and LDAP. The client is asked for a clear password, a helper thread asks
// whether it is right.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "auth/exchange.h"
#include "auth/work.h"

namespace berth::auth {

// One question. Its outcome is `right`, or `why` not, for the log: it never holds the password.
class PasswordCheck : public Work {
 public:
  PasswordCheck(Lane lane, std::string_view user, std::string_view password);

  bool right = false;
  std::string why;
  bool broken = false;  // nobody could say

 protected:
  const std::string& user() const { return user_; }
  const SecretString& password() const { return password_; }

 private:
  const std::string user_;
  SecretString password_;
};

// Asks for a clear password, never passes an empty one on (a directory takes it for a bind without a name), and makes
// the question of it.
std::unique_ptr<ClientVerifier> make_checking_verifier(
    std::function<std::unique_ptr<PasswordCheck>(std::string_view password)> make_check);

}  // namespace berth::auth
