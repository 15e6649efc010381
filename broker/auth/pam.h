// Asks the system's PAM whether a password is right and the account may be used.
#pragma once

#include <string>

#include "auth/password_check.h"

namespace berth::auth {

inline constexpr std::string_view kPamService = "pgbouncer";  // as PgBouncer's: /etc/pam.d/pgbouncer

class PamCheck final : public PasswordCheck {
 public:
  // `remote`: the client's address, "[local]" for a Unix socket.
  PamCheck(std::string_view service, std::string_view user, std::string_view password, std::string_view remote);
  void run() override;

 private:
  const std::string service_, remote_;
};

}  // namespace berth::auth
