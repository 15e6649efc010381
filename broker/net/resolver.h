// Names to addresses, off the workers: getaddrinfo may take seconds, so it runs on one helper thread, and its answers
// are remembered for a while. Addresses and paths of Unix sockets need neither; see literal().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/address.h"

namespace berth::net {

inline constexpr size_t kResolveQueueMax = 1024;  // names that wait to be looked up; more fail at once
inline constexpr size_t kResolveCacheMax = 4096;  // names remembered; the ones that expire first make room
inline constexpr Micros kResolveStopWait = kSecond;

class Resolver {
 public:
  using Addresses = std::vector<Address>;
  // Runs exactly once for each resolve(), unless the resolver ends first: on the helper thread, or inside resolve()
  // when the answer is known. It must only hand the answer on (post it to the asking thread's mailbox), and must not
  // call the resolver.
  using Done = std::function<void(Result<Addresses>)>;

  // What a name is known by, for SHOW DNS_HOSTS.
  struct Known {
    std::string host;
    Addresses addresses;  // empty: it has none
    Micros expires = 0;
  };

  // The outside world: replaced in tests.
  using LookUp = std::function<Result<Addresses>(const std::string& host)>;
  using Clock = Micros (*)();

  Resolver();
  Resolver(LookUp look_up, Clock clock);
  // No Done runs after this. Waits for a lookup under way for at most kResolveStopWait; one that takes longer ends on
  // its own thread and is forgotten.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // dns_max_ttl and dns_nxdomain_ttl: for how long an answer, or its absence, is remembered. Any thread.
  void set_lifetimes(Micros answers, Micros failures);

  // An address or a Unix socket's directory needs no lookup: done at once, an Error included. No value: it is a name.
  static std::optional<Result<Addresses>> literal(std::string_view host, int port);

  // Looks a name up. Any thread. Several askers of one name share one lookup.
  void resolve(const std::string& host, int port, Done done);

  // Forgets all answers, so that each name is looked up again (RELOAD).
  void forget();
  std::vector<Known> known() const;

 private:
  struct State;  // shared with the helper thread, which may outlive this
  std::shared_ptr<State> state_;
};

}  // namespace berth::net
