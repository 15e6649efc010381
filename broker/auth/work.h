// What a login has to wait for: keys to derive, a directory to ask. Such work never runs on a worker: the session
// hands it to a helper thread (Fleet::aside, session/context.h) and goes on when it has been done.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/secret_memory.h"
#include "base/time.h"

namespace berth::auth {

// Which helper threads do it. Each kind has threads and a queue of its own, so that one which hangs, or which
// somebody floods, does not hold up the others.
enum class Lane : uint8_t {
  kClientKeys,  // PBKDF2 for a client's login
  kServerKeys,  // PBKDF2 with as many iterations as a server says
  kUsers,       // the system's user list, which may be a network service
  kPam,
  kLdap,
};
inline constexpr size_t kLanes = 5;

// How busy a lane is and was.
struct LaneLoad {
  int threads = 0, threads_max = 0;
  size_t queue = 0, queue_max = 0;  // work that waits for a thread
  size_t running = 0;
  uint64_t done = 0, refused = 0;  // since the start
  Micros waiting = 0;              // how long the first of the queue has waited
  Micros longest_wait = 0;         // of any since the start, also of those that still wait
};

// Owns all that it touches, because whoever asked may be gone when it runs. What is secret in it is overwritten by
// its destructor.
class Work : public SecretObject {
 public:
  explicit Work(Lane lane_) : lane(lane_) {}
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  virtual void run() = 0;  // once, on any thread

  const Lane lane;
  // Whoever asked says so when he is gone; null: it is wanted in any case.
  std::shared_ptr<const std::atomic<bool>> unwanted;
};

}  // namespace berth::auth
