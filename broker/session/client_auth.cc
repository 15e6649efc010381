// Chapter 2: who is it, and may it come in? The exchange itself is auth/'s; here are the rules of databases, users
// and limits, and the greeting. An unknown user takes the same steps as a wrong password, an unknown database is told
// only to those who have proved themselves.
#include "auth/pam.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/siphash.h"
#include "net/tls_session.h"
#include "pool/watch.h"
#include "session/client.h"
#include "wire/encode.h"

namespace berth::session {

static auth::Method method_of(config::AuthType type) {
  switch (type) {
    case config::AuthType::kTrust: return auth::Method::kTrust;
    case config::AuthType::kAny: return auth::Method::kAny;
    case config::AuthType::kPlain: return auth::Method::kPlain;
    case config::AuthType::kMd5: return auth::Method::kMd5;
    default: return auth::Method::kScramSha256;
  }
}

static bool is_console_name(const config::Config& config, std::string_view database) {
  if (database == "pgbouncer") return true;
  if (database != "pgberth") return false;
  return !config.find_own_database(database);  // a configured database wins over the console's second name
}

static std::string wrong_password(std::string_view user) {
  return fmt::format("password authentication failed for user \"{}\"", user);
}

// Without its database there may have been nobody to ask.
std::string_view Client::unknown_user() const {
  return login->database_missing ? kNoSuchDatabase : kNoSuchUser;
}

void Client::begin_auth() {
  const config::Config& config = *login->config;
  context.startup_clients.remove(this);
  enter(pool::ClientState::kAuth);
  context.startup_clients.push_back(this);
  login->console = is_console_name(config, login->database);
  if (login->console) login->replication.clear();  // it has none: the rules for the console decide
  const Shutdown shutdown = context.globals.shutdown.load(std::memory_order_relaxed);
  if (shutdown != Shutdown::kNo && !login->console) return fatal(ClientEnd::kShutdown, "57P03");
  if (!login->console || FAULT(admin_room_missing)) {
    // Only who has proved itself gets a place (pass_door()); when there is none, that need not be waited for.
    if (context.globals.clients.full()) return fatal(ClientEnd::kMaxClientConn, "53300");
    login->entry = config.find_database(login->database);
    login->database_missing = login->entry == nullptr;
    if (login->database_missing && FAULT(database_told_early)) return auth_succeeded();
  }
  if (login->console && login->user == "pgbouncer" && unix_socket && context.console_peer &&
      context.console_peer(context.engine.descriptor(conn))) {
    login->admin = true;  // the same operating system user as the broker's, over the Unix socket
    return auth_succeeded();
  }
  if (login->console && login->user == config::kLinkUser) return begin_extension_auth();
  if (config.options.auth_type == config::AuthType::kPam) return begin_pam_auth(auth::kPamService);
  if (config.options.auth_type == config::AuthType::kLdap) return begin_ldap_auth(*config.ldap);
  auth::Method method = method_of(config.options.auth_type);
  const bool by_rule = config.options.auth_type == config::AuthType::kHba;
  if ((by_rule || config.options.auth_type == config::AuthType::kCert) && !apply_hba(method)) return;
  login->method = method;
  if (method == auth::Method::kAny) return start_exchange(nullptr, context.mock_profile);  // the name does not matter
  with_secret(&Client::start_exchange);
}

void Client::start_exchange(const auth::Secret* secret, const auth::MockProfile& profile) {
  if (!secret && login->method != auth::Method::kAny) login->why = unknown_user();
  if (login->method == auth::Method::kTrust && !secret) return auth_failed("28P01", wrong_password(login->user));
  login->verifier =
      auth::make_client_verifier(login->method, login->user, secret,
                                 static_cast<int>(login->config->options.scram_iterations), profile, binding());
  auth_on_step(login->verifier->start());
}

// The extension's views and functions log in with the secret that the link has given to the database, by SCRAM
// whatever auth_type says. Without a secret of the process (link is off in tests) nobody is let in.
void Client::begin_extension_auth() {
  login->extension = true;
  const auth::Secret& secret = context.globals.identity.secret;
  login->verifier = auth::make_client_verifier(
      auth::Method::kScramSha256, login->user, secret.empty() ? nullptr : &secret,
      static_cast<int>(context.options().scram_iterations), context.mock_profile, binding());
  auth_on_step(login->verifier->start());
}

void Client::auth_on_step(auth::Step step) {
  switch (step.kind) {
    case auth::Step::Kind::kSend: made_progress(); return send(step.bytes);
    case auth::Step::Kind::kOk:
      if (!step.bytes.empty()) send(step.bytes);
      return auth_succeeded();
    case auth::Step::Kind::kWork: return begin_work(std::move(step.work));
    case auth::Step::Kind::kFailed: break;
  }
  LOG_DEBUG("{} login failed: {}", label(), step.reason);
  if (step.unproved && context.refusals.take(context.now()))
    LOG_WARNING("{} nobody can say whether the password is right: {}", label(), step.reason);
  if (login->why.empty()) login->why = std::move(step.reason);
  if (!step.protocol_violation) secret_refuted();
  if (step.protocol_violation) return fatal(ClientEnd::kProtocolViolation, "08P01", "invalid authentication message");
  if (!login->asked.empty()) {  // in PostgreSQL's words, too
    const std::string text = fmt::format("{} authentication failed for user \"{}\"", login->asked, login->user);
    return step.unproved ? fatal(ClientEnd::kAuthFailed, "28000", text) : auth_failed("28000", text);
  }
  auth_failed("28P01", wrong_password(login->user));
}

void Client::begin_work(std::unique_ptr<auth::Work> work) {
  wait_for(std::move(work), [](Client& client, auth::Work& done) {
    auth::Step step = client.login->verifier->resume(done);
    wipe_stack();
    client.auth_on_step(std::move(step));
  });
}

// Parks the login until the work has been done, and goes on with `next`.
void Client::wait_for(std::unique_ptr<auth::Work> work, std::function<void(Client&, auth::Work&)> next) {
  const auto done = [&home = context, pid = pid, serial = serial, next = std::move(next)](auth::Work& ready) {
    Client* client = find_parked(home, pid, serial);
    pool::watch_event(client ? client->state : pool::ClientState::kClosing, "work done");
    if (!client) return;
    client->unpark_login();
    next(*client, ready);
  };
  login->unwanted = std::make_shared<std::atomic<bool>>(false);
  work->unwanted = login->unwanted;
  if (!context.fleet.aside(std::move(work), done)) return fatal(ClientEnd::kTooManyWait, "53300");
  park_login();
}

void Client::park_login() {
  ASSERT(state == pool::ClientState::kAuth);
  made_progress();  // behind those who keep us waiting
  context.engine.pause(conn, net::kPauseLogin);
}

void Client::unpark_login() {
  context.engine.resume(conn, net::kPauseLogin);
}

Client* find_parked(Context& context, uint32_t pid, uint64_t serial) {
  const uint32_t index = index_of_pid(pid);
  if (index >= context.client_by_index.size()) return nullptr;
  Client* client = context.client_by_index[index];
  if (!client || (client->serial != serial && !FAULT(parked_by_place)) || client->state != pool::ClientState::kAuth)
    return nullptr;
  ASSERT(context.engine.paused(client->conn) & net::kPauseLogin);
  return client;
}

net::Taken Client::auth_on_bytes(std::string_view bytes) {
  if (bytes.size() < wire::kHeaderSize) return {0, wire::kHeaderSize};
  const wire::Head head = wire::read_head(bytes.data(), login->verifier->message_max() + wire::kHeaderSize);
  if (!head.valid || head.tag != wire::kPassword) {
    if (head.tag == wire::kTerminate) {
      close(ClientEnd::kLeftDuringLogin);
    } else {
      fatal(ClientEnd::kProtocolViolation, "08P01", "expected a password message");
    }
    return {bytes.size(), 0};
  }
  if (bytes.size() < head.size) return {0, head.size};
  const std::string_view message = bytes.substr(0, head.size);
  if (!may_try()) {
    net::scrub_lent(message);
    fatal(ClientEnd::kThrottled, "28000");
    return {bytes.size(), 0};
  }
  auth::Step step = login->verifier->feed(message.substr(wire::kHeaderSize));
  net::scrub_lent(message);
  if (step.kind != auth::Step::Kind::kSend) wipe_stack();  // until SCRAM's proof nothing is secret
  auth_on_step(std::move(step));
  return {head.size, 0};
}

void Client::auth_succeeded() {
  if (!pass_door()) return;
  if (const net::TlsSession* session = tls()) session->peer_has_proved();
  if (login->console) return enter_console();
  if (login->database_missing)
    return fatal(ClientEnd::kNoDatabase, "3D000", fmt::format("no such database: {}", login->database));
  learn();
  if (!login->replication.empty() && mode_fixed && mode != config::PoolMode::kSession) {
    return fatal(ClientEnd::kWrongMode, "0A000", {}, {},
                 "This port is in transaction mode: connect to session_port.");
  }
  if (login->config->options.auth_type == config::AuthType::kAny && login->entry->user.empty()) {
    return fatal(ClientEnd::kNotAllowed, "28000", "auth_type any needs a user in the database entry");
  }
  pool::SharedDatabase* database = context.globals.registry.database(login->database);
  if (database->disabled.load(std::memory_order_relaxed)) {
    return fatal(ClientEnd::kDisabled, "57P03", fmt::format("database \"{}\" is disabled", login->database));
  }
  enter_pool();
}

bool Client::take_gates() {
  pool::Gate& of_database = slice->pool.shared()->of_database->clients;
  pool::Gate& of_user = context.globals.registry.user(login->user)->clients;
  of_user.limit.store(context.config->max_user_client_connections(context.config->find_user(login->user)),
                      std::memory_order_relaxed);
  if (!of_database.try_acquire()) {
    fatal(ClientEnd::kMaxDbClients, "53300");
    return false;
  }
  if (!of_user.try_acquire()) {
    of_database.release();
    fatal(ClientEnd::kMaxUserClients, "53300");
    return false;
  }
  counted_gates = true;
  return true;
}

void Client::enter_pool() {
  const config::Config& config = *login->config;
  const std::string& user = login->entry->user.empty() ? login->user : login->entry->user;
  slice = find_slice(context, login->database, user, login->replication);
  if (!mode_fixed) mode = config.pool_mode(*login->entry, config.find_user(login->user));
  if (!login->replication.empty()) mode = config::PoolMode::kSession;
  session_mode = mode == config::PoolMode::kSession;
  if (unix_socket) peer = net::shorten(net::local_address(context.engine.descriptor(conn)));
  if (!take_gates()) {
    slice = nullptr;
    return;
  }
  context.startup_clients.remove(this);
  slice->pool.add_client(this, pool::ClientState::kLoginWait);
  wait_since = context.now();
  slice->counters.client_login_count++;
  bool known;
  {
    const std::lock_guard<std::mutex> guard(slice->pool.shared()->mutex);
    known = static_cast<bool>(slice->pool.shared()->welcome);
  }
  if (known) return finish_login();
  context.engine.pause(conn, net::kPauseLogin);
  run_slice(context, *slice);
}

std::string cancel_key(uint32_t pid, uint64_t serial) {
  std::string out;
  for (char part = 0; part < 4; ++part) {
    char input[13];
    std::memcpy(input, &pid, 4);
    std::memcpy(input + 4, &serial, 8);
    input[12] = part;
    const uint64_t word = siphash(process_key(), {input, sizeof input});
    out.append(reinterpret_cast<const char*>(&word), 8);
  }
  return out;
}

// The server's parameters, with the client's own values over them. What the client asked for and the server does not
// report (extra_float_digits, say) is kept as its setting, but not told.
static Greeting make_greeting(const pool::Params& asked, const pool::Params& welcome) {
  Greeting greeting{asked, welcome, {}, {}};
  auto values = welcome->values;
  for (const auto& [name, value] : asked->values) {
    if (!pool::is_fixed_parameter(name)) values.emplace_back(name, value);
  }
  greeting.params = pool::make_params(std::move(values));
  for (const auto& [name, value] : greeting.params->values) {
    if (welcome->find(name)) wire::put_parameter_status(greeting.statuses, name, value);
  }
  return greeting;
}

static const Greeting& find_greeting(Slice& slice, const pool::Params& asked) {
  pool::SharedPool* shared = slice.pool.shared();
  pool::Params welcome;
  {
    const std::lock_guard<std::mutex> guard(shared->mutex);
    welcome = shared->welcome;
  }
  for (const Greeting& known : slice.greetings) {
    if (known.params && known.asked == asked && known.welcome == welcome) return known;
  }
  Greeting& place = slice.greetings[slice.next_greeting++ % slice.greetings.size()];
  place = make_greeting(asked, welcome);
  return place;
}

void Client::finish_login() {
  ASSERT(state == pool::ClientState::kLoginWait);
  const Greeting& greeting = find_greeting(*slice, params);
  params = start_params = greeting.params;
  std::string out;
  out.reserve(greeting.statuses.size() + 256);
  {
    wire::Message ok(out, wire::kAuthentication);
    wire::put32(out, 0);
  }
  out += greeting.statuses;
  wire::put_parameter_status(out, "pgbouncer.version", "PgBouncer 1.26.1");
  wire::put_parameter_status(out, "pgbouncer.pool_mode", config::to_string(mode));
  wire::put_parameter_status(out, "pgbouncer.max_prepared_statements",
                             std::to_string(context.options().max_prepared_statements));
  {
    wire::Message key(out, wire::kBackendKeyData);
    wire::put32(out, pid);
    out += cancel_key(pid, serial).substr(0, long_cancel_key ? 32 : 4);
  }
  const std::string& notice = context.options().login_notify_message;
  if (!notice.empty()) wire::put_error(out, wire::Severity::kNotice, "00000", notice);
  wire::put_ready(out, 'I');
  slice->pool.move(this, pool::ClientState::kIdle, context.now());
  if (context.options().log_connections) {
    LOG_INFO("{} login attempt: db={} user={} tls={}{}", label(), login->database, login->user,
             encrypted ? tls_text() : "no", login->replication.empty() ? "" : " replication=" + login->replication);
  }
  if (login->user != slice->user) user = login->user;
  login.reset();
  send(out);
  context.engine.resume(conn, net::kPauseLogin);
}

void Client::enter_console() {
  const config::Config& config = *login->config;
  extension = login->extension;
  admin = !extension && (login->admin || config.is_admin(login->user));
  if (!admin && !extension && !config.is_stats(login->user)) {
    return fatal(ClientEnd::kNotAllowed, "28000", {}, {}, "Add the user to admin_users or stats_users.");
  }
  context.startup_clients.remove(this);
  enter(pool::ClientState::kConsole);
  context.console_clients.push_back(this);
  context.console->on_login(this);
}

}  // namespace berth::session
