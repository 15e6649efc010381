// PAUSE, RESUME and WAIT_CLOSE: what has to wait for servers. Who waits is looked at on each tick, by a count over
// all workers.
#include <charconv>

#include "admin/console.h"
#include "admin/parser.h"
#include "base/log.h"
#include "session/server.h"

namespace berth::admin {

namespace {

bool concerns(const session::Slice& slice, const std::string& database) {
  return database.empty() || slice.database == database;
}

using S = pool::ServerState;

// Free servers of a paused pool are closed, as PgBouncer does: who pauses means to do something to the database. So
// are those that have not reached it yet.
void close_free(session::Slice& slice) {
  for (const S state : {S::kIdle, S::kChecking, S::kConnecting}) {
    while (pool::ServerNode* node = slice.pool.servers(state).front())
      static_cast<session::Server*>(node)->close(session::ServerEnd::kPaused);
  }
}

int64_t count_busy(const session::Slice& slice) {
  size_t count = 0;
  for (const S state : {S::kLinked, S::kCleaning, S::kLogin, S::kSetup}) {
    count += slice.pool.servers(state).size();
  }
  return static_cast<int64_t>(count);
}

int64_t count_stale(const session::Slice& slice) {
  int64_t count = 0;
  for (int state = 0; state < pool::kServerStates; ++state) {
    const pool::ServerList& list = slice.pool.servers(static_cast<S>(state));
    for (const pool::ServerNode* node = list.front(); node; node = list.next(node)) count += slice.pool.stale(node);
  }
  return count;
}

// How many servers of this worker a waiting command still has to wait for.
int64_t count_on(Context& context, Wait::Kind kind, const std::string& database) {
  int64_t count = 0;
  const bool paused = context.globals.paused.load(std::memory_order_relaxed);
  for (auto& [key, slice] : context.slices) {
    if (!concerns(*slice, database)) continue;
    if (kind == Wait::Kind::kClose) {
      count += count_stale(*slice);
      continue;
    }
    slice->pool.set_paused(paused);
    close_free(*slice);
    count += count_busy(*slice);
  }
  return count;
}

// After a RESUME, on each worker: who waits for a server may have one again.
void resume_on(Context& context, const std::string& database, std::string_view by = "RESUME") {
  const bool paused = context.globals.paused.load(std::memory_order_relaxed);
  for (auto& [key, slice] : context.slices) {
    if (!concerns(*slice, database)) continue;
    slice->pool.set_paused(paused);
    session::run_slice(context, *slice);
  }
  ConsoleImpl::of(context).end_pauses(database, by);
}

std::atomic<bool>& paused_of(session::Globals& globals, const std::string& database) {
  return database.empty() ? globals.paused : globals.registry.database(database)->paused;
}

std::atomic<Micros>& paused_until_of(session::Globals& globals, const std::string& database) {
  return database.empty() ? globals.paused_until : globals.registry.database(database)->paused_until;
}

constexpr int64_t kPauseMostMs = 999'999'999;  // eleven days

// Of PAUSE FOR; 0: this is no time.
Micros duration_of(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool fits = error == std::errc() && end == text.data() + text.size() && value > 0 && value <= kPauseMostMs;
  return fits ? value * kMillisecond : 0;
}

}  // namespace

void ConsoleImpl::pause(Session& session, const Command& command) {
  const bool timed = !command.value.empty() || command.value_parameter > 0;
  const Micros duration = timed ? duration_of(command.value) : 0;
  if (timed && duration == 0) {
    return fail(session, fmt::format("invalid time for PAUSE: '{}'", one_line(command.value.substr(0, kArgumentMax))),
                "22023");
  }
  if (command.argument.empty()) {
    if (context_.globals.paused.exchange(true)) return fail(session, "already suspended/paused");
    LOG_INFO("{} PAUSE command issued", session.client->label());
  } else {
    if (!check_database(session, command, "pause")) return;
    LOG_INFO("{} PAUSE '{}' command issued", session.client->label(), one_line(command.argument));
    context_.globals.registry.database(command.argument)->paused.store(true, std::memory_order_relaxed);
  }
  set_deadline(command.argument, timed ? context_.now() + duration : 0);
  begin_wait(session, Wait::Kind::kPause, command.argument);
}

void ConsoleImpl::set_deadline(const std::string& database, Micros until) {
  paused_until_of(context_.globals, database).store(until, std::memory_order_relaxed);
  std::erase_if(timed_pauses_, [&](const TimedPause& pause) { return pause.database == database; });
  if (until > 0) timed_pauses_.push_back({database, until});
}

void ConsoleImpl::end_timed_pauses() {
  for (size_t i = 0; i < timed_pauses_.size();) {
    if (context_.now() < timed_pauses_[i].until) {
      ++i;
      continue;
    }
    const TimedPause pause = timed_pauses_[i];
    timed_pauses_.erase(timed_pauses_.begin() + static_cast<ptrdiff_t>(i));
    // Somebody has resumed it or paused it anew; a shutdown's pause has no end.
    Micros expected = pause.until;
    if (!paused_until_of(context_.globals, pause.database).compare_exchange_strong(expected, 0)) continue;
    if (pause.database.empty() && context_.globals.shutdown.load() != session::Shutdown::kNo) continue;
    if (!paused_of(context_.globals, pause.database).exchange(false)) continue;
    LOG_INFO("PAUSE {} is over: resuming", one_line(pause.database));
    dispatcher_.visit_all(
        context_.worker,
        [database = pause.database](Context& context) { resume_on(context, database, "its deadline"); },
        [](Context&) {});
  }
}

void ConsoleImpl::resume(Session& session, const Command& command) {
  if (command.argument.empty()) {
    if (!context_.globals.paused.exchange(false)) return fail(session, "pooler is not paused/suspended");
    LOG_INFO("{} RESUME command issued", session.client->label());
  } else {
    if (!check_database(session, command, "resume")) return;
    if (!context_.globals.registry.database(command.argument)->paused.exchange(false)) {
      return fail(session, fmt::format("database {} is not paused", command.argument));
    }
    LOG_INFO("{} RESUME '{}' command issued", session.client->label(), one_line(command.argument));
  }
  paused_until_of(context_.globals, command.argument).store(0, std::memory_order_relaxed);
  visit_all(
      session, [database = command.argument](Context& context) { resume_on(context, database); },
      [this, command](Session& of) { done(of, command); });
}

void ConsoleImpl::wait_close(Session& session, const Command& command) {
  if (!command.argument.empty() && !check_database(session, command, "wait in")) return;
  LOG_INFO("{} WAIT_CLOSE command issued", session.client->label());
  begin_wait(session, Wait::Kind::kClose, command.argument);
}

void ConsoleImpl::begin_wait(Session& session, Wait::Kind kind, const std::string& database) {
  session.wait = Wait{.kind = kind, .database = database, .number = next_wait_++};
  poll(session);
}

// Counts what a session waits for; at none, its command is over.
void ConsoleImpl::poll(Session& session) {
  ASSERT(session.wait && session.busy);
  if (session.wait->polling) return;
  session.wait->polling = true;
  const Wait wait = *session.wait;
  auto count = std::make_shared<int64_t>(0);
  visit_all(
      session, [wait, count](Context& context) { *count += count_on(context, wait.kind, wait.database); },
      [this, wait, count](Session& of) {
        if (!of.wait || of.wait->number != wait.number) return;
        of.wait->polling = false;
        if (*count > 0) return;
        finish(of, {.tag = wait.kind == Wait::Kind::kPause ? "PAUSE" : "WAIT_CLOSE"});
      });
}

void ConsoleImpl::end_pauses(const std::string& database, std::string_view by) {
  std::vector<uint64_t> ended;
  for (const auto& [serial, session] : sessions_) {
    if (session->wait && session->wait->kind == Wait::Kind::kPause && session->wait->database == database)
      ended.push_back(serial);
  }
  for (const uint64_t serial : ended) {
    Session* session = find(serial);
    if (session) fail(*session, fmt::format("PAUSE was ended by {} before it was complete", by), "57014");
  }
}

// Ctrl-C: a PAUSE that waits is taken back, as RESUME does; a WAIT_CLOSE just ends.
void ConsoleImpl::on_cancel(Client* client) {
  Session* session = find(client->serial);
  if (!session || !session->wait) return;
  const Wait wait = *session->wait;
  fail(*session, "canceling statement due to user request", "57014");
  if (wait.kind != Wait::Kind::kPause) return;
  LOG_INFO("{} PAUSE was canceled: resuming", client->label());
  paused_until_of(context_.globals, wait.database).store(0);
  paused_of(context_.globals, wait.database).store(false);
  dispatcher_.visit_all(
      context_.worker, [database = wait.database](Context& context) { resume_on(context, database); },
      [](Context&) {});
}

void ConsoleImpl::close_paused() {
  for (auto& [key, slice] : context_.slices) {
    if (slice->pool.paused()) close_free(*slice);
  }
}

void ConsoleImpl::on_tick() {
  closed_.clear();
  end_timed_pauses();
  close_paused();
  std::vector<uint64_t> waiting;
  for (const auto& [serial, session] : sessions_) {
    if (session->wait) waiting.push_back(serial);
  }
  for (const uint64_t serial : waiting) {
    Session* session = find(serial);
    if (session && session->wait) poll(*session);
  }
  if (context_.worker == 0) keep_history();
}

// ---- signals

void pause_all(worker::Dispatcher&, session::Globals& globals) {
  // The workers see it at their next tick.
  if (globals.paused.exchange(true)) LOG_INFO("already suspended/paused");
  globals.paused_until.store(0);  // a signal's has no end
}

void resume_all(worker::Dispatcher& dispatcher, session::Globals& globals) {
  if (!globals.paused.exchange(false)) {
    LOG_INFO("pooler is not paused/suspended");
    return;
  }
  globals.paused_until.store(0);
  dispatcher.visit_all(
      0, [](Context& context) { resume_on(context, {}); }, [](Context&) {});
}

}  // namespace berth::admin
