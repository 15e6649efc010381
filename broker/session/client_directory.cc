// Chapter 2 where somebody else knows the passwords: PAM and LDAP, by auth_type or by a rule of auth_hba_file. Who
// may log in is theirs to say, too: auth_file is not looked at. The clear password that proved right also logs in to
// servers, as after any exchange that shows it.
#include "auth/ldap.h"
#include "auth/pam.h"
#include "base/log.h"
#include "session/client.h"

namespace berth::session {

void Client::begin_pam_auth(std::string_view service) {
  login->asked = "PAM";
  login->directory = true;
  const std::string remote =
      unix_socket ? std::string("[local]") : net::peer_address(context.engine.descriptor(conn)).host();
  login->verifier = auth::make_checking_verifier(
      [service = std::string(service), user = login->user, remote](std::string_view password) {
        return std::make_unique<auth::PamCheck>(service, user, password, remote);
      });
  auth_on_step(login->verifier->start());
}

void Client::begin_ldap_auth(const config::LdapOptions& options) {
  login->asked = "LDAP";
  login->directory = true;
  // The options stay where they are: the login keeps its configuration, and makes the question before it ends.
  login->verifier = auth::make_checking_verifier([&options, user = login->user](std::string_view password) {
    return std::make_unique<auth::LdapCheck>(options, user, password);
  });
  auth_on_step(login->verifier->start());
}

}  // namespace berth::session
