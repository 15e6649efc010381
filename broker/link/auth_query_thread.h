// The thread on which auth_query runs (docs/decisions/0010-auth-query.md): its engine has a few connections to each
// database in which it does. Workers leave their logins' questions in its inbox, and get answers by their mailboxes.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/log_budget.h"
#include "base/random.h"
#include "base/sweep.h"
#include "link/auth_connection.h"
#include "link/auth_machine.h"
#include "link/auth_places.h"
#include "link/auth_source.h"
#include "net/epoll_engine.h"
#include "net/resolver.h"
#include "session/context.h"
#include "session/secret_finder.h"
#include "worker/helpers.h"

namespace berth::link {

inline constexpr size_t kAuthInboxMax = 16384;      // questions that the thread has not seen yet
inline constexpr size_t kAuthCrowdMax = 4096;       // logins that wait for a place for their database
inline constexpr size_t kAuthMissingMax = 64;       // names of auth_dbname that are not configured, for SHOW
inline constexpr Micros kAuthKept = 600 * kSecond;  // SHOW AUTH_QUERY tells of what nobody has asked for so long
inline constexpr Micros kAuthPublishEvery = 20 * kMillisecond;  // what SHOW AUTH_QUERY says is that old at most

class AuthQueryThread final : public session::SecretFinder {
 public:
  // Main's thread calls these.
  AuthQueryThread(session::Globals& globals, net::Resolver& resolver, worker::Helpers& helpers, uint64_t seed);
  ~AuthQueryThread();
  AuthQueryThread(const AuthQueryThread&) = delete;
  AuthQueryThread& operator=(const AuthQueryThread&) = delete;
  void start(std::shared_ptr<const config::Config> config);
  void reconfigure(std::shared_ptr<const config::Config> config);
  void stop();  // nobody is answered any more

  // ---- session::SecretFinder
  void find(session::SecretQuestion question, Done done) override;
  void refuted(const session::SecretQuestion& question, uint64_t stamp) override;

 private:
  struct Slot {
    AuthConnection connection;
    size_t target = 0;     // next_target when it was begun: the addresses that come belong to that name
    uint64_t attempt = 0;  // of connecting: an address or a key that comes later than the next attempt is dropped
  };
  struct Managed {
    Managed(AuthSource source_, const AuthSettings& settings, uint64_t seed, uint64_t& stamps)
        : source(std::move(source_)), machine(settings, seed, stamps) {}
    const Target& target() const { return source.targets[next_target % source.targets.size()]; }
    const AuthSource source;
    AuthMachine machine;
    Slot slots[kAuthConnectionsMax];
    size_t next_target = 0;
    Micros asked_at = 0;
    bool told_down = false;    // the log says that it cannot be reached
    bool no_database = false;  // the server has none of that name
    bool reached = false;      // it has answered
  };
  struct Inbox;  // what others leave for the thread; shared with the resolver's callbacks, which may come later than
                 // this object's end
  struct Asked {
    session::SecretQuestion question;
    Done done;
  };
  struct Crowded {  // a login that waits for a place for its database
    AuthSource source;
    Asked asked;
    Micros until;
  };

  // ---- the thread
  void run();
  void end();
  bool take_inbox();
  void take_config(std::shared_ptr<const config::Config> config);
  void on_asked(Asked asked);
  void on_missing(const session::SecretQuestion& question, const std::string& why);
  void ask(Managed& managed, Asked asked);
  bool seat_crowd();
  Managed* managed_of(const AuthSource& source);
  Managed* manage(const AuthSource& source);
  std::vector<AuthPlace> places() const;
  void drop(size_t place);
  void on_refuted(const session::SecretQuestion& question, uint64_t stamp);
  AuthSettings settings_of(const AuthSource& source) const;
  void perform(Managed& managed);
  void act(Managed& managed, const AuthStep& step);
  void connect(Managed& managed, size_t index);
  void open(Managed& managed, size_t index, const Result<std::vector<net::Address>>& found);
  void on_resolved(uint64_t attempt, const Result<std::vector<net::Address>>& found);
  void on_worked(uint64_t attempt, auth::Work& work);
  bool react_to_all();
  void react(Managed& managed, size_t index, AuthHappened happened);
  void begin_work(Managed& managed, size_t index, std::unique_ptr<auth::Work> work);
  void lost(Managed& managed, size_t index, const std::string& why, bool no_database);
  void leave_host(Managed& managed, const std::string& why, bool no_database);
  void tell_lost(Managed& managed, const std::string& why, bool no_database);
  void publish();
  void wait();

  session::Globals& globals_;
  net::Resolver& resolver_;
  worker::Helpers& helpers_;
  Random random_;
  std::thread thread_;

  // The thread's own.
  std::unique_ptr<net::EpollEngine> engine_;  // while it runs
  std::shared_ptr<const config::Config> config_;
  std::map<std::string, session::SecretRow> missing_;  // by auth_dbname that is not configured
  std::list<Managed> managed_;                         // stable addresses
  std::unordered_map<uint64_t, Done> waiting_;         // by ticket
  std::deque<Crowded> crowd_;                          // in the order in which they came
  Sweep crowd_sweep_;
  LogBudget lines_;  // of the log about what cannot be reached
  Micros now_ = 0;
  Micros publish_at_ = 0;
  bool changed_ = true;  // since the last publish()
  uint64_t attempts_ = 0;
  uint64_t tickets_ = 0;
  uint64_t stamps_ = 0;

  std::shared_ptr<Inbox> inbox_;
};

}  // namespace berth::link
