#include "link/auth_query_thread.h"

#include <algorithm>

#include "base/log.h"
#include "base/secret_memory.h"
#include "link/doorbell.h"

namespace berth::link {

namespace {

constexpr Micros kWaitDefault = 60 * kSecond;  // where neither client_login_timeout nor query_wait_timeout bounds it

struct Resolved {
  uint64_t attempt;
  Result<std::vector<net::Address>> found;
};

struct Refuted {
  session::SecretQuestion question;
  uint64_t stamp;
};

}  // namespace

struct AuthQueryThread::Inbox {
  Doorbell bell;
  std::mutex mutex;  // guards the rest
  std::shared_ptr<const config::Config> config;
  std::vector<Asked> asked;
  std::vector<Refuted> refuted;
  std::vector<Resolved> resolved;
  bool stop = false;
};

AuthQueryThread::AuthQueryThread(session::Globals& globals, net::Resolver& resolver, uint64_t seed)
    : globals_(globals), resolver_(resolver), random_(seed), inbox_(std::make_shared<Inbox>()) {}

AuthQueryThread::~AuthQueryThread() {
  stop();
}

void AuthQueryThread::start(std::shared_ptr<const config::Config> config) {
  config_ = std::move(config);
  thread_ = std::thread([this] { run(); });
}

void AuthQueryThread::reconfigure(std::shared_ptr<const config::Config> config) {
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    inbox_->config = std::move(config);
  }
  inbox_->bell.ring();
}

void AuthQueryThread::stop() {
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    inbox_->stop = true;
  }
  inbox_->bell.ring();
  if (thread_.joinable()) thread_.join();
}

void AuthQueryThread::find(session::SecretQuestion question, Done done) {
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    inbox_->asked.push_back({std::move(question), std::move(done)});
  }
  inbox_->bell.ring();
}

void AuthQueryThread::refuted(const session::SecretQuestion& question, uint64_t stamp) {
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    inbox_->refuted.push_back({question, stamp});
  }
  inbox_->bell.ring();
}

// ---- the thread

void AuthQueryThread::run() {
  keep_thread_out_of_dumps();  // libpq keeps passwords and answers in ordinary memory
  now_ = monotonic_now();
  while (take_inbox()) {
    do {
      for (Managed& managed : managed_) {
        if (now_ >= managed.machine.wake_at()) managed.machine.on_time(now_);
        perform(managed);
      }
      managed_.remove_if([this](const Managed& managed) {
        return managed.machine.idle() && (managed.no_database || now_ - managed.asked_at > kAuthKept);
      });
      while (const std::optional<size_t> place = one_too_many(places())) drop(*place);
    } while (seat_crowd());
    if (changed_ && now_ >= publish_at_) publish();
    wait();
  }
}

// False: the end.
bool AuthQueryThread::take_inbox() {
  std::vector<Asked> asked;
  std::vector<Refuted> refuted;
  std::vector<Resolved> resolved;
  std::shared_ptr<const config::Config> config;
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    if (inbox_->stop) return false;
    asked.swap(inbox_->asked);
    refuted.swap(inbox_->refuted);
    resolved.swap(inbox_->resolved);
    config.swap(inbox_->config);
  }
  if (config) take_config(std::move(config));
  for (const Resolved& answer : resolved) on_resolved(answer.attempt, answer.found);
  for (const Refuted& one : refuted) on_refuted(one.question, one.stamp);
  for (Asked& one : asked) on_asked(std::move(one));
  changed_ = changed_ || !asked.empty();
  return true;
}

// Nothing is remembered over a reload, and what is open is made anew: settings of TLS or a password may be others.
void AuthQueryThread::take_config(std::shared_ptr<const config::Config> config) {
  config_ = std::move(config);
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
  session::SecretAnswer answer;
  Result<AuthSource> source = auth_source(*asked.question.config, asked.question.database, asked.question.console);
  if (!source) {
    answer.error = source.error().text;
    return asked.done(answer);
  }
  Managed* managed = managed_of(source.value());
  if (!managed && crowd_.empty()) managed = manage(source.value());
  if (managed) return ask(*managed, std::move(asked));
  if (crowd_.size() < kAuthCrowdMax) {
    const Micros until = now_ + settings_of(source.value()).wait_within;
    crowd_.push_back({std::move(source.value()), std::move(asked), until});
    return;
  }
  answer.kind = session::SecretAnswer::Kind::kCrowded;
  asked.done(answer);
}

void AuthQueryThread::ask(Managed& managed, Asked asked) {
  managed.asked_at = now_;
  managed.no_database = false;
  waiting_.emplace(++tickets_, std::move(asked.done));
  managed.machine.ask(tickets_, asked.question.user, now_);
}

// Those who wait for a place for their database get one, or have waited for too long. True: somebody has got one.
bool AuthQueryThread::seat_crowd() {
  bool seated = false;
  for (; !crowd_.empty(); crowd_.pop_front()) {
    Crowded& first = crowd_.front();
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
  }
  serve(managed, step.connection);  // sends, or finds out that it cannot
}

// ---- connections

void AuthQueryThread::connect(Managed& managed, size_t index) {
  const uint64_t attempt = managed.slots[index].attempt = ++attempts_;
  const Target& target = managed.target();
  if (net::Resolver::literal(target.host, 1)) return open(managed, index, {});
  resolver_.resolve(target.host, static_cast<int>(target.port),
                    [inbox = inbox_, attempt](Result<std::vector<net::Address>> found) {
                      {
                        const std::lock_guard<std::mutex> guard(inbox->mutex);
                        inbox->resolved.push_back({attempt, std::move(found)});
                      }
                      inbox->bell.ring();
                    });
}

void AuthQueryThread::on_resolved(uint64_t attempt, const Result<std::vector<net::Address>>& found) {
  for (Managed& managed : managed_) {
    for (size_t index = 0; index < kAuthConnectionsMax; ++index) {
      if (managed.slots[index].attempt != attempt) continue;
      if (found && !found.value().empty()) return open(managed, index, found.value());
      return lost(managed, index, found ? "host has no address" : found.error().text, false);
    }
  }
}

// What a login by a clear password has taught serves, too, where auth_file has none.
void AuthQueryThread::open(Managed& managed, size_t index, const std::vector<net::Address>& addresses) {
  Target target = managed.target();
  if (target.password.empty()) {
    globals_.learned.use({target.user}, now_,
                         [&](const session::Learned& learned) { target.password = learned.password; });
  }
  AuthConnection& connection = managed.slots[index].connection;
  connection.connect(target, *config_, addresses);
  if (connection.broken()) serve(managed, index);  // there is nothing to poll
}

// Takes what has come for a connection.
void AuthQueryThread::serve(Managed& managed, size_t index) {
  AuthHappened happened = managed.slots[index].connection.on_ready();
  if (happened.kind != AuthHappened::Kind::kNothing) react(managed, index, std::move(happened));
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
    case AuthHappened::Kind::kLost: return lost(managed, index, happened.error, happened.no_database);
  }
}

void AuthQueryThread::lost(Managed& managed, size_t index, const std::string& why, bool no_database) {
  tell_lost(managed, why, no_database);
  managed.next_target++;
  managed.no_database = no_database;
  if (no_database) managed.reached = false;
  managed.machine.on_lost(index, why, no_database, now_);
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
  }
  globals_.secrets.publish(std::move(rows));
  publish_at_ = now_ + kAuthPublishEvery;
  changed_ = false;
}

// Sleeps until something is to be read, written or decided, and takes what has come.
void AuthQueryThread::wait() {
  std::vector<pollfd> polled = {inbox_->bell.polled()};
  Micros until = changed_ ? publish_at_ : kNever;
  if (!crowd_.empty()) until = std::min(until, crowd_.front().until);
  for (Managed& managed : managed_) {
    for (Slot& slot : managed.slots) {
      const bool open = slot.connection.open();
      polled.push_back({open ? slot.connection.descriptor() : -1, open ? slot.connection.events() : short{0}, 0});
    }
    until = std::min(until, managed.machine.wake_at());
  }
  (void)poll(polled.data(), polled.size(), poll_timeout(until, monotonic_now()));
  now_ = monotonic_now();
  if (polled[0].revents) inbox_->bell.quiet();
  size_t at = 1;
  for (Managed& managed : managed_) {
    for (size_t index = 0; index < kAuthConnectionsMax; ++index) {
      if (polled[at++].revents) serve(managed, index);
    }
  }
}

}  // namespace berth::link
