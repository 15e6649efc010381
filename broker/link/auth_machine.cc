#include "link/auth_machine.h"

#include <algorithm>

#include "base/assert.h"
#include "base/fault.h"

namespace berth::link {

namespace {

using Kind = AuthStep::Kind;
using Answer = session::SecretAnswer;

Micros later(Micros now, Micros within) {
  return within > 0 ? now + within : kNever;
}

}  // namespace

// ---- questions

void AuthMachine::ask(uint64_t ticket, std::string_view user, Micros now, Unwanted unwanted) {
  Waiter waiter{ticket, std::string(user), later(now, settings_.wait_within), std::move(unwanted)};
  if (waiting_ >= kAuthQueueMax) make_room(now);
  if (waiting_ >= kAuthQueueMax) {
    refused_++;
    Answer busy;
    busy.kind = Answer::Kind::kBusy;
    steps_.push_back({.kind = Kind::kAnswer, .ticket = ticket, .answer = busy});
    return;
  }
  waiting_++;
  const auto known = cache_.find(waiter.user);
  const bool check = known != cache_.end() && can_check(*known->second);
  if (!check && known != cache_.end() && now < known->second->fresh_until) {
    return answer(waiter, from(known->second));
  }
  expires_at_ = std::min(expires_at_, waiter.until);
  if (check) {
    want_check(std::move(waiter), known->second->over);
  } else {
    want_query(std::move(waiter), false);
  }
  pump(now);
}

void AuthMachine::refuted(std::string_view user, uint64_t stamp) {
  const auto known = cache_.find(user);
  if (known != cache_.end() && known->second->stamp == stamp) forget(user);
}

// Joins what has not been sent.
void AuthMachine::want_query(Waiter waiter, bool first) {
  expires_at_ = std::min(expires_at_, waiter.until);  // while it was with a connection, expire() has not seen it
  for (Connection& connection : connections_) {
    const bool under_way = connection.state == State::kQuerying && connection.job.user == waiter.user;
    if (under_way && FAULT(auth_answer_too_old)) return connection.job.waiters.push_back(std::move(waiter));
  }
  const auto wanted = queries_wanted_.find(waiter.user);
  if (wanted != queries_wanted_.end()) {
    wanted->second->waiters.push_back(std::move(waiter));
    return;
  }
  Job job{.user = waiter.user};
  job.waiters.push_back(std::move(waiter));
  const std::string user = job.user;
  queries_wanted_[user] = jobs_.insert(first ? jobs_.begin() : jobs_.end(), std::move(job));
}

void AuthMachine::want_check(Waiter waiter, size_t over) {
  std::optional<Jobs::iterator>& wanted = checks_wanted_[over];
  if (!wanted) wanted = jobs_.insert(jobs_.end(), Job{.check = true, .over = over});
  (*wanted)->waiters.push_back(std::move(waiter));
}

// Of a check that proves nothing: in front, in the order in which they came.
void AuthMachine::want_queries(const Job& check) {
  for (auto waiter = check.waiters.rbegin(); waiter != check.waiters.rend(); ++waiter) want_query(*waiter, true);
}

// Nobody but this connection could have done it.
void AuthMachine::give_up_check(size_t index) {
  if (!checks_wanted_[index]) return;
  const Jobs::iterator job = *checks_wanted_[index];
  const Job check = std::move(*job);
  drop_job(job);
  want_queries(check);
}

// Of a connection that was lost: in front, since its logins have waited longest.
void AuthMachine::put_back(Job job) {
  job.again = true;
  for (const Waiter& waiter : job.waiters) expires_at_ = std::min(expires_at_, waiter.until);  // as in want_query
  const auto wanted = queries_wanted_.find(job.user);
  if (wanted == queries_wanted_.end()) {
    const std::string user = job.user;
    queries_wanted_[user] = jobs_.insert(jobs_.begin(), std::move(job));
    return;
  }
  auto& waiters = wanted->second->waiters;
  waiters.insert(waiters.begin(), job.waiters.begin(), job.waiters.end());
  wanted->second->again = true;
  jobs_.splice(jobs_.begin(), jobs_, wanted->second);
}

AuthMachine::Jobs::iterator AuthMachine::drop_job(Jobs::iterator job) {
  if (job->check) {
    checks_wanted_[job->over].reset();
  } else {
    queries_wanted_.erase(job->user);
  }
  return jobs_.erase(job);
}

// ---- those who have gone

void AuthMachine::forget_gone(Job& job) {
  std::erase_if(job.waiters, [this](const Waiter& waiter) {
    if (!waiter.gone()) return false;
    waiting_--;
    steps_.push_back({.kind = Kind::kForget, .ticket = waiter.ticket});
    return true;
  });
}

// Who has gone is forgotten as far as to the first who has not, so that each is walked over once: this happens with
// every question, also when many wait. The rest of them is looked for when the job is sent.
bool AuthMachine::is_wanted(Job& job) {
  while (!job.waiters.empty() && job.waiters.front().gone()) {
    waiting_--;
    steps_.push_back({.kind = Kind::kForget, .ticket = job.waiters.front().ticket});
    job.waiters.pop_front();
  }
  return !job.waiters.empty();
}

// The next job is one that somebody wants, or there is none.
void AuthMachine::skip_unwanted() {
  while (!jobs_.empty() && !is_wanted(jobs_.front())) drop_job(jobs_.begin());
}

// The first that this connection may do and somebody wants. Those of others are one for each of them at most.
AuthMachine::Jobs::iterator AuthMachine::job_for(size_t index) {
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    if (job->check && job->over != index) {
      ++job;
    } else if (is_wanted(*job)) {
      return job;
    } else {
      job = drop_job(job);
    }
  }
  return jobs_.end();
}

// Those who have not logged in are fewer than the queue takes (max_unauthenticated_connections), so when it is full
// most of them have gone; where a DBA has allowed more, it is not looked through for each of them.
void AuthMachine::make_room(Micros now) {
  if (!sweep_.due(now)) return;
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    forget_gone(*job);
    job = job->waiters.empty() ? drop_job(job) : std::next(job);
  }
}

// ---- answers

void AuthMachine::answer(const Waiter& waiter, const Answer& answer) {
  ASSERT(waiting_ > 0);
  waiting_--;
  steps_.push_back({.kind = Kind::kAnswer, .ticket = waiter.ticket, .answer = answer});
  steps_.back().answer.profile = profile();
}

void AuthMachine::answer_all(const Job& job, const Answer& with) {
  for (const Waiter& waiter : job.waiters) answer(waiter, with);
}

void AuthMachine::fail_all(const Answer& with) {
  for (auto job = jobs_.begin(); job != jobs_.end(); job = drop_job(job)) answer_all(*job, with);
}

Answer AuthMachine::failed(std::string_view why) {
  failures_++;
  error_ = why;
  Answer answer;
  answer.error = error_;
  return answer;
}

Answer AuthMachine::from(Entries::iterator entry) {
  hits_++;
  entries_.splice(entries_.begin(), entries_, entry);
  Answer found;
  found.kind = Answer::Kind::kFound;
  found.secret = entry->secret;
  found.stamp = entry->stamp;
  found.cached = true;
  return found;
}

// ---- what is remembered

// Nothing has been heard of a change since before the secret was read, by the connection that has read it: another
// one may lead to another server, whose changes are others.
bool AuthMachine::can_check(const Entry& entry) const {
  const Connection& connection = connections_[entry.over];
  return usable(connection) && connection.generations && !connection.outdated && connection.number == entry.number &&
         connection.generation == entry.generation;
}

bool AuthMachine::holds(const Entry& entry, size_t index, Micros server_now) const {
  if (entry.valid_until && *entry.valid_until < server_now && !FAULT(auth_cache_outlives)) return false;
  return entry.over == index && can_check(entry);
}

void AuthMachine::forget(std::string_view user) {
  const auto known = cache_.find(user);
  if (known == cache_.end()) return;
  const Entries::iterator entry = known->second;
  cache_.erase(known);  // its name is the entry's
  entries_.erase(entry);
}

void AuthMachine::remember(size_t index, const AuthRow& row) {
  const Connection& connection = connections_[index];
  const std::string& user = connection.job.user;
  const auto known = cache_.find(user);
  if (known != cache_.end() && known->second->stamp > connection.stamp) return;  // the other connection was faster
  forget(user);
  if (!row.found || row.secret.empty() || connection.outdated) return;
  const bool checkable = settings_.standard && connection.generations;
  if (!checkable && settings_.cache_ttl <= 0) return;
  // What can be checked never holds by its age: another user's check may have told of a change since.
  Micros fresh = connection.sent_at + (checkable ? 0 : settings_.cache_ttl);
  // The server read its clock after we sent: what is left was at least this much then.
  if (row.valid_until)
    fresh = std::min(fresh, connection.sent_at + std::max<Micros>(0, *row.valid_until - row.server_now));
  if (entries_.size() >= kAuthCacheMax) forget(entries_.back().user);
  entries_.push_front({user, row.secret, connection.stamp, index, connection.number, checkable, connection.generation,
                       row.valid_until, fresh});
  cache_[entries_.front().user] = entries_.begin();
}

void AuthMachine::count_kind(const auth::Secret& secret) {
  if (secret.empty()) return;
  const std::pair kind(secret.kind, secret.scram.iterations);
  if (kinds_.contains(kind) || kinds_.size() < kAuthKindsMax) kinds_[kind]++;
}

// Of most secrets that were found; before any, of those that PostgreSQL makes.
auth::MockProfile AuthMachine::profile() const {
  const auto most = std::max_element(kinds_.begin(), kinds_.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == kinds_.end() ? usual_ : auth::MockProfile{most->first.first, most->first.second};
}

// ---- connections

void AuthMachine::rest(size_t index, Micros now) {
  Connection& connection = connections_[index];
  connection.state = State::kIdle;
  connection.job = {};
  connection.until = later(now, settings_.idle_within);
  connection.rested_at = now;
  if (!connection.made) {  // an answer over one says nothing about another one that cannot be made
    connection.made = true;
    tried_ = 0;
    backoff_ = kAuthBackoffFirst;
    retry_at_ = 0;
  }
  if (connection.outdated) close(index);
}

void AuthMachine::close(size_t index) {
  ASSERT(connections_[index].job.waiters.empty());
  give_up_check(index);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const std::string* lost = entry->checkable && entry->over == index ? &entry->user : nullptr;
    ++entry;
    if (lost) forget(std::string(*lost));
  }
  connections_[index] = {};
  steps_.push_back({.kind = Kind::kClose, .connection = index});
}

// One that rested has died: so may have the others, and nothing is lost but what they could prove.
void AuthMachine::close_rested(Micros now) {
  for (size_t index = 0; index < connections_.size(); ++index) {
    const Connection& connection = connections_[index];
    if (connection.state == State::kIdle && now - connection.rested_at >= kAuthRestsAfter) close(index);
  }
}

// Hands what waits to connections that are idle, the longest wait first, and opens one if that helps.
void AuthMachine::pump(Micros now) {
  for (size_t index = 0; index < connections_.size() && !jobs_.empty(); ++index) {
    while (connections_[index].state == State::kIdle) {
      const Jobs::iterator job = job_for(index);
      if (job == jobs_.end()) break;
      start(index, job, now);
    }
  }
  skip_unwanted();
  if (!jobs_.empty()) open_another(now);
}

void AuthMachine::start(size_t index, Jobs::iterator job, Micros now) {
  Connection& connection = connections_[index];
  forget_gone(*job);
  connection.job = std::move(*job);
  job->user = connection.job.user;
  drop_job(job);
  connection.rested = now - connection.rested_at >= kAuthRestsAfter;
  connection.until = now + (connection.rested && !slow_ ? kAuthRestedWithin : kAuthAnswerWithin);
  if (connection.job.check) {
    checks_++;
    connection.state = State::kChecking;
    steps_.push_back({.kind = Kind::kCheck, .connection = index});
    return;
  }
  queries_++;
  connection.state = State::kQuerying;
  connection.stamp = ++stamp_;
  connection.sent_at = now;
  steps_.push_back({.kind = Kind::kQuery, .connection = index, .user = connection.job.user});
}

// One is opened for whoever waits; another one when several things wait and one connection is not enough.
void AuthMachine::open_another(Micros now) {
  size_t open = 0;
  Connection* closed = nullptr;
  for (Connection& connection : connections_) {
    if (connection.state == State::kConnecting || connection.state == State::kProbing) return;
    if (connection.state != State::kClosed) {
      open++;
    } else if (!closed) {
      closed = &connection;
    }
  }
  if (!closed || now < retry_at_ || (open > 0 && jobs_.size() < 2)) return;
  closed->state = State::kConnecting;
  closed->until = later(now, settings_.connect_within);
  steps_.push_back({.kind = Kind::kConnect, .connection = static_cast<size_t>(closed - connections_.data())});
}

// ---- what came of it

void AuthMachine::on_connected(size_t index, Micros now) {
  Connection& connection = connections_[index];
  ASSERT(connection.state == State::kConnecting);
  connection.state = State::kProbing;
  connection.until = now + kAuthAnswerWithin;
  steps_.push_back({.kind = Kind::kProbe, .connection = index});
}

void AuthMachine::on_probed(size_t index, bool generations, auth::MockProfile usual, Micros now) {
  Connection& connection = connections_[index];
  ASSERT(connection.state == State::kProbing);
  usual_ = usual;
  if (generations && settings_.standard) {  // the first check says where the number stands
    connection.state = State::kChecking;
    connection.until = now + kAuthAnswerWithin;
    steps_.push_back({.kind = Kind::kCheck, .connection = index});
    return;
  }
  rest(index, now);
  pump(now);
}

void AuthMachine::on_checked(size_t index, int64_t generation, Micros server_now, Micros now) {
  Connection& connection = connections_[index];
  ASSERT(connection.state == State::kChecking);
  if (!connection.generations) {
    connection.generations = true;
    connection.number = ++stamp_;
    connection.generation = generation;
  } else if (!FAULT(auth_cache_stale)) {
    connection.generation = generation;
  }
  const Job job = std::move(connection.job);
  connection.job = {};
  for (auto waiter = job.waiters.rbegin(); waiter != job.waiters.rend(); ++waiter) {
    const auto known = cache_.find(waiter->user);
    if (known != cache_.end() && holds(*known->second, index, server_now)) {
      answer(*waiter, from(known->second));
    } else {
      want_query(*waiter, true);
    }
  }
  rest(index, now);
  pump(now);
}

void AuthMachine::on_row(size_t index, AuthRow row, Micros now) {
  Connection& connection = connections_[index];
  ASSERT(connection.state == State::kQuerying);
  Answer result;
  result.kind = row.found ? Answer::Kind::kFound : Answer::Kind::kUnknown;
  if (row.found) {
    count_kind(row.secret);
    result.secret = row.secret;
    result.stamp = connection.stamp;
  } else {
    unknown_++;
  }
  slow_ = slow_ || now - connection.sent_at > kAuthRestedWithin;
  answer_all(connection.job, result);
  connection.job.waiters.clear();
  remember(index, row);
  rest(index, now);
  pump(now);
}

void AuthMachine::on_refused(size_t index, std::string_view why, Micros now) {
  Connection& connection = connections_[index];
  ASSERT(connection.state == State::kQuerying || connection.state == State::kChecking);
  const Job job = std::move(connection.job);
  connection.job = {};
  if (connection.state == State::kChecking) {  // the extension is gone, or the right to ask it
    connection.generations = false;
    error_ = why;
    give_up_check(index);
    want_queries(job);
  } else {
    forget(job.user);
    answer_all(job, failed(why));
  }
  rest(index, now);
  pump(now);
}

bool AuthMachine::on_lost(size_t index, std::string_view why, bool no_database, Micros now) {
  Connection& connection = connections_[index];
  if (connection.state == State::kClosed) return false;
  const State was = connection.state;
  const bool rested = connection.rested;
  bool outage = false;
  Job job = std::move(connection.job);
  connection.job = {};
  close(index);
  if (was == State::kConnecting || was == State::kProbing || (was == State::kChecking && job.waiters.empty())) {
    attempt_failed(why, no_database, now);
    outage = true;
  } else if (was == State::kChecking) {
    want_queries(job);
  } else if (was == State::kQuerying && job.again) {  // twice: it may be the query that ends the backend
    answer_all(job, failed(why));
    outage = true;
  } else if (was == State::kQuerying) {
    put_back(std::move(job));
  }
  if (rested) close_rested(now);
  pump(now);
  if (tried_ > 0 && !is_connecting()) end_round(now);  // who wanted it has gone, or has been served
  return outage;
}

// Who waits is told when all hosts and addresses have been tried.
void AuthMachine::attempt_failed(std::string_view why, bool no_database, Micros now) {
  const Answer answer = failed(why);
  if (++tried_ < std::min(settings_.hosts * addresses_, kAuthRoundMax) && !no_database) return;
  end_round(now);
  if (connections() > 0) return;
  Answer none;
  none.kind = Answer::Kind::kUnknown;
  fail_all(no_database ? none : answer);
}

// The next one begins after a pause.
void AuthMachine::end_round(Micros now) {
  tried_ = 0;
  retry_at_ = now + backoff_ + static_cast<Micros>(random_.below(static_cast<uint64_t>(backoff_ / 4)));
  backoff_ = std::min(2 * backoff_, std::max(kAuthBackoffFirst, settings_.backoff_max));
}

bool AuthMachine::is_connecting() const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [](const Connection& connection) { return connection.state == State::kConnecting; });
}

// ---- time

bool AuthMachine::on_time(Micros now) {
  bool silent = false;
  for (size_t index = 0; index < connections_.size(); ++index) {
    Connection& connection = connections_[index];
    if (connection.state == State::kClosed || now < connection.until) continue;
    if (connection.state == State::kIdle) {
      close(index);
      continue;
    }
    // Who has waited for so long is told; but one that rested is made again.
    connection.job.again = connection.job.again || !connection.rested;
    const bool connecting = connection.state == State::kConnecting;
    silent = on_lost(index, connecting ? "connect timed out" : "no answer in time", false, now) || silent;
  }
  if (now >= expires_at_) expire(now);
  pump(now);
  return silent;
}

void AuthMachine::expire(Micros now) {
  expires_at_ = kNever;
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    std::erase_if(job->waiters, [&](const Waiter& waiter) {
      if (waiter.until > now) {
        expires_at_ = std::min(expires_at_, waiter.until);
        return false;
      }
      answer(waiter, failed(error_.empty() ? "no connection in time" : std::string(error_)));
      return true;
    });
    job = job->waiters.empty() ? drop_job(job) : std::next(job);
  }
}

Micros AuthMachine::wake_at() const {
  Micros wake = jobs_.empty() ? kNever : std::min(expires_at_, connections() > 0 ? kNever : retry_at_);
  for (const Connection& connection : connections_) {
    if (connection.state != State::kClosed) wake = std::min(wake, connection.until);
  }
  return wake;
}

void AuthMachine::reset(const AuthSettings& settings, Micros now) {
  settings_ = settings;
  cache_.clear();
  entries_.clear();
  kinds_.clear();
  slow_ = false;
  tried_ = 0;
  addresses_ = 1;
  retry_at_ = 0;
  backoff_ = kAuthBackoffFirst;
  for (size_t index = 0; index < connections_.size(); ++index) {
    Connection& connection = connections_[index];
    connection.outdated = connection.state != State::kClosed;
    if (connection.outdated && connection.job.waiters.empty()) close(index);  // not at work, or not ready for it
  }
  pump(now);
}

std::vector<AuthStep> AuthMachine::take_steps() {
  return std::exchange(steps_, {});
}

bool AuthMachine::idle(Micros now) const {
  return connections() == 0 && waiting_ == 0 &&
         std::none_of(entries_.begin(), entries_.end(),
                      [now](const Entry& entry) { return now < entry.fresh_until; });
}

// ---- for SHOW

size_t AuthMachine::connections() const {
  return static_cast<size_t>(
      std::count_if(connections_.begin(), connections_.end(),
                    [](const Connection& connection) { return connection.state != State::kClosed; }));
}

std::string_view AuthMachine::state_name(Micros now) const {
  if (std::any_of(connections_.begin(), connections_.end(), [this](const auto& c) { return usable(c); })) return "up";
  if (connections() > 0) return "connecting";
  return now < retry_at_ ? "waiting" : "closed";
}

std::string_view AuthMachine::cache_name() const {
  const bool checks = std::any_of(connections_.begin(), connections_.end(),
                                  [](const Connection& connection) { return connection.generations; });
  return checks ? "extension" : settings_.cache_ttl > 0 ? "time" : "none";
}

}  // namespace berth::link
