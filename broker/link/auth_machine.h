// auth_query's decisions for one database in which it runs: which connection asks what, who shares an answer, what is
// remembered and for how long, when to give up. It knows time and answers, but no sockets:
// auth_connection.h acts, and feeds back what came of it.
//
// An answer never comes from before its question. A login joins a query that has not been sent yet; one that is under
// way may have read the role before its password was changed, so who comes now shares the next one. What was found is
// remembered where it can be proved to hold: berth.role_generation() grows, on each backend, with every change of any
// role. A login whose user is remembered joins the next check of that number, whatever other users are with it: over
// the connection that has read the secret, since another one may lead to another server. If the number has not grown
// since before it was read, the secret holds, until VALID UNTIL by the server's clock. Without that function, or with
// another query than the default, nothing is remembered, unless auth_query_cache_ttl says for how long that may be
// wrong.
//
//   closed -> connecting -> probing -> idle <-> querying
//                                        ^----> checking
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "auth/secrets.h"
#include "base/random.h"
#include "base/sweep.h"
#include "base/time.h"
#include "session/secret_finder.h"

namespace berth::link {

inline constexpr size_t kAuthConnectionsMax = 2;  // to one database
inline constexpr size_t kAuthQueueMax = 16384;    // logins that wait for one database
inline constexpr size_t kAuthCacheMax =
    16384;                                   // users remembered of one database; the one used longest ago goes first
inline constexpr size_t kAuthKindsMax = 16;  // of (kind of secret, iterations) that are counted
inline constexpr size_t kAuthRoundMax = 64;  // attempts to connect, one after the other, before a pause
inline constexpr Micros kAuthAnswerWithin = 10 * kSecond;  // one query
inline constexpr Micros kAuthRestsAfter = 1 * kSecond;     // a connection without a question may have died silently:
inline constexpr Micros kAuthRestedWithin = 3 * kSecond;   // its next answer, or another connection is made
inline constexpr Micros kAuthBackoffFirst = 1 * kSecond;

struct AuthSettings {
  bool standard = true;    // the default query, which reads nothing but pg_authid
  Micros cache_ttl = 0;    // auth_query_cache_ttl
  Micros wait_within = 0;  // from a login's question to its answer
  Micros connect_within = 0;
  Micros idle_within = 0;  // then a connection is closed; 0: never
  Micros backoff_max = 0;
  size_t hosts = 1;  // that are tried in turn
};

// What a query has found.
struct AuthRow {
  bool found = false;
  auth::Secret secret;
  std::optional<Micros> valid_until;  // by the server's clock, as server_now; none: for ever, or not known
  Micros server_now = 0;
};

// Set by a login that has gone; null: it stays.
using Unwanted = std::shared_ptr<const std::atomic<bool>>;

// What to do now.
struct AuthStep {
  enum class Kind : uint8_t { kConnect, kProbe, kCheck, kQuery, kClose, kAnswer, kForget };
  Kind kind;
  size_t connection = 0;  // of all but kAnswer and kForget
  std::string user;       // of kQuery
  uint64_t ticket = 0;    // of kAnswer, and of kForget: its login has gone
  session::SecretAnswer answer;
};

class AuthMachine {
 public:
  // `stamps` is the number of the last query, of all databases: two users' secrets of one name must be comparable.
  AuthMachine(const AuthSettings& settings, uint64_t seed, uint64_t& stamps)
      : settings_(settings), random_(seed), stamp_(stamps) {}

  // A login wants to know; the answer bears its ticket. `now` never goes back. Nothing is asked for those only who
  // have gone: anybody can make names up and leave, a thousand times a second.
  void ask(uint64_t ticket, std::string_view user, Micros now, Unwanted unwanted = nullptr);
  // The secret that was answered with this stamp was wrong.
  void refuted(std::string_view user, uint64_t stamp);

  // What came of the steps. A host may have several addresses; each is an attempt of its own.
  void on_found(size_t addresses) { addresses_ = std::max(addresses_, addresses); }
  void on_connected(size_t connection, Micros now);
  // Whether role_generation() is there for this role, and which kind of secret PostgreSQL makes of new passwords.
  void on_probed(size_t connection, bool generations, auth::MockProfile usual, Micros now);
  void on_checked(size_t connection, int64_t generation, Micros server_now, Micros now);
  void on_row(size_t connection, AuthRow row, Micros now);
  // PostgreSQL refused the query or the check; the connection is fine.
  void on_refused(size_t connection, std::string_view why, Micros now);
  // The connection could not be made, or is gone. `no_database`: there is none of that name, so it has no users.
  // True: that is an outage, and another host or address may be the better one; else it is made again.
  bool on_lost(size_t connection, std::string_view why, bool no_database, Micros now);
  // True: as of on_lost().
  bool on_time(Micros now);
  // A reload: nothing is remembered, and connections are made anew.
  void reset(const AuthSettings& settings, Micros now);

  std::vector<AuthStep> take_steps();
  // When on_time() has something to decide.
  Micros wake_at() const;
  // Nothing is open, waits, or is remembered.
  bool idle(Micros now) const;

  // ---- for SHOW
  size_t connections() const;
  size_t waiting() const { return waiting_; }
  size_t cached() const { return cache_.size(); }
  std::string_view state_name(Micros now) const;
  std::string_view cache_name() const;
  uint64_t queries() const { return queries_; }
  uint64_t checks() const { return checks_; }
  uint64_t hits() const { return hits_; }
  uint64_t unknown() const { return unknown_; }
  uint64_t failures() const { return failures_; }
  uint64_t refused() const { return refused_; }
  const std::string& error() const { return error_; }

 private:
  struct Waiter {
    uint64_t ticket;
    std::string user;
    Micros until;
    Unwanted unwanted = nullptr;
    bool gone() const { return unwanted && unwanted->load(std::memory_order_relaxed); }
  };
  // A query for one user, or the check, that has not been sent.
  struct Job {
    bool check = false;
    size_t over = 0;     // of a check: this connection, and no other
    bool again = false;  // its connection was lost once
    std::string user;    // of a query
    std::deque<Waiter> waiters;
  };
  enum class State : uint8_t { kClosed, kConnecting, kProbing, kIdle, kChecking, kQuerying };
  struct Connection {
    State state = State::kClosed;
    bool made = false;         // it has rested once
    bool generations = false;  // it can check
    bool outdated = false;     // a reload came: closed when it is idle
    int64_t generation = 0;    // as it said last
    uint64_t number = 0;       // of those that can check; none has it twice
    Micros until = 0;          // it must answer, or is closed if it idles
    Job job;                   // of kChecking and kQuerying
    uint64_t stamp = 0;        // of kQuerying: when it was sent
    Micros sent_at = 0;        // likewise
    Micros rested_at = 0;      // of kIdle: since then
    bool rested = false;       // of kChecking and kQuerying: its last answer was long ago
  };
  struct Entry {
    std::string user;
    auth::Secret secret;
    uint64_t stamp;
    size_t over;         // the connection that has read it,
    uint64_t number;     // if that is still the one of this number; 0: nobody can check it
    bool checkable;      // it holds by a check alone: when the connection has gone nothing is left of it
    int64_t generation;  // what it had said last before
    std::optional<Micros> valid_until;
    Micros fresh_until;  // by our clock: for auth_query_cache_ttl
  };
  using Entries = std::list<Entry>;  // used last at the front
  using Jobs = std::list<Job>;

  void pump(Micros now);
  void start(size_t index, Jobs::iterator job, Micros now);
  void open_another(Micros now);
  void forget_gone(Job& job);
  void skip_unwanted();
  void make_room(Micros now);
  void rest(size_t index, Micros now);
  void close(size_t index);
  void want_query(Waiter waiter, bool first);
  void want_check(Waiter waiter, size_t over);
  void want_queries(const Job& check);
  void give_up_check(size_t index);
  Jobs::iterator job_for(size_t index);
  bool is_wanted(Job& job);
  void put_back(Job job);
  void attempt_failed(std::string_view why, bool no_database, Micros now);
  void end_round(Micros now);
  bool is_connecting() const;
  void close_rested(Micros now);
  void answer(const Waiter& waiter, const session::SecretAnswer& answer);
  void answer_all(const Job& job, const session::SecretAnswer& answer);
  void fail_all(const session::SecretAnswer& answer);
  session::SecretAnswer failed(std::string_view why);
  session::SecretAnswer from(Entries::iterator entry);
  void remember(size_t index, const AuthRow& row);
  void forget(std::string_view user);
  bool holds(const Entry& entry, size_t index, Micros server_now) const;
  bool can_check(const Entry& entry) const;
  void expire(Micros now);
  void count_kind(const auth::Secret& secret);
  auth::MockProfile profile() const;
  Jobs::iterator drop_job(Jobs::iterator job);
  bool usable(const Connection& connection) const { return connection.state >= State::kIdle; }

  AuthSettings settings_;
  Random random_;
  std::array<Connection, kAuthConnectionsMax> connections_;
  Jobs jobs_;  // in the order in which they are served
  std::unordered_map<std::string, Jobs::iterator> queries_wanted_;
  std::array<std::optional<Jobs::iterator>, kAuthConnectionsMax> checks_wanted_;  // by connection
  size_t waiting_ = 0;          // logins, of jobs_ and of connections
  Sweep sweep_;                 // of make_room()
  Micros expires_at_ = kNever;  // the first of them gives up
  Entries entries_;
  std::unordered_map<std::string_view, Entries::iterator> cache_;  // the names are those of the entries
  uint64_t& stamp_;
  Micros retry_at_ = 0;
  Micros backoff_ = kAuthBackoffFirst;
  size_t addresses_ = 1;  // the most that a host has had
  size_t tried_ = 0;      // attempts that failed, one after the other, since the last pause; 0: no round
  bool slow_ = false;     // it has taken longer than kAuthRestedWithin for an answer: silence means less
  std::vector<AuthStep> steps_;
  std::map<std::pair<auth::SecretKind, uint32_t>, uint64_t> kinds_;  // of secrets that were found
  auth::MockProfile usual_{auth::SecretKind::kScram, 0};
  uint64_t queries_ = 0, checks_ = 0, hits_ = 0, unknown_ = 0, failures_ = 0, refused_ = 0;
  std::string error_;
};

}  // namespace berth::link
