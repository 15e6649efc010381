// What the workers share of a pool: budgets and signals, all atomic. Every worker has its own slice (pool/pool.h) and
// decides alone; these numbers keep the sum of the slices within one limit, and nobody waiting while another has
// plenty.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

#include "base/fault.h"
#include "base/time.h"
#include "pool/params.h"

namespace berth::pool {

inline constexpr int kWorkersMax = 64;

inline constexpr Micros kWantedFor = 150 * kMillisecond;  // a waiter is asked at each tick, ten times a second

// A count with a limit (0: none), shared by all workers. `used` never exceeds the limit by acquiring; it may when the
// limit is lowered, and then falls as holders give back.
struct Gate {
  std::atomic<int64_t> used{0};   // every worker adds and takes; relaxed: the number itself is all that is shared
  std::atomic<int64_t> limit{0};  // written at reload
  std::atomic<Micros> wanted_at{-kWantedFor};  // a waiter was refused: idle holders give back at their next tick

  bool try_acquire(int64_t extra = 0) {
    const int64_t most = limit.load(std::memory_order_relaxed);
    int64_t now = used.load(std::memory_order_relaxed);
    while (most <= 0 || now < most + extra + (FAULT(limit_off_by_one) ? 1 : 0)) {
      if (used.compare_exchange_weak(now, now + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  bool full() const {
    const int64_t most = limit.load(std::memory_order_relaxed);
    return most > 0 && used.load(std::memory_order_relaxed) >= most;
  }
  // A waiter's wish lasts until an idle holder has given back, or until the waiter has been served otherwise and says
  // it no more.
  void want(Micros now) { wanted_at.store(now, std::memory_order_relaxed); }
  bool take_wish(Micros now) {
    if (now - wanted_at.load(std::memory_order_relaxed) >= kWantedFor) return false;
    return now - wanted_at.exchange(now - kWantedFor, std::memory_order_relaxed) < kWantedFor;
  }
  void release() { used.fetch_sub(1, std::memory_order_relaxed); }
};

// One configured database, whatever its users.
struct SharedDatabase {
  std::string name;
  Gate servers;                         // max_db_connections
  Gate clients;                         // max_db_client_connections
  std::atomic<bool> paused{false};      // PAUSE db or KILL db; each worker looks when it would assign
  std::atomic<Micros> paused_until{0};  // of PAUSE db FOR: it is resumed then; 0: it is not, by itself
  std::atomic<bool> disabled{false};    // DISABLE db
};

struct SharedUser {
  std::string name;
  Gate servers;  // max_user_connections
  Gate clients;  // max_user_client_connections
};

// What one worker tells the others about its slice. Written by that worker only.
struct alignas(64) SliceSignal {
  // Since when its oldest client waits; kNever: nobody waits. Sequentially consistent together with `idle`: a worker
  // that queues a client publishes here and then reads the others' `idle`; one that frees a server publishes `idle`
  // and then reads here. So at least one of the two sees the other, and no wake-up is lost.
  std::atomic<Micros> oldest_wait{kNever};
  std::atomic<int> waiting{0};
  std::atomic<int> idle{0};
  std::atomic<int> inbound{0};  // servers on their way to this worker: senders add, the owner takes
};

// One pool: a database and the user of its servers.
struct SharedPool {
  std::string database, user;
  std::string replication;  // not empty: its servers are replication connections of this kind
  SharedDatabase* of_database = nullptr;
  SharedUser* of_user = nullptr;
  Gate servers;                          // pool_size; the reserve comes on top
  std::atomic<int64_t> session_held{0};  // servers linked to session clients
  std::atomic<uint32_t> generation{0};   // RECONNECT raises it: servers of an older one are closed when free
  std::array<SliceSignal, kWorkersMax> slices;
  std::atomic<Micros> used_at{0};  // when a worker had a client or a server of it: each writes, all read; ticks only
  int members = 0;                 // workers that have a slice; guarded by the registry's lock

  // The parameters that PostgreSQL reports at login: what a client is greeted with. Set by the first server, and
  // replaced when they change (an upgrade). Guarded by `mutex`; read at logins only.
  std::mutex mutex;
  Params welcome;
};

// What names a pool: database, user, replication.
using PoolKey = std::tuple<std::string, std::string, std::string>;

// All of them, made at need. Databases and users (some hundred bytes each) are kept for the life of the process, a
// pool (4 kB) until the last worker leaves it. Any thread; logins, pool creation and reload only.
class SharedRegistry {
 public:
  SharedDatabase* database(std::string_view name);
  bool disabled(std::string_view name);  // DISABLE; of a name that nobody has used: no
  SharedUser* user(std::string_view name);
  // Joins the pool. Replication connections of a user are a pool of their own; their gates are the user's.
  SharedPool* pool(std::string_view database, std::string_view user, std::string_view replication = {});
  // A worker has no slice of it any more. The last one frees it, unless a server is on its way: then the worker that
  // gets that one joins again. Messages that name the pool may be under way still: they only compare the address.
  void leave(SharedPool* pool);
  template <typename F>
  void each_database(F&& f) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (auto& [name, entry] : databases_) f(*entry);
  }
  template <typename F>
  void each_pool(F&& f) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (auto& [key, entry] : pools_) f(*entry);
  }
  template <typename F>
  void each_user(F&& f) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (auto& [name, entry] : users_) f(*entry);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<SharedDatabase>, std::less<>> databases_;
  std::map<std::string, std::unique_ptr<SharedUser>, std::less<>> users_;
  std::map<PoolKey, std::unique_ptr<SharedPool>> pools_;
};

}  // namespace berth::pool
