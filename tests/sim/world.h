// One simulated world: workers with the production sessions, a PostgreSQL, clients, a network and a clock, all driven
// by one seed. It steps until everybody is served and gone, and checks at every step what must always hold.
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "admin/console.h"
#include "config/config.h"
#include "session/context.h"
#include "sim/coverage.h"
#include "sim/fake_postgres.h"
#include "sim/sim_client.h"
#include "sim/sim_engine.h"
#include "sim/sim_fleet.h"
#include "sim/sim_operator.h"
#include "sim/sim_stranger.h"
#include "sim/sim_tls.h"

namespace berth::sim {

// A message as people read it.
std::string show(std::string_view bytes);
std::string printable(std::string_view bytes);

// What kinds of world there are; each seed draws one.
struct Scenario {
  int workers = 1, clients = 4, databases = 1, users = 1;
  bool faults = false;             // backends die, hang or babble, connections break, connects fail
  bool waits_end = false;          // query_wait_timeout is short
  bool crowded = false;            // PostgreSQL has fewer places than the broker wants
  bool password = false;           // of the servers
  int postgres_idle_percent = 30;  // of steps in which a backend does nothing
  bool asks = false;               // clients are asked for a password
  bool hba = false;                // by rules
  bool md5 = false;                // some secrets are md5, so that nobody is asked for SCRAM
  bool impatient = false;          // query_timeout, client_idle_timeout and their like are short
  bool narrow = false;             // max_client_conn and its like are small
  bool statements = false;         // pool_mode is statement
  bool queried = false;            // users are not in auth_file: auth_query knows them
  bool guarded = false;            // few may be there before their login, and failed logins wait: session/door.h
  bool absent = false;             // now and then a database leads to one that PostgreSQL does not have
  bool tls = false;                // clients and servers may or must speak TLS: sim_tls.h
  int operators = 0, strangers = 0;
  Powers powers;
  Habits habits;
  int session_percent = 0;  // of clients
};

class World final : public Observer {
 public:
  // `choices`: what happens is what they say, until they end; see world_program.cc.
  // `trace`: what happens is added to it, as SIM_TRACE=1 prints it. It depends on seed and choices only.
  explicit World(uint64_t seed, Choices* choices = nullptr, std::string* trace = nullptr);
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
  // Each user has another.
  std::string password_of(std::string_view user) const { return fmt::format("secret {} of {}", password_, user); }
  // Client 6 says a wrong one, or another user's.
  bool knows_password(int client) const { return client % 7 != 6; }
  std::string password_of(int client) const;
  // A method that asks for a password decides about this user, whatever rules there have been.
  bool must_ask(std::string_view user, std::string_view database) const;
  // May a client be told that its proof is wrong?
  bool may_refuse(int client) const;
  // What somebody who logs in says to an Authentication message; `login` is theirs.
  std::string answer(std::unique_ptr<auth::ServerLogin>& login, const std::string& user, const std::string& password,
                     std::string_view body);
  void send_cancel(uint32_t pid, const std::string& key);
  void send_packet(std::string packet);  // and nothing behind it
  // Nothing is in the way of a cancel request.
  bool cancels_must_work() const;
  bool may_lose(std::string_view text) const;
  bool is_refusal(std::string_view text) const;
  void mail(int from, int to, Mail mail);
  bool aside(int worker, std::unique_ptr<auth::Work> work, session::Fleet::WorkDone done);
  void find_secret(int worker, const std::string& user, session::SecretFinder::Done done);
  int workers() const { return scenario_.workers; }
  int databases() const { return scenario_.databases; }
  session::Context& context(int worker) { return *workers_[static_cast<size_t>(worker)].context; }
  Micros now() const { return network_.now; }
  Dice& random() { return random_; }
  Dice dice() { return Dice(random_.next(), choices_); }
  bool asks() const { return scenario_.asks; }
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }
  bool resolving_fails();
  bool in_trouble() const { return trouble_; }
  const SimTls* tls() const { return tls_.get(); }
  // Whether the backend of this process id speaks TLS.
  bool is_secured(uint32_t pid) const;
  const session::TlsCounts& tls_counts() const { return globals_.tls.clients.counts; }
  template <typename... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    if (tracing_) trace_line(fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- for those who run the broker
  std::shared_ptr<const config::Config> running;  // as main has it
  std::shared_ptr<const config::Config> draw_reload();
  void request_shutdown(session::Shutdown how);
  bool at_a_rare_moment();
  bool paused_all() const { return globals_.paused.load(); }
  // PAUSE was answered: nobody has a server of that database (empty: of any).
  void check_paused(const std::string& database);
  void check_limits();
  void check_door();
  uint64_t some_client(Dice& dice) const;
  // A command's first word, while a console client's message is being handled.
  std::string verb_under_way() const { return verb_; }
  void note_visit(int worker, const std::string& verb);
  void note_resume(int more) { resumes_ += more; }

  void before(net::Handler* handler, const char* event, std::string_view bytes) override;
  void after() override;

 private:
  struct Worker {
    std::unique_ptr<SimEngine> engine;
    std::unique_ptr<SimFleet> fleet;
    std::unique_ptr<session::Context> context;
    std::unique_ptr<admin::ConsoleImpl> console;
    Micros next_janitor = 0;
    bool listening = true, drained = false;
  };
  struct Place {  // a connection that came to PostgreSQL
    LinkPtr link;
    std::unique_ptr<Backend> backend;
    Micros answers_at = 0;
  };
  struct Aside {  // what a helper thread does
    int worker = 0;
    Micros at = 0;  // not before
    std::unique_ptr<auth::Work> work;
    session::Fleet::WorkDone done;
  };
  struct Rules {  // what draw_hba() has made: which of them ask for a password
    bool console = false, first = false, others = false;
  };
  struct Canceller {
    LinkPtr link;
    std::string out;
  };

  void draw_scenario();
  void draw_quiet(Choices::Subject subject);
  void make_config();
  void draw_times(config::Options& options);
  void draw_door(config::Options& options);
  void draw_databases(config::Config& config);
  void draw_logins(config::Config& config);
  void draw_servers_secrets(config::Config& config);
  std::string draw_secret(const std::string& user);
  std::shared_ptr<const config::Hba> draw_hba();
  LinkPtr dial(const net::Address& address, int& error);
  void admit();
  net::ShortAddress some_address();
  enum class Comer { kInhabitant, kStranger, kIntruder };
  LinkPtr come_in(std::optional<config::PoolMode> mode, Comer who = Comer::kInhabitant);
  void turn();
  void turn_worker(size_t index);
  void deliver_mail();
  void do_asides();
  void step_backend(Place& place);
  void forget_backends();
  void step_cancellers();
  void cause_trouble();
  void make_trouble(Place& place);
  void let_in(SimClient& client);
  bool everybody_gone() const;
  bool settled() const;
  void restore(Micros latest);
  void settle();
  void end_everything();
  void wind_down();

  // world_program.cc
  void follow_program();
  void obey();
  void obey_client();
  void obey_quiet();
  void obey_cancel(SimClient& client);
  void obey_operator();
  void obey_raw_client();
  void obey_own_query();
  void obey_backend();
  void obey_raw_backend(uint64_t what);
  void obey_time();
  void obey_network();
  void end_program();
  void report_stuck(const char* what);
  void trace_line(const std::string& line);

  // checkers.cc
  void saw(int state, const std::string& subject, const char* event);
  void check();
  void check_lists(size_t worker);
  void check_tls(size_t worker);
  void check_waiters(size_t worker);
  void check_trimmed();
  void check_end();
  template <typename OnClient, typename OnServer>
  void each_node(size_t worker, OnClient&& on_client, OnServer&& on_server);
  void watch_states(size_t worker);

  struct Restart {
    Restart();
  };
  const Restart restart_;  // before everything else
  const uint64_t seed_;
  Choices* const choices_;
  Dice random_;
  Random door_random_;  // its own, so that the worlds without a guarded door are what they were
  Scenario scenario_;
  Network network_;
  Cluster postgres_;
  session::Globals globals_;
  std::shared_ptr<config::Config> config_;
  std::vector<Worker> workers_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::vector<std::unique_ptr<Place>> places_;
  std::unique_ptr<SimTls> tls_;  // null: a world without
  std::vector<Canceller> cancellers_;
  SimDispatcher dispatcher_{*this};
  std::vector<std::unique_ptr<SimOperator>> operators_;
  std::vector<std::unique_ptr<SimStranger>> strangers_;
  std::map<std::pair<int, int>, std::deque<Mail>> mail_;
  std::vector<Aside> asides_;
  decltype(config::Config::secrets) looked_up_;  // what auth_query finds
  std::vector<Rules> rules_;                     // all there have been
  std::set<std::string> removed_;                // databases that a reload has left out
  std::map<uint64_t, int> client_states_, server_states_;
  std::string password_;
  std::string why_;
  uint64_t steps_ = 0;
  bool trouble_ = false;  // faults are still made
  bool ending_ = false;   // close_everything was called
  bool tracing_ = false;
  std::string* const traced_;
  bool stop_at_once_ = false;  // SHUTDOWN
  int end_waits_ = 300;        // turns that it may still wait for a rare moment
  int resumes_ = 0;            // RESUMEs on their way from worker to worker
  size_t next_client_ = 0;
  uint64_t turns_left_ = 1000;      // that a program may ask for
  Micros time_left_ = 6 * kSecond;  // that it may let pass while nothing happens: less than a client has to log in
  std::map<const void*, int64_t> counted_, sessions_;       // servers of a pool or database, at the last step
  std::map<const void*, int64_t> limits_, session_limits_;  // the limits then
  std::string verb_;
  size_t statements_before_ = 0;  // left over from a world that has failed
  std::string subject_;
};

}  // namespace berth::sim
