#include "link/auth_query_thread.h"

#include <algorithm>

#include "base/log.h"
#include "base/secret_memory.h"
#include "net/openssl_memory.h"

namespace berth::link {

namespace {

constexpr Micros kWaitDefault = 60 * kSecond;  // where neither client_login_timeout nor query_wait_timeout bounds it

constexpr std::string_view kNoDatabase = "3D000";

struct Resolved {
  uint64_t attempt;
  Result<std::vector<net::Address>> found;
};

struct Worked {
  uint64_t attempt;
  std::unique_ptr<auth::Work> work;
};

struct Refuted {
  session::SecretQuestion question;
  uint64_t stamp;
};

}  // namespace

struct AuthQueryThread::Inbox {
  std::mutex mutex;               // guards the rest
  net::Engine* engine = nullptr;  // while the thread runs
  std::shared_ptr<const config::Config> config;
  std::vector<Asked> asked;
  Sweep sweep;  // of `asked`
  std::vector<Refuted> refuted;
  std::vector<Resolved> resolved;
  std::vector<Worked> worked;
  bool stop = false;

  template <typename F>
  void leave(F&& put) {
    const std::lock_guard<std::mutex> guard(mutex);
    put();
    if (engine) engine->wake();
  }
};

AuthQueryThread::AuthQueryThread(session::Globals& globals, net::Resolver& resolver, worker::Helpers& helpers,
                                 uint64_t seed)
    : globals_(globals), resolver_(resolver), helpers_(helpers), random_(seed), inbox_(std::make_shared<Inbox>()) {}

AuthQueryThread::~AuthQueryThread() {
  stop();
}

void AuthQueryThread::start(std::shared_ptr<const config::Config> config) {
  config_ = std::move(config);
  thread_ = std::thread([this] { run(); });
}

void AuthQueryThread::reconfigure(std::shared_ptr<const config::Config> config) {
  inbox_->leave([&] { inbox_->config = std::move(config); });
}

void AuthQueryThread::stop() {
  inbox_->leave([&] { inbox_->stop = true; });
  if (thread_.joinable()) thread_.join();
}

void AuthQueryThread::find(session::SecretQuestion question, Done done) {
  bool full = false;
  inbox_->leave([&] {
    std::vector<Asked>& asked = inbox_->asked;
    if (asked.size() >= kAuthInboxMax && inbox_->sweep.due(monotonic_now())) {
      std::erase_if(asked, [](const Asked& one) { return !one.question.wanted(); });
    }
    full = asked.size() >= kAuthInboxMax;
    if (!full) asked.push_back({std::move(question), std::move(done)});
  });
  if (!full) return;
  session::SecretAnswer busy;
  busy.kind = session::SecretAnswer::Kind::kBusy;
  done(busy);
}

void AuthQueryThread::refuted(const session::SecretQuestion& question, uint64_t stamp) {
  inbox_->leave([&] { inbox_->refuted.push_back({question, stamp}); });
}

// ---- the thread

void AuthQueryThread::run() {
  keep_thread_out_of_dumps();     // what is remembered of users, and what OpenSSL and the engine hold for a moment
  const net::WipeFreed no_query;  // so it may cost its time
  engine_ = std::make_unique<net::EpollEngine>();
  engine_->send_singly();  // what it gathers would have passwords in it
  inbox_->leave([&] { inbox_->engine = engine_.get(); });
  now_ = monotonic_now();
  while (take_inbox()) {
    do {
      for (Managed& managed : managed_) {
        if (now_ >= managed.machine.wake_at() && managed.machine.on_time(now_))
          leave_host(managed, "no answer in time", false);
        perform(managed);
      }
      managed_.remove_if([this](const Managed& managed) {
        return managed.machine.idle(now_) && (managed.no_database || now_ - managed.asked_at > kAuthKept);
      });
      while (const std::optional<size_t> place = one_too_many(places())) drop(*place);
    } while (seat_crowd());
    if (changed_ && now_ >= publish_at_) publish();
    wait();
  }
  end();
}

// Says goodbye to all servers, and waits for none.
void AuthQueryThread::end() {
  inbox_->leave([&] { inbox_->engine = nullptr; });
  managed_.clear();
  while (engine_->memory().conns > 0) {
    engine_->end_lingering();
    engine_->run_once(0);
  }
  engine_.reset();
}

// False: the end.
bool AuthQueryThread::take_inbox() {
  std::vector<Asked> asked;
  std::vector<Refuted> refuted;
  std::vector<Resolved> resolved;
  std::vector<Worked> worked;
  std::shared_ptr<const config::Config> config;
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    if (inbox_->stop) return false;
    asked.swap(inbox_->asked);
    refuted.swap(inbox_->refuted);
    resolved.swap(inbox_->resolved);
    worked.swap(inbox_->worked);
    config.swap(inbox_->config);
  }
  if (config) take_config(std::move(config));
  for (const Resolved& answer : resolved) on_resolved(answer.attempt, answer.found);
  for (const Worked& one : worked) on_worked(one.attempt, *one.work);
  for (const Refuted& one : refuted) on_refuted(one.question, one.stamp);
  for (Asked& one : asked) on_asked(std::move(one));
  changed_ = changed_ || !asked.empty();
  return true;
}

// Nothing is remembered over a reload, and what is open is made anew: settings of TLS or a password may be others.
void AuthQueryThread::take_config(std::shared_ptr<const config::Config> config) {
  config_ = std::move(config);
  missing_.clear();
  for (Managed& managed : managed_) {
    managed.machine.reset(settings_of(managed.source), now_);
    managed.told_down = false;
  }
  changed_ = true;
}

AuthSettings AuthQueryThread::settings_of(const AuthSource& source) const {
  const config::Options& options = config_->options;
  AuthSettings settings;
  settings.standard = source.standard;
  settings.cache_ttl = options.auth_query_cache_ttl;
  settings.wait_within = kWaitDefault;
  for (const Micros limit : {options.client_login_timeout, options.query_wait_timeout}) {
    if (limit > 0) settings.wait_within = std::min(settings.wait_within, limit);
  }
  settings.connect_within = options.server_connect_timeout;
  settings.idle_within = options.server_idle_timeout;
  settings.backoff_max = options.server_login_retry;
  settings.hosts = source.targets.size();
  return settings;
}

AuthQueryThread::Managed* AuthQueryThread::managed_of(const AuthSource& source) {
  for (Managed& managed : managed_) {
    if (managed.source == source) return &managed;
  }
  return nullptr;
}

// Null: there is no place for another one now. A machine counts a login as answered when it has decided so, and what
// it has decided is lost with it: so that is done first.
AuthQueryThread::Managed* AuthQueryThread::manage(const AuthSource& source) {
  AuthRoom room = room_for_another(places());
  if (!room.found || room.displaced) {
    for (Managed& managed : managed_) perform(managed);
    room = room_for_another(places());
  }
  if (!room.found) return nullptr;
  if (room.displaced) drop(*room.displaced);
  return &managed_.emplace_back(source, settings_of(source), random_.next(), stamps_);
}

std::vector<AuthPlace> AuthQueryThread::places() const {
  std::vector<AuthPlace> places;
  for (const Managed& managed : managed_) {
    places.push_back({managed.reached, managed.machine.waiting() > 0, managed.asked_at});
  }
  return places;
}

void AuthQueryThread::drop(size_t place) {
  const auto managed = std::next(managed_.begin(), static_cast<std::ptrdiff_t>(place));
  ASSERT(managed->machine.waiting() == 0);
  managed_.erase(managed);
  changed_ = true;
}

void AuthQueryThread::on_asked(Asked asked) {
  if (!asked.question.wanted()) return;
  session::SecretAnswer answer;
  Result<AuthSource> source = auth_source(*asked.question.config, asked.question.database, asked.question.console);
  if (!source) {
    answer.error = source.error().text;
    on_missing(asked.question, answer.error);
    return asked.done(answer);
  }
  Managed* managed = managed_of(source.value());
  if (!managed && crowd_.empty()) managed = manage(source.value());
  if (managed) return ask(*managed, std::move(asked));
  if (crowd_.size() >= kAuthCrowdMax && crowd_sweep_.due(now_)) {
    std::erase_if(crowd_, [](const Crowded& one) { return !one.asked.question.wanted(); });
  }
  if (crowd_.size() < kAuthCrowdMax) {
    const Micros until = now_ + settings_of(source.value()).wait_within;
    crowd_.push_back({std::move(source.value()), std::move(asked), until});
    return;
  }
  answer.kind = session::SecretAnswer::Kind::kCrowded;
  asked.done(answer);
}

// Names that clients make up are not among them.
void AuthQueryThread::on_missing(const session::SecretQuestion& question, const std::string& why) {
  const config::Config& config = *question.config;
  const std::string& name = config.auth_dbname(question.console ? nullptr : config.find_database(question.database));
  if (name.empty() || config_->find_database(name)) return;  // it was asked before a reload has brought it
  if (!missing_.contains(name) && missing_.size() >= kAuthMissingMax) return;
  session::SecretRow& row = missing_[name];
  row.database = name;
  row.state = "missing";
  row.cache = "none";
  row.failures++;
  row.error = why;
  changed_ = true;
}

void AuthQueryThread::ask(Managed& managed, Asked asked) {
  managed.asked_at = now_;
  managed.no_database = false;
  waiting_.emplace(++tickets_, std::move(asked.done));
  managed.machine.ask(tickets_, asked.question.user, now_, std::move(asked.question.unwanted));
}

// Those who wait for a place for their database get one, or have waited for too long. True: somebody has got one.
bool AuthQueryThread::seat_crowd() {
  bool seated = false;
  for (; !crowd_.empty(); crowd_.pop_front()) {
    Crowded& first = crowd_.front();
    if (!first.asked.question.wanted()) continue;
    Managed* managed = managed_of(first.source);
    if (!managed) managed = manage(first.source);
    if (managed) {
      ask(*managed, std::move(first.asked));
      seated = true;
      continue;
    }
    if (now_ < first.until) break;
    session::SecretAnswer answer;
    answer.kind = session::SecretAnswer::Kind::kCrowded;
    first.asked.done(answer);
  }
  return seated;
}

void AuthQueryThread::on_refuted(const session::SecretQuestion& question, uint64_t stamp) {
  const Result<AuthSource> source = auth_source(*question.config, question.database, question.console);
  Managed* managed = source ? managed_of(source.value()) : nullptr;
  if (managed) managed->machine.refuted(question.user, stamp);
}

void AuthQueryThread::perform(Managed& managed) {
  for (std::vector<AuthStep> steps = managed.machine.take_steps(); !steps.empty();
       steps = managed.machine.take_steps()) {
    changed_ = true;
    for (const AuthStep& step : steps) act(managed, step);
  }
}

void AuthQueryThread::act(Managed& managed, const AuthStep& step) {
  AuthConnection& connection = managed.slots[step.connection].connection;
  switch (step.kind) {
    case AuthStep::Kind::kConnect: return connect(managed, step.connection);
    case AuthStep::Kind::kProbe: connection.probe(); break;
    case AuthStep::Kind::kCheck: connection.check(); break;
    case AuthStep::Kind::kQuery: connection.query(managed.source.query, managed.source.standard, step.user); break;
    case AuthStep::Kind::kClose:
      connection.close();
      managed.slots[step.connection].attempt = 0;
      return;
    case AuthStep::Kind::kAnswer: {
      const auto waiting = waiting_.find(step.ticket);
      ASSERT(waiting != waiting_.end());
      waiting->second(step.answer);
      waiting_.erase(waiting);
      return;
    }
    case AuthStep::Kind::kForget: waiting_.erase(step.ticket); return;
  }
}

// ---- connections

void AuthQueryThread::connect(Managed& managed, size_t index) {
  const uint64_t attempt = managed.slots[index].attempt = ++attempts_;
  managed.slots[index].target = managed.next_target;
  const Target& target = managed.target();
  const int port = static_cast<int>(target.port);
  if (const auto literal = net::Resolver::literal(target.host, port)) return open(managed, index, *literal);
  resolver_.resolve(target.host, port, [inbox = inbox_, attempt](Result<std::vector<net::Address>> found) {
    inbox->leave([&] { inbox->resolved.push_back({attempt, std::move(found)}); });
  });
}

void AuthQueryThread::on_resolved(uint64_t attempt, const Result<std::vector<net::Address>>& found) {
  for (Managed& managed : managed_) {
    for (size_t index = 0; index < kAuthConnectionsMax; ++index) {
      if (managed.slots[index].attempt == attempt) return open(managed, index, found);
    }
  }
}

void AuthQueryThread::open(Managed& managed, size_t index, const Result<std::vector<net::Address>>& found) {
  if (!found) return lost(managed, index, found.error().text, false);
  const size_t turn = managed.slots[index].target, targets = managed.source.targets.size();
  const Target& target = managed.source.targets[turn % targets];
  managed.machine.on_found(found.value().size());
  AuthPlan plan{config_, target.host, found.value(), target.user, target.dbname, {}};
  // One that lets nobody in, or does not answer in time, is the last one to be tried next time.
  if (!plan.addresses.empty()) {
    const size_t first = turn / targets % plan.addresses.size();
    std::rotate(plan.addresses.begin(), plan.addresses.begin() + static_cast<std::ptrdiff_t>(first),
                plan.addresses.end());
  }
  plan.proof = globals_.learned.proof(*config_, target.password, managed.source.database, target.user, now_);
  managed.slots[index].connection.connect(*engine_, globals_.tls.servers, std::move(plan));
}

// A key has been derived.
void AuthQueryThread::on_worked(uint64_t attempt, auth::Work& work) {
  for (Managed& managed : managed_) {
    for (Slot& slot : managed.slots) {
      if (slot.attempt == attempt) return slot.connection.resume(work);
    }
  }
}

// As many rounds as the server says, up to kScramIterationsMax: not here, where all databases would wait for it.
void AuthQueryThread::begin_work(Managed& managed, size_t index, std::unique_ptr<auth::Work> work) {
  const uint64_t attempt = managed.slots[index].attempt;
  const bool taken = helpers_.take(std::move(work), [inbox = inbox_, attempt](std::unique_ptr<auth::Work> ready) {
    inbox->leave([&] { inbox->worked.push_back({attempt, std::move(ready)}); });
  });
  if (!taken) lost(managed, index, "too many logins to servers wait for their keys", false);
}

// Takes what has come for the connections. False: nothing.
bool AuthQueryThread::react_to_all() {
  bool any = false;
  for (Managed& managed : managed_) {
    for (size_t index = 0; index < kAuthConnectionsMax; ++index) {
      AuthConnection& connection = managed.slots[index].connection;
      while (connection.has_news()) {
        any = true;
        react(managed, index, connection.take());
      }
    }
  }
  return any;
}

void AuthQueryThread::react(Managed& managed, size_t index, AuthHappened happened) {
  AuthMachine& machine = managed.machine;
  changed_ = true;
  switch (happened.kind) {
    case AuthHappened::Kind::kNothing: return;
    case AuthHappened::Kind::kConnected: return machine.on_connected(index, now_);
    case AuthHappened::Kind::kProbed:
      if (managed.told_down) LOG_INFO("auth_query: database \"{}\" is reached again", managed.source.database);
      managed.told_down = false;
      managed.reached = true;
      return machine.on_probed(index, happened.generations, happened.usual, now_);
    case AuthHappened::Kind::kChecked:
      return machine.on_checked(index, happened.generation, happened.server_now, now_);
    case AuthHappened::Kind::kRow: return machine.on_row(index, std::move(happened.row), now_);
    case AuthHappened::Kind::kRefused: return machine.on_refused(index, happened.error, now_);
    case AuthHappened::Kind::kWork: return begin_work(managed, index, std::move(happened.work));
    case AuthHappened::Kind::kLost:
      return lost(managed, index, happened.error, happened.sqlstate == kNoDatabase && managed.source.made_up);
  }
}

void AuthQueryThread::lost(Managed& managed, size_t index, const std::string& why, bool no_database) {
  managed.no_database = no_database;
  if (no_database) managed.reached = false;
  if (managed.machine.on_lost(index, why, no_database, now_)) leave_host(managed, why, no_database);
}

// The next connection goes to another address, or to the next host.
void AuthQueryThread::leave_host(Managed& managed, const std::string& why, bool no_database) {
  tell_lost(managed, why, no_database);
  managed.next_target++;
}

// Said once, not at each attempt; and strangers who make names up do not fill the log.
void AuthQueryThread::tell_lost(Managed& managed, const std::string& why, bool no_database) {
  if (managed.told_down || no_database) return;
  managed.told_down = true;
  if (!lines_.take(now_)) return;
  if (const uint64_t more = lines_.take_left_out()) LOG_WARNING("auth_query: {} more like the following one", more);
  LOG_WARNING("auth_query: database \"{}\" as user \"{}\": {}", managed.source.database,
              managed.source.targets.front().user, why);
}

// ---- the loop

void AuthQueryThread::publish() {
  std::vector<session::SecretRow> rows;
  for (const Managed& managed : managed_) {
    const AuthMachine& machine = managed.machine;
    session::SecretRow& row = rows.emplace_back();
    row.database = managed.source.database;
    row.host = managed.target().host;
    row.port = managed.target().port;
    row.server_database = managed.target().dbname;
    row.user = managed.target().user;
    row.state = machine.state_name(now_);
    row.cache = machine.cache_name();
    row.connections = machine.connections();
    row.waiting = machine.waiting();
    row.cached = machine.cached();
    row.queries = machine.queries();
    row.checks = machine.checks();
    row.hits = machine.hits();
    row.unknown = machine.unknown();
    row.failures = machine.failures();
    row.refused = machine.refused();
    row.error = machine.error();
    row.query = managed.source.standard ? "default" : managed.source.query;
  }
  for (const auto& [name, row] : missing_) rows.push_back(row);
  globals_.secrets.publish(std::move(rows));
  publish_at_ = now_ + kAuthPublishEvery;
  changed_ = false;
}

// Sleeps until something is to be read, written or decided, and takes what has come.
void AuthQueryThread::wait() {
  Micros until = changed_ ? publish_at_ : kNever;
  if (!crowd_.empty()) until = std::min(until, crowd_.front().until);
  for (const Managed& managed : managed_) until = std::min(until, managed.machine.wake_at());
  if (react_to_all()) until = 0;  // what follows of it is to be done
  engine_->run_once(until);
  now_ = engine_->now();
  react_to_all();
}

}  // namespace berth::link
