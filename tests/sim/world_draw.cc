// What kind of world a seed makes: its scenario, its configuration, and how a reload changes that; and which words a
// client may be told in it.
#include <algorithm>
#include <cstdlib>

#include "auth/md5.h"
#include "auth/scram.h"
#include "config/hba.h"
#include "sim/world.h"
#include "unit/auth_steps.h"

namespace berth::sim {

void World::draw_scenario() {
  Scenario& s = scenario_;
  s.workers = 1 + static_cast<int>(random_.below(3));
  s.clients = 2 + static_cast<int>(random_.below(9));
  s.databases = chance(70) ? 1 : 2;
  s.users = chance(70) ? 1 : 2;
  s.faults = chance(30);
  s.waits_end = chance(15);
  s.crowded = chance(15);
  s.password = chance(20);
  s.postgres_idle_percent = chance(70) ? 30 : 90;
  s.asks = chance(20);
  s.queried = seed_ % 5 == 2;
  s.impatient = chance(15);
  s.narrow = chance(15);
  s.statements = chance(15);
  s.session_percent = chance(60) ? 0 : (chance(50) ? 30 : 100);
  s.strangers = chance(75) ? 0 : 1 + static_cast<int>(random_.below(5));
  s.operators = chance(50) ? 0 : 1 + static_cast<int>(random_.below(3));
  s.guarded = door_random_.below(5) == 0;
  // A world of handshakes takes as long as ten others, and a fuzzer learns nothing by them.
  s.tls = (seed_ % 71 == 7 || std::getenv("SIM_TLS")) && !choices_;
  s.faults |= s.tls && seed_ % 3 > 0;
  if (s.guarded) s.strangers += 2 + static_cast<int>(door_random_.below(8));
  Powers& p = s.powers;
  p.commands = 2 + static_cast<int>(random_.below(20));
  p.pauses = chance(70);
  p.kills = chance(40);
  p.reloads = chance(70);
  p.shuts_down = chance(35);
  s.absent = s.operators > 0 && chance(30);
  Habits& h = s.habits;
  h.batches = 2 + static_cast<int>(random_.below(14));
  h.pipeline = 1 + static_cast<int>(random_.below(4));
  h.leave_percent = chance(50) ? 0 : static_cast<int>(random_.below(15));
  h.cancel_percent = chance(60) ? 0 : 3;
  h.slow_percent = chance(60) ? 0 : static_cast<int>(random_.below(90));
  for (bool* habit : {&h.simple, &h.extended, &h.named, &h.errors, &h.blocks, &h.copy, &h.settings, &h.own_values,
                      &h.commands, &h.functions, &h.sleeps, &h.flush}) {
    *habit = chance(75);
  }
  if (s.statements && chance(60)) h.blocks = false;
  if (s.tls && s.faults) {  // cancel requests meet bad servers, too
    h.sleeps = true;
    h.cancel_percent = 5;
  }
  h.rest_percent = s.impatient ? 5 : 0;
  if (!h.extended) h.simple = true;
  h.large = chance(20);
  h.long_keys = chance(50);
  NetProfile& net = network_.profile;
  net.chunk_most = chance(30) ? 8 : (chance(50) ? 200 : 65536);
  net.idle_percent = static_cast<int>(random_.below(60));
  net.partial_percent = chance(50) ? 0 : static_cast<int>(random_.below(60));
  s.hba = s.asks && chance(50);
  s.md5 = s.asks && chance(30);
  if (s.asks && chance(50)) s.users = 2;
  password_ = fmt::format("{:08}", seed_);
}

// As auth_file might have it.
std::string World::draw_secret(const std::string& user) {
  std::string text = password_of(user);
  if (!scenario_.asks) return text;
  if (scenario_.md5 && chance(50)) {
    if (!auth::md5_secret(password_of(user), user, text)) violation("this OpenSSL refuses MD5");
  } else if (chance(50)) {
    const auto iterations = static_cast<uint32_t>(1 + random_.below(3));
    text = auth::to_text(auth::make_scram_secret(text, "salt of " + user + password_, iterations));
  }
  return text;
}

std::string World::password_of(int client) const {
  if (knows_password(client)) return password_of(user_of(client));
  return seed_ % 2 == 0 ? "wrong" : password_of(client % scenario_.users == 0 ? "u1" : "u0");
}

bool World::must_ask(std::string_view user, std::string_view database) const {
  return scenario_.asks && std::all_of(rules_.begin(), rules_.end(), [&](const Rules& rules) {
           if (database == "pgbouncer" && user == "admin") return rules.console;
           return database == "d0" && user == "u0" ? rules.first : rules.others;
         });
}

// Without its database nobody is asked about a user whom auth_query should find.
bool World::may_refuse(int client) const {
  return (scenario_.asks && !knows_password(client)) || (scenario_.queried && removed_.contains(database_of(client)));
}

// Strangers may be refused; everybody else comes in by some exchange.
std::shared_ptr<const config::Hba> World::draw_hba() {
  std::string text;
  bool asks = false;  // the method drawn last
  const auto method = [&] {
    const int kinds = scenario_.md5 ? 3 : 4;
    const uint64_t kind = random_.below(static_cast<uint64_t>(kinds));
    asks = kind > 0;
    return std::vector<const char*>{"trust", "password", "md5", "scram-sha-256"}[kind];
  };
  const auto rule = [&](std::string_view who, std::string_view how) {
    text += fmt::format("local {} {}\n", who, how);
    if (scenario_.guarded || scenario_.tls) text += fmt::format("host {} all {}\n", who, how);  // they have addresses
  };
  rule("all nobody", "reject");
  if (chance(50)) text += scenario_.guarded || scenario_.tls ? "\n" : "host all all all reject\n";
  Rules rules;
  const bool console = chance(50);
  if (console) rule("pgbouncer admin", method());
  rules.console = asks;
  const bool first = chance(50);
  if (first) rule("d0 u0", method());
  rules.first = asks;
  rule("all all", method());
  rules.others = asks;
  if (!console) rules.console = asks;
  if (!first) rules.first = asks;
  rules_.push_back(rules);
  config::ParsedHba parsed = config::parse_hba("hba", "", [&](const std::string&) { return text; });
  if (!parsed.mistakes.empty()) violation("a rule is wrong: " + parsed.mistakes.front().format());
  return std::make_shared<const config::Hba>(std::move(parsed.hba));
}

void World::draw_logins(config::Config& config) {
  config::Options& options = config.options;
  options.auth_type = config::AuthType::kTrust;
  if (scenario_.asks) options.auth_type = chance(50) ? config::AuthType::kPlain : config::AuthType::kMd5;
  if (scenario_.asks && !scenario_.md5 && chance(50)) options.auth_type = config::AuthType::kScramSha256;
  if (scenario_.hba) {
    options.auth_type = config::AuthType::kHba;
    options.auth_hba_file = "hba";
    options.auth_file = "userlist";
    config.hba = draw_hba();
  }
  options.scram_iterations = 1 + static_cast<int64_t>(random_.below(3));
  for (int i = 0; i < scenario_.users; ++i) {
    const std::string user = "u" + std::to_string(i);
    config.secrets[user] = draw_secret(user);
  }
  if (scenario_.queried) {
    options.auth_user = "looker";
    looked_up_.swap(config.secrets);
  }
  config.secrets["admin"] = draw_secret("admin");
  if (choices_) config.secrets[std::string(kRawUser)] = password_of(kRawUser);
  if (scenario_.password) draw_servers_secrets(config);
}

// Either all users have the database entry's password there, or each its own: then the broker proves itself with
// what auth_file says, or with what the user's login has taught it.
void World::draw_servers_secrets(config::Config& config) {
  constexpr auth::Method kMethods[] = {auth::Method::kPlain, auth::Method::kMd5, auth::Method::kScramSha256};
  postgres_.method = kMethods[random_.below(3)];
  const auto server_secret = [this](const std::string& password) {
    if (postgres_.method != auth::Method::kScramSha256) return auth::parse_secret(password);
    const auto iterations = static_cast<uint32_t>(1 + random_.below(3));
    return auth::parse_secret(
        auth::to_text(auth::make_scram_secret(password, "salt of the server" + password_, iterations)));
  };
  // By a rule somebody may be let in who has taught nothing.
  const int own_percent = !scenario_.asks ? 30 : scenario_.hba ? 0 : 80;
  if (!chance(own_percent)) {
    for (config::DatabaseEntry& entry : config.databases) entry.password = password_of("the servers");
    postgres_.secret = server_secret(password_of("the servers"));
    return;
  }
  // PostgreSQL asks by SCRAM whoever has a secret of that kind.
  for (const auto* known : {&config.secrets, &looked_up_}) {
    for (const auto& [user, text] : *known) {
      auth::Secret secret = auth::parse_secret(text.view());
      const bool plain = secret.kind == auth::SecretKind::kPlain;
      if (!plain) postgres_.method = auth::Method::kMd5;
      postgres_.secrets[user] = std::move(secret);
    }
  }
  if (postgres_.method != auth::Method::kScramSha256) return;
  for (auto& [user, secret] : postgres_.secrets) secret = server_secret(password_of(user));
}

std::string World::answer(std::unique_ptr<auth::ServerLogin>& login, const std::string& user,
                          const std::string& password, std::string_view body) {
  auth::Proof proof;
  proof.secret = auth::parse_secret(password);
  if (!login) login = auth::make_server_login(user, proof);
  const auth::Step step = auth::feed_through(*login, body);
  if (step.kind == auth::Step::Kind::kFailed) violation("the broker's half of a login is wrong: " + step.reason);
  return step.bytes;
}

// A quiet world: who prepares statements, or cancels some, has the stage.
void World::draw_quiet(Choices::Subject subject) {
  if (subject == Choices::Subject::kAnything) return;
  const bool cancels = subject == Choices::Subject::kCancels;
  Scenario& s = scenario_;
  s.faults = s.waits_end = s.crowded = s.password = s.asks = s.impatient = s.narrow = s.statements = s.absent =
      s.hba = s.md5 = s.guarded = s.queried = false;
  s.strangers = s.operators = 0;
  if (cancels) s.session_percent = 0;
  Habits& h = s.habits;
  h.batches = 100;
  h.pipeline = 3;
  h.leave_percent = h.cancel_percent = h.slow_percent = h.rest_percent = 0;
  h.extended = h.named = true;
  if (cancels) h.sleeps = true;
}

void World::draw_times(config::Options& options) {
  options.reserve_pool_timeout = 200 * kMillisecond;
  options.query_wait_timeout = scenario_.waits_end ? 500 * kMillisecond : 0;
  options.query_wait_notify = chance(50) ? 100 * kMillisecond : 0;
  options.server_check_delay = chance(40) ? (chance(50) ? 0 : 5 * kMillisecond) : 30 * kSecond;
  options.server_idle_timeout = chance(20) ? 50 * kMillisecond : 600 * kSecond;
  options.server_lifetime = chance(20) ? 200 * kMillisecond : 3600 * kSecond;
  options.server_login_retry = 2 * kSecond;
  options.server_connect_timeout = (scenario_.faults ? 1 : 15) * kSecond;
  options.autodb_idle_timeout = chance(30) ? 50 * kMillisecond : 3600 * kSecond;
  options.cancel_wait_timeout = chance(30) ? 100 * kMillisecond : 10 * kSecond;
  if (!scenario_.impatient) return;
  const auto soon = [this] { return chance(30) ? 50 * kMillisecond + random_.below(300 * kMillisecond) : 0; };
  options.query_timeout = static_cast<Micros>(soon());
  options.idle_transaction_timeout = static_cast<Micros>(soon());
  options.transaction_timeout = static_cast<Micros>(soon());
  options.client_idle_timeout = static_cast<Micros>(soon());
  if (chance(50)) options.client_login_timeout = static_cast<Micros>(1 + soon());
  postgres_.sleep_most = 400 * kMillisecond;
}

// A door so narrow that everything happens at it.
void World::draw_door(config::Options& options) {
  if (!scenario_.guarded) return;
  const auto some = [this](uint64_t most) { return static_cast<int64_t>(door_random_.below(most)); };
  options.max_unauthenticated_connections = some(6);
  options.max_unauthenticated_per_address = some(4);
  options.max_client_conn_per_address = some(3) == 0 ? 1 + some(5) : 0;
  options.failed_login_threshold = some(3);
  options.failed_login_delay_max = (1 + some(5)) * 100 * kMillisecond;
  if (some(2) == 0) options.client_startup_timeout = (1 + some(300)) * kMillisecond;
}

void World::draw_databases(config::Config& config) {
  for (int i = 0; i < scenario_.databases; ++i) {
    config::DatabaseEntry entry;
    entry.name = entry.dbname = "d" + std::to_string(i);
    entry.hosts = {scenario_.tls ? kTlsHost : "/sim"};
    if (chance(20)) entry.connect_query = chance(70) ? "set application_name to 'setup'" : "sleep setup";
    config.databases.push_back(entry);
  }
  if (chance(85)) return;
  config::DatabaseEntry& last = config.databases.back();
  last.name = "*";  // it is called by its name all the same
  last.is_fallback = true;
}

void World::make_config() {
  config_ = std::make_shared<config::Config>();
  config::Options& options = config_->options;
  options.log_connections = options.log_disconnections = options.log_pooler_errors = options.log_stats = false;
  options.admin_users = "admin";
  options.pool_mode = scenario_.statements ? config::PoolMode::kStatement : config::PoolMode::kTransaction;
  options.max_client_conn = scenario_.narrow ? 1 + static_cast<int64_t>(random_.below(6)) : 1000;
  if (scenario_.narrow && chance(50)) options.max_db_client_connections = 1 + static_cast<int64_t>(random_.below(4));
  if (scenario_.narrow && chance(50))
    options.max_user_client_connections = 1 + static_cast<int64_t>(random_.below(4));
  options.default_pool_size = 1 + static_cast<int64_t>(random_.below(4));
  options.reserve_pool_size = chance(20) ? 1 : 0;
  options.transaction_reserve = static_cast<int64_t>(random_.below(3));
  options.max_db_connections = chance(20) ? 1 + static_cast<int64_t>(random_.below(4)) : 0;
  options.max_user_connections = chance(10) ? 1 + static_cast<int64_t>(random_.below(4)) : 0;
  options.max_prepared_statements = chance(20) ? 2 : chance(10) ? 0 : 200;
  options.server_round_robin = chance(30);
  options.server_reset_query_always = chance(10);
  options.server_fast_close = chance(20);
  options.transaction_port = 6543;
  options.session_port = 5432;
  if (chance(30)) options.min_pool_size = 1 + static_cast<int64_t>(random_.below(3));
  draw_times(options);
  draw_door(options);
  draw_databases(*config_);
  draw_logins(*config_);
  if (scenario_.crowded) postgres_.connections_max = 1 + random_.below(3);
  if (scenario_.tls) {
    tls_ = std::make_unique<SimTls>(*this, seed_, scenario_.faults);
    tls_->begin(globals_);
    if (tls_->direct_servers()) options.server_tls_negotiation = "direct";
    options.server_tls_sslmode = net::to_string(tls_->servers());  // what rules look at
    options.server_tls_ca_file = "roots";
  }
  config_->index();
}

// The file has been edited: other sizes and times, a database that is gone, leads elsewhere or has come back. Once
// the trouble is over, everything is there again.
std::shared_ptr<const config::Config> World::draw_reload() {
  auto next = std::make_shared<config::Config>(*config_);
  if (tls_) tls_->reload(globals_);
  if (!trouble_) return next;
  config::Options& options = next->options;
  if (chance(50)) options.default_pool_size = 1 + static_cast<int64_t>(random_.below(4));
  if (chance(30)) options.reserve_pool_size = static_cast<int64_t>(random_.below(2));
  if (chance(30)) options.max_db_connections = static_cast<int64_t>(random_.below(4));
  if (chance(30)) options.min_pool_size = static_cast<int64_t>(random_.below(3));
  if (chance(30)) draw_times(options);
  if (chance(5)) options.server_check_query = "error check";
  if (scenario_.hba && chance(50)) next->hba = draw_hba();
  if (scenario_.absent) {
    for (config::DatabaseEntry& entry : next->databases) {
      if (chance(20)) entry.dbname = "missing";
      if (chance(10)) entry.connect_query = "error setup";
    }
    if (chance(30)) {
      const auto out = next->databases.begin() + static_cast<long>(random_.below(next->databases.size()));
      removed_.insert(out->is_fallback ? "d" + std::to_string(scenario_.databases - 1) : out->name);
      next->databases.erase(out);
    }
  }
  next->index();
  return next;
}

static bool among(std::initializer_list<const char*> known, std::string_view text) {
  for (const char* one : known) {
    if (text.starts_with(one)) return true;
  }
  return false;
}

bool World::cancels_must_work() const {
  const Scenario& s = scenario_;
  return !s.faults && !s.narrow && !s.guarded && !s.impatient && !s.tls && s.operators == 0 &&
         s.habits.leave_percent == 0 && running->options.cancel_wait_timeout > kSecond;
}

// May a client's connection end with these words? "torn": in the middle of a message, so that there can be none.
bool World::may_lose(std::string_view text) const {
  const Scenario& s = scenario_;
  if (ending_ && text == "pgberth is shutting down") return true;
  if (ending_ && choices_ && text == "torn") return true;  // the fuzzer's network may be too slow for the last words
  if (s.faults && among({"server conn crashed?", "terminating connection due to administrator command",
                         "server sent an unexpected message", "torn"},
                        text)) {
    return true;
  }
  if (s.faults && among({"too many logins wait"}, text)) return true;
  if (s.faults && s.tls && SimTls::is_failure(text)) return true;
  if (s.faults && s.queried && text.starts_with("auth_query failed")) return true;
  if (s.waits_end && text == "query_wait_timeout") return true;  // at its login
  if (s.impatient && among({"query_timeout", "idle_transaction_timeout", "transaction_timeout", "client_idle_timeout",
                            "client_login_timeout", "torn"},
                           text)) {
    return true;
  }
  if (s.guarded && among({"no more connections allowed from this address", "too many connections",
                          "not logged in yet, and another needed the place", "client_startup_timeout", "torn"},
                         text)) {
    return true;
  }
  if (s.narrow && among({"no more connections allowed", "client connections exceeded"}, text)) return true;
  if (s.statements && text == "transaction blocks not allowed in statement pooling mode") return true;
  if (s.absent && (among({"no such database: d", "query_wait_timeout"}, text) || is_refusal(text))) return true;
  if (s.operators > 0 && s.powers.kills &&
      (among({"database removed", "admin forced disconnect", "torn"}, text) || text.ends_with("is disabled"))) {
    return true;
  }
  if (s.operators > 0 && s.powers.shuts_down && among({"pgberth is shutting down", "torn"}, text)) return true;
  return false;
}

// May a request be refused with these words, while its client stays?
bool World::is_refusal(std::string_view text) const {
  if (scenario_.tls && scenario_.faults && SimTls::is_failure(text)) return true;
  return scenario_.absent &&
         (text == "database \"missing\" does not exist" || text == "database is no longer configured");
}

bool World::resolving_fails() {
  return trouble_ && scenario_.faults && chance(5);
}

}  // namespace berth::sim
