// The link: one thread that keeps a connection to each database that has the extension, so that its views know of
// this broker (docs/decisions/0007-link.md). It shares with the rest of the process the configuration, the registry
// of pools, the resolver and the board that SHOW LINKS reads; nothing waits for it.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "config/config.h"
#include "link/link_connection.h"
#include "link/link_machine.h"
#include "link/targets.h"
#include "net/resolver.h"
#include "session/context.h"

namespace berth::link {

// How often the pools of the entry "*" are looked through for databases that came or went.
inline constexpr Micros kLookAgain = 2 * kSecond;
inline constexpr Micros kLinkEndsWithin = kLeaveWithin + 2 * kSecond;  // or nobody waits for the thread

class LinkThread {
 public:
  // Main's thread calls all of these. `listeners` are the addresses of the process's listening sockets.
  LinkThread(session::Globals& globals, net::Resolver& resolver, std::vector<net::Address> listeners, uint64_t seed);
  ~LinkThread();
  LinkThread(const LinkThread&) = delete;
  LinkThread& operator=(const LinkThread&) = delete;

  void start(std::shared_ptr<const config::Config> config);
  void reconfigure(std::shared_ptr<const config::Config> config);
  // Begins to end the thread: deregistering everywhere, which takes kLeaveWithin at most, or (`at_once`) without.
  void leave(bool at_once);
  // False: it does not end within kLinkEndsWithin, since a call of libpq does not return (which derives a key, say,
  // with as many rounds as the server wants). Then nothing that it uses may be freed: the process is to end as it is.
  [[nodiscard]] bool join();

 private:
  struct Managed {
    explicit Managed(uint64_t seed) : machine(seed) {}
    Target target;
    LinkMachine machine;
    LinkConnection connection;
    uint64_t attempt = 0;  // of connecting: an address that comes later than the next attempt is dropped
    Place place;           // as it answered last, at asked_at
    Micros asked_at = 0;   // wall clock
    std::string console;
    std::string shown;  // the state in SHOW LINKS, which `since` belongs to
    Micros since = 0;   // wall clock
  };
  struct Answer;  // of the resolver
  struct Inbox;   // what others leave for the thread; shared with the resolver's callbacks, which may come later than
                  // this object's end

  // ---- the thread
  void run();
  void take_inbox();
  void take_config(std::shared_ptr<const config::Config> config);
  void look_at_targets();
  void perform(Managed& link, Step step);
  void connect(Managed& link);
  void open(Managed& link, const std::vector<net::Address>& addresses);
  void on_resolved(const Answer& answer);
  void serve(Managed& link);
  Step react(Managed& link, const Happened& happened);
  bool has_twin(const Managed& link) const;
  void take_over();
  void register_at(Managed& link);
  void look_up(uint64_t attempt, const std::string& name, int port);
  std::string console_of(const Managed& link);
  void tell(Managed& link);
  void tell_nobody();
  void publish();
  void wait();
  bool ended() const;
  std::vector<std::string> in_use() const;

  session::Globals& globals_;
  net::Resolver& resolver_;
  const std::vector<net::Address> listeners_;
  Random random_;
  std::thread thread_;

  // The thread's own.
  std::shared_ptr<const config::Config> config_;
  std::list<Managed> links_;  // stable addresses
  Micros now_ = 0;
  Micros look_at_ = 0;
  uint64_t attempts_ = 0;
  uint32_t tls_seen_ = 0;  // of TlsContexts::servers_changed: older links have been given up
  bool leaving_ = false;
  bool unreachable_told_ = false;
  std::vector<Target> nobody_;  // databases without a user to log in as
  std::string nobody_told_;     // the log has named these

  std::shared_ptr<Inbox> inbox_;
};

}  // namespace berth::link
