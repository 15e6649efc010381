// A pool's slice on one worker: who waits, which servers are free, and what to do next. Pure: no sockets, no clock;
// the worker asks next() until it says kNone and carries the decisions out. All calls on the owning worker's thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/fault.h"
#include "base/random.h"
#include "pool/node.h"
#include "pool/shared.h"

namespace berth::pool {

// Why a server is closed: its text reaches the log.
enum class CloseReason : uint8_t {
  kNone,
  kLifetime,
  kIdleTimeout,
  kEvictedDatabase,
  kEvictedUser,
  kPoolSize,
  kReconnect,
  kReserve,
};

struct Decision {
  enum class Kind : uint8_t {
    kNone,
    kAssign,  // link client and server
    kCheck,   // prove that server is alive, then checkin() it
    kOpen,    // open one more server (its places in the budgets are taken)
    kLend,    // send server to worker `to`
    kAsk,     // ask worker `to` for a server
    kClose,   // close server, saying why
  };
  Kind kind = Kind::kNone;
  ClientNode* client = nullptr;
  ServerNode* server = nullptr;
  int to = 0;
  CloseReason why = CloseReason::kNone;
};

struct Limits {
  int64_t pool_size = 20;
  int64_t min_pool_size = 0;
  int64_t reserve_pool_size = 0;
  Micros reserve_pool_timeout = 5 * kSecond;
  int64_t transaction_reserve = 0;  // servers that session clients never get; 0 where only one mode is offered
  Micros check_delay = 30 * kSecond;
  Micros idle_timeout = 600 * kSecond;
  Micros login_retry = 15 * kSecond;
  bool round_robin = false;
  bool fill = false;  // min_pool_size applies: the broker can log in by itself
};

inline constexpr int kParallelConnects = 4;  // backend connects at once, per slice
inline constexpr Micros kStealAfter =
    5 * kMillisecond;  // another worker's client may overtake after waiting this much longer
inline constexpr Micros kBackoffFirst = 1 * kSecond;  // then 2, 4, 8
inline constexpr Micros kBackoffMost = 8 * kSecond;
inline constexpr Micros kOverloadFirst = 1 * kSecond;  // after SQLSTATE 53300: 1, 2, 4, ... 60
inline constexpr Micros kOverloadMost = 60 * kSecond;
inline constexpr Micros kFillPause =
    10 * kSecond;                      // min_pool_size rests after an eviction, or it would take the place back
inline constexpr int kOpenBurst = 16;  // token bucket of connects: burst,
inline constexpr Micros kOpenEvery = 10 * kMillisecond;  // and one more token each 10 ms

class Pool {
 public:
  Pool(SharedPool* shared, int worker, int workers, uint64_t seed);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // ---- clients
  void add_client(ClientNode* client, ClientState list);  // kIdle or kLoginWait
  void remove_client(ClientNode* client);                 // from whatever list it is on
  void move(ClientNode* client, ClientState to, Micros now);
  // A free server for this client at once, or null: then wait() and next().
  ServerNode* take_idle(ClientNode* client, Micros now);

  // ---- servers
  void add_server(ServerNode* server, ServerState state, Micros now);  // after kOpen, or arrived from another worker
  void remove_server(ServerNode* server);  // gone; its places in the budgets are given back
  void move(ServerNode* server, ServerState to, Micros now);
  void link(ClientNode* client, ServerNode* server, Micros now);
  // The server is free again (from kLinked, kCleaning, kChecking, kSetup, kLogin or kTravelling).
  void checkin(ServerNode* server, Micros now);
  // A server left for another worker: it is off the lists, its places stay taken.
  void depart(ServerNode* server);

  // ---- outcomes of opening
  void opened(Micros now);
  void open_failed(Micros now);  // refused, timed out, no route, wrong password ...: back off
  void overloaded(Micros now);   // SQLSTATE 53300
  bool failing(Micros now) const { return failures_ > 0 && now < next_open_; }

  // ---- decisions
  Decision next(Micros now);
  Decision tick(Micros now);  // like next, plus lifetimes, idle limits, filling: until kNone, every janitor round
  void set_limits(const Limits& limits) { limits_ = limits; }
  void set_paused(bool paused) { paused_ = paused; }
  // PAUSE of everything, seen at once by all workers.
  void watch_pause(const std::atomic<bool>* all) { all_paused_ = all; }
  // Whoever says it: servers of all workers that are open now are not used again. Said once per worker or more, no
  // matter.
  void reconnect() { shared_->generation.fetch_add(1, std::memory_order_relaxed); }
  bool stale(const ServerNode* server) const { return server->generation != generation(); }
  uint32_t generation() const { return shared_->generation.load(std::memory_order_relaxed); }

  const ClientList& clients(ClientState state) const { return clients_[static_cast<int>(state)]; }
  const ServerList& servers(ServerState state) const { return servers_[static_cast<int>(state)]; }
  // The most servers of this slice that clients have had at once.
  size_t linked_peak() const { return linked_peak_; }
  size_t server_count() const;
  bool empty() const;
  SharedPool* shared() const { return shared_; }
  const Limits& limits() const { return limits_; }
  bool paused() const {
    return (paused_ && !FAULT(pause_ignored)) || (all_paused_ && all_paused_->load(std::memory_order_relaxed)) ||
           shared_->of_database->paused.load(std::memory_order_relaxed);
  }

 private:
  ClientList& list(ClientState state) { return clients_[static_cast<int>(state)]; }
  ServerList& list(ServerState state) { return servers_[static_cast<int>(state)]; }
  SliceSignal& mine() { return shared_->slices[static_cast<size_t>(worker_)]; }
  bool session_may_take() const;
  ClientNode* first_eligible() const;
  ServerNode* pick_idle();
  void publish();
  Decision lend_or_none(Micros now, const ClientNode* own);
  Decision want_more(Micros now);
  bool may_open(Micros now);
  bool acquire(bool reserve, Micros wish_at);
  void give_back(const ServerNode* server);
  Decision trim(Micros now);
  int64_t fill_share() const;

  SharedPool* shared_;
  int worker_, workers_;
  Limits limits_;
  Random random_;
  bool paused_ = false;
  const std::atomic<bool>* all_paused_ = nullptr;
  std::array<ClientList, kClientStates> clients_;
  std::array<ServerList, kServerStates> servers_;
  ClientList session_waiting_;  // kWaiting clients of session mode; those of transaction mode are in clients_
  int failures_ = 0;
  int overloads_ = 0;
  Micros next_open_ = 0;
  double tokens_ = kOpenBurst;
  Micros tokens_at_ = 0;
  bool reserve_opening_ = false;
  Micros asked_at_ = 0;
  size_t linked_peak_ = 0;
  Micros evicted_at_ = -kFillPause;  // when a server was closed so that another pool could open one

 public:
  // Whether the last kOpen was for the reserve: to be copied to the new server's in_reserve.
  bool opening_reserve() const { return reserve_opening_; }
  const ClientList& session_waiting() const { return session_waiting_; }
  size_t waiting_count() const { return clients(ClientState::kWaiting).size() + session_waiting_.size(); }
};

}  // namespace berth::pool
