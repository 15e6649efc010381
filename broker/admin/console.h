// The console behind the database name `pgbouncer`: one per worker, for the console clients of that worker. What it
// asks of other workers goes through the Dispatcher. Files: console.cc (messages, simple queries), extended.cc (Parse
// to Execute), control.cc (commands that change something), show*.cc (tables), waits.cc (PAUSE, WAIT_CLOSE).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "admin/console_session.h"
#include "admin/stats_history.h"
#include "session/context.h"
#include "stats/counters.h"
#include "worker/task.h"

namespace berth::admin {

class ConsoleImpl final : public session::Console {
 public:
  // Takes the place of context.console. Lives as long as the worker; only its thread calls it.
  ConsoleImpl(Context& context, worker::Dispatcher& dispatcher);
  ~ConsoleImpl();
  static ConsoleImpl& of(Context& context) { return *static_cast<ConsoleImpl*>(context.console); }

  // ---- session::Console
  void on_login(Client* client) override;
  net::Taken on_bytes(Client* client, std::string_view bytes) override;
  void on_closed(Client* client) override;
  void on_cancel(Client* client) override;

  // Each 100 ms on every worker: paused pools lose their idle servers, waits are looked at, and worker 0 keeps the
  // statistics' history.
  void on_tick();

  // ---- for commands that visit this worker
  // A RESUME: those who wait for a PAUSE of the same are told.
  void end_pauses(const std::string& database, std::string_view by);
  // Worker 0's is kept up to date; the others' are empty.
  const StatsHistory& history() const { return history_; }
  // What the console's own clients did.
  const stats::Counters& counters() const { return counters_; }

 private:
  using Session = ConsoleSession;
  // console.cc
  Session* find(uint64_t serial);
  size_t on_message(Session& session, std::string_view bytes, size_t& need);
  void on_query(Session& session, std::string_view sql);
  void run_script(Session& session);
  void start(Session& session, const Command& command);
  void show(Session& session, ShowKind kind);
  void show_driver(Session& session, const Command& command);
  void finish(Session& session, Reply reply);
  void fail(Session& session, std::string_view text, std::string_view sqlstate = "08P01",
            std::string_view detail = {});
  void done(Session& session, const Command& command);
  void put_error(Session& session, const Reply& reply);
  void answer_simple(Session& session, Reply& reply);
  void flush(Session& session);
  void visit_all(Session& session, std::function<void(Context&)> visit, std::function<void(Session&)> done);
  // extended.cc
  void on_extended(Session& session, char tag, std::string_view body);
  void on_parse(Session& session, std::string_view body);
  void on_bind(Session& session, std::string_view body);
  void on_describe(Session& session, std::string_view body);
  void on_execute(Session& session, std::string_view body);
  void on_close(Session& session, std::string_view body);
  void on_sync(Session& session);
  void answer_execute(Session& session, Reply& reply);
  void put_rows(Session& session, Portal& portal);
  void extended_error(Session& session, std::string_view text, std::string_view sqlstate);
  // control.cc
  void control(Session& session, const Command& command);
  bool check_database(Session& session, const Command& command, std::string_view what);
  void reload(Session& session, const Command& command);
  void set(Session& session, const Command& command);
  void disable(Session& session, const Command& command, bool disabled);
  void reconnect(Session& session, const Command& command);
  void kill(Session& session, const Command& command);
  void kill_client(Session& session, const Command& command);
  void shut_down(Session& session, const Command& command);
  // waits.cc
  void pause(Session& session, const Command& command);
  void resume(Session& session, const Command& command);
  void wait_close(Session& session, const Command& command);
  void begin_wait(Session& session, Wait::Kind kind, const std::string& database);
  void poll(Session& session);
  void close_paused();
  void set_deadline(const std::string& database, Micros until);
  void end_timed_pauses();
  // stats_history.cc
  void keep_history();

  Context& context_;
  worker::Dispatcher& dispatcher_;
  std::unordered_map<uint64_t, std::unique_ptr<Session>> sessions_;  // by Client::serial
  std::vector<std::unique_ptr<Session>> closed_;  // freed at the next tick: a caller may still look at one
  uint64_t next_wait_ = 1;
  std::vector<TimedPause> timed_pauses_;  // at most one for each database
  StatsHistory history_;
  Micros next_snapshot_ = 0;
  bool snapshot_under_way_ = false;
  stats::Counters counters_;
};

// What SIGUSR1 and SIGUSR2 do; on the main thread or any worker's.
void pause_all(worker::Dispatcher& dispatcher, session::Globals& globals);
void resume_all(worker::Dispatcher& dispatcher, session::Globals& globals);

}  // namespace berth::admin
