// In chapter 2: what proves a user is in auth_file, or auth_query knows it. While it is looked up the login is
// parked. Whoever is asked, and whatever comes, is the same for a user that does not exist as for one with another
// password.
#include "base/log.h"
#include "session/client.h"

namespace berth::session {

// Goes on, now or later, with the user's secret; null: there is no such user.
void Client::with_secret(WithSecret go_on) {
  const config::Config& config = *login->config;
  if (const auto* text = config.find_secret(login->user)) {
    const auth::Secret secret = auth::parse_secret(text->view());
    return (this->*go_on)(&secret, context.mock_profile);
  }
  const config::DatabaseEntry* entry = login->entry;  // null at the console, too
  if (config.auth_user(entry).empty()) return (this->*go_on)(nullptr, context.mock_profile);
  // Nowhere to ask. It looks like a user that was asked for somewhere.
  if (!entry && config.auth_dbname(entry).empty()) return (this->*go_on)(nullptr, context.found_profile);
  if (lookup_disabled()) return;
  const auto done = [&home = context, go_on, pid = pid, serial = serial](const SecretAnswer& answer) {
    if (answer.profile.kind != auth::SecretKind::kNone) home.found_profile = answer.profile;
    Client* client = find_parked(home, pid, serial);
    if (!client) return;
    client->unpark_login();
    client->secret_found(go_on, answer);
  };
  SecretQuestion question = secret_question();
  login->unwanted = std::make_shared<std::atomic<bool>>(false);
  question.unwanted = login->unwanted;
  context.fleet.find_secret(std::move(question), done);
  park_login();
}

// DISABLE of the database in which auth_query would run, as in PgBouncer. The log says which one it is.
bool Client::lookup_disabled() {
  const std::string& elsewhere = login->config->auth_dbname(login->entry);
  const std::string& asked = elsewhere.empty() ? login->database : elsewhere;
  if (!context.globals.registry.disabled(asked)) return false;
  if (context.refusals.take(context.now()))
    LOG_WARNING("{} auth_query failed: authentication database \"{}\" is disabled", label(), asked);
  fatal(ClientEnd::kDisabled, "57P03", "authentication database is disabled");
  return true;
}

SecretQuestion Client::secret_question() const {
  return {login->config, login->database, login->console, login->user, nullptr};
}

void Client::secret_found(WithSecret go_on, const SecretAnswer& answer) {
  switch (answer.kind) {
    case SecretAnswer::Kind::kFound:
      login->found = std::make_unique<SecretAnswer>(answer);
      return (this->*go_on)(&answer.secret, answer.profile);
    case SecretAnswer::Kind::kUnknown: return (this->*go_on)(nullptr, answer.profile);
    case SecretAnswer::Kind::kBusy: return fatal(ClientEnd::kTooManyWait, "53300");
    case SecretAnswer::Kind::kCrowded: return fatal(ClientEnd::kTooManyDatabases, "53300");
    case SecretAnswer::Kind::kFailed: break;
  }
  // What the server says of it is the operator's.
  if (context.refusals.take(context.now())) LOG_WARNING("{} auth_query failed: {}", label(), answer.error);
  fatal(ClientEnd::kAuthQueryFailed, "57P03");
}

// The proof does not fit what was remembered: the next login asks.
void Client::secret_refuted() {
  if (login->found && login->found->cached) context.fleet.secret_refuted(secret_question(), login->found->stamp);
}

// What servers can be logged in to with. A user of auth_query or of a directory may have another password in another
// database, and of two logins the one whose secret was read later knows better.
void Client::learn() {
  const bool proved = login->verifier && (login->verifier->learned().known || !login->verifier->password().empty());
  if (!proved && !login->found) return;
  const bool of_database = login->found || login->directory;
  const std::string name = of_database ? learned_name(login->database, login->user) : login->user;
  context.globals.learned.teach(name, context.now(), [&](Learned& learned) {
    if (login->found) {
      if (login->found->stamp < learned.stamp) return;
      learned.stamp = login->found->stamp;
      learned.secret = login->found->secret;
    }
    if (login->directory) {
      learned.directory = login->verifier->password();
      return;
    }
    const SecretString* by = login->found ? &login->found->secret.text : login->config->find_secret(login->user);
    learned.proved(login->verifier ? login->verifier->password() : std::string_view(),
                   by ? by->view() : std::string_view());
    if (login->verifier && login->verifier->learned().known) learned.keys = login->verifier->learned();
  });
  bound_learned(context);
}

}  // namespace berth::session
