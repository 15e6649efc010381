// One simulated world: workers with the production sessions, a PostgreSQL, clients, a network and a clock, all driven
// by one seed. It steps until everybody is served and gone, and checks at every step what must always hold.
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "session/context.h"
#include "sim/fake_postgres.h"
#include "sim/sim_client.h"
#include "sim/sim_engine.h"
#include "sim/sim_fleet.h"

namespace berth::sim {

// A message as people read it.
std::string show(std::string_view bytes);
std::string printable(std::string_view bytes);

// What kinds of world there are; each seed draws one.
struct Scenario {
  int workers = 1, clients = 4, databases = 1, users = 1;
  bool faults = false;     // backends die, connections break, connects fail
  bool waits_end = false;  // query_wait_timeout is short
  bool crowded = false;    // PostgreSQL has fewer places than the broker wants
  bool reloads = false;    // limits change, RECONNECT, PAUSE and RESUME
  bool password = false;   // of the servers
  Habits habits;
  int session_percent = 0;  // of clients
};

// (state, event) pairs and transitions that all worlds of this process have seen.
struct Coverage {
  std::map<std::string, uint64_t> seen;
  void hit(const std::string& what) { ++seen[what]; }
};
Coverage& coverage();

class World final : public Observer {
 public:
  explicit World(uint64_t seed);
  ~World();

  // True: nothing was wrong. `why` says the first thing that was.
  bool run();
  const std::string& why() const { return why_; }
  uint64_t steps() const { return steps_; }
  size_t statements() const;

  // ---- for its inhabitants
  void violation(const std::string& what);
  bool failed() const { return !why_.empty(); }
  Cluster& postgres() { return postgres_; }
  std::string user_of(int client) const { return "u" + std::to_string(client % scenario_.users); }
  std::string database_of(int client) const { return "d" + std::to_string(client % scenario_.databases); }
  std::string password_of(int) const { return "secret"; }
  void send_cancel(uint32_t pid, const std::string& key);
  bool may_lose(std::string_view text) const;
  bool is_refusal(std::string_view text) const;
  void mail(int from, int to, Mail mail);
  int workers() const { return scenario_.workers; }
  session::Context& context(int worker) { return *workers_[static_cast<size_t>(worker)].context; }
  Micros now() const { return network_.now; }
  Random& random() { return random_; }
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }
  bool resolving_fails();
  template <typename... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    if (tracing_) trace_line(fmt::format(format, std::forward<Args>(args)...));
  }

  void before(net::Handler* handler, const char* event, std::string_view bytes) override;
  void after() override;

 private:
  struct Worker {
    std::unique_ptr<SimEngine> engine;
    std::unique_ptr<SimFleet> fleet;
    std::unique_ptr<session::Context> context;
    Micros next_janitor = 0;
  };
  struct Place {  // a connection that came to PostgreSQL
    LinkPtr link;
    std::unique_ptr<Backend> backend;
    Micros answers_at = 0;
  };
  struct Canceller {
    LinkPtr link;
    std::string out;
  };

  void draw_scenario();
  void make_config();
  std::shared_ptr<config::Config> draw_limits();
  LinkPtr dial(const net::Address& address, int& error);
  void admit_clients();
  void turn();
  void turn_worker(size_t index);
  void deliver_mail();
  void step_backends();
  void step_cancellers();
  void cause_trouble();
  bool everybody_gone() const;
  bool settled() const;
  void wind_down();
  void report_stuck(const char* what);
  void trace_line(const std::string& line);

  // checkers.cc
  void check();
  void check_lists(size_t worker);
  void check_limits();
  void check_waiters(size_t worker);
  void check_end();
  void watch_states(size_t worker);

  const uint64_t seed_;
  Random random_;
  Scenario scenario_;
  Network network_;
  Cluster postgres_;
  session::Globals globals_;
  std::shared_ptr<config::Config> config_;
  std::vector<Worker> workers_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::vector<std::unique_ptr<Place>> places_;
  std::vector<Canceller> cancellers_;
  std::map<std::pair<int, int>, std::deque<Mail>> mail_;
  std::map<uint64_t, int> client_states_, server_states_;
  std::string why_;
  uint64_t steps_ = 0;
  bool trouble_ = false;  // faults are still made
  bool ending_ = false;   // close_everything was called
  bool tracing_ = false;
  bool limits_changed_ = false;
  bool paused_ = false;
  Micros quiet_since_ = 0;
  size_t next_client_ = 0;
  size_t statements_before_ = 0;  // left over from a world that has failed
  std::string subject_;
};

}  // namespace berth::sim
