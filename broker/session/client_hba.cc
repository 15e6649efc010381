// Between chapters 1 and 2, with auth_type hba: which rule of auth_hba_file decides, and what it asks for. The rules
// look at names and addresses only, so that what they say does not tell who exists. `peer` needs no exchange: the
// kernel has told who is there.
#include <memory>
#include <optional>

#include "auth/pam.h"
#include "base/fault.h"
#include "base/log.h"
#include "config/hba.h"
#include "net/peer_process.h"
#include "net/tls_session.h"
#include "session/client.h"

namespace berth::session {

static void read_address(const net::ShortAddress& address, config::HbaClient& out) {
  out.address = address.bytes;
  if (address.kind == net::ShortAddress::Kind::kIpv4) out.family = config::HbaAddress::Family::kIpv4;
  if (address.kind == net::ShortAddress::Kind::kIpv6) out.family = config::HbaAddress::Family::kIpv6;
}

// In PostgreSQL's words, which people look for.
static std::string refusal(const Login& login, const config::HbaRule* rule, const std::string& host, bool encrypted,
                           bool physical_replication) {
  const std::string_view how = encrypted ? "SSL encryption" : "no encryption";
  const std::string_view start = rule ? "pg_hba.conf rejects" : "no pg_hba.conf entry for";
  if (physical_replication) {
    return fmt::format("{} replication connection{} host \"{}\", user \"{}\", {}", start, rule ? " for" : " from",
                       host, login.user, how);
  }
  return fmt::format("{}{} host \"{}\", user \"{}\", database \"{}\", {}", start, rule ? " connection for" : "", host,
                     login.user, login.database, how);
}

// What auth_type cert means: for every user a certificate of that name.
static const config::HbaRule kCertOfAll{.method = config::HbaMethod::kCert};

// The name in the certificate that the handshake has proved; empty: there is none.
static std::string certificate_name(const net::TlsSession* session, const config::HbaRule& rule) {
  if (!session || !session->has_peer_certificate()) return {};
  return rule.whole_name ? session->peer_distinguished_name() : session->peer_common_name();
}

// False: the login is over, or goes on without a verifier.
bool Client::apply_hba(auth::Method& method) {
  if (login->config->options.auth_type == config::AuthType::kCert) {
    login->asked = "certificate";
    peer_known(kCertOfAll, certificate_name(tls(), kCertOfAll));
    return false;
  }
  const config::Hba& hba = *login->config->hba;
  config::HbaClient who;
  who.local = unix_socket;
  who.tls = encrypted;
  who.user = login->user;
  // The console has two names, and a rule for the one must hold for the other.
  who.database = login->console && !FAULT(console_alias) ? "pgbouncer" : std::string_view(login->database);
  who.physical_replication = !login->replication.empty() && login->replication != "database";
  if (!unix_socket) read_address(peer, who);
  const config::HbaRule* rule = config::find_rule(hba, who);
  if (rule) LOG_DEBUG("{} {}:{} decides: {}", label(), hba.file, rule->line, config::to_string(rule->method));
  login->rule = rule;
  if (!rule) login->why = "no line fits of " + hba.file;
  if (!rule || rule->method == config::HbaMethod::kReject) {
    fatal(ClientEnd::kHba, "28000",
          refusal(*login, rule, unix_socket ? "[local]" : peer.host(), encrypted, who.physical_replication));
    return false;
  }
  switch (rule->method) {
    case config::HbaMethod::kTrust: method = auth::Method::kTrust; return true;
    case config::HbaMethod::kPassword: method = auth::Method::kPlain; return true;
    case config::HbaMethod::kMd5: method = auth::Method::kMd5; return true;
    case config::HbaMethod::kScramSha256: method = auth::Method::kScramSha256; return true;
    case config::HbaMethod::kPeer: begin_peer_auth(*rule); return false;
    case config::HbaMethod::kCert:
      login->asked = "certificate";
      peer_known(*rule, certificate_name(tls(), *rule));
      return false;
    case config::HbaMethod::kPam:
      begin_pam_auth(rule->pam_service.empty() ? auth::kPamService : std::string_view(rule->pam_service));
      return false;
    case config::HbaMethod::kLdap: begin_ldap_auth(rule->ldap); return false;
    case config::HbaMethod::kReject: break;
  }
  ASSERT(false);
  return false;
}

namespace {

// The system's user list is a file, or a service that may take its time.
class UserName final : public auth::Work {
 public:
  explicit UserName(uid_t uid) : Work(auth::Lane::kUsers), uid_(uid) {}
  void run() override { name = net::user_name(uid_); }
  std::string name;

 private:
  const uid_t uid_;
};

}  // namespace

void Client::begin_peer_auth(const config::HbaRule& rule) {
  const std::optional<uid_t> uid = net::peer_uid(context.engine.descriptor(conn));
  if (!uid) return peer_known(rule, {});
  // The rule stays where it is: the login keeps its configuration.
  wait_for(std::make_unique<UserName>(*uid),
           [&rule](Client& client, auth::Work& done) { client.peer_known(rule, static_cast<UserName&>(done).name); });
}

// `system_user` is what is known of the peer: the owner of its process, or the name in its certificate.
void Client::peer_known(const config::HbaRule& rule, const std::string& system_user) {
  const config::Hba no_maps;
  const config::Hba& hba = login->config->hba ? *login->config->hba : no_maps;
  if (config::peer_may_be(hba, rule, system_user, login->user)) {
    return with_secret(&Client::finish_peer);
  }
  login->why = fmt::format("it is \"{}\" who is there", system_user);
  if (system_user.empty()) {
    const bool shown = tls() && tls()->has_peer_certificate();
    if (login->asked.empty()) login->why = "the system does not know who is there";
    if (!login->asked.empty()) login->why = shown ? "the certificate has no name" : "no certificate was shown";
  }
  LOG_DEBUG("{} login failed: {}", label(), login->why);
  finish_peer(nullptr, {});
}

// Also of cert. A user that nobody knows reads like a process, or a certificate, that may not be it.
void Client::finish_peer(const auth::Secret* secret, const auth::MockProfile&) {
  if (secret) return auth_succeeded();
  if (login->why.empty()) login->why = unknown_user();
  const std::string_view how = login->asked.empty() ? "Peer" : std::string_view(login->asked);
  auth_failed("28000", fmt::format("{} authentication failed for user \"{}\"", how, login->user));
}

}  // namespace berth::session
