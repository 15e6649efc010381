// The helper threads: they do what a worker, or the thread of auth_query, must not wait for (auth/work.h). Each lane
// has a few threads, started when they are first needed, and a queue with an end.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "auth/work.h"
#include "base/time.h"

namespace berth::worker {

struct LaneLimits {
  int threads;
  size_t queue_max;  // work that waits for a thread; more is refused
};
// Deriving keys costs processor time, which the workers need more: so few threads. Asking somebody else costs none,
// but takes its time, the more so for wrong passwords: PAM waits two seconds then.
inline constexpr std::array<LaneLimits, auth::kLanes> kLaneLimits = {
    {{2, 4096}, {2, 4096}, {2, 1024}, {8, 1024}, {8, 1024}}};
inline constexpr Micros kHelpersStopWait = kSecond;

class Helpers {
 public:
  // Runs once for each work that was taken, on the helper thread, after run(), unless the helpers stop first
  // or nobody wants the work any more when its turn comes. It must
  // only hand the work on (post it to the asking thread's mailbox or inbox), and must not call the helpers.
  using Done = std::function<void(std::unique_ptr<auth::Work>)>;

  explicit Helpers(const std::array<LaneLimits, auth::kLanes>& limits = kLaneLimits);
  ~Helpers();
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  // Any thread. False: the queue is full of work that somebody waits for, there is no thread (or the helpers have
  // stopped), the work is gone and Done never runs.
  bool take(std::unique_ptr<auth::Work> work, Done done);
  // No Done runs after this, and nothing is taken. Waits for work under way for at most kHelpersStopWait; what takes
  // longer ends on its own thread and is forgotten.
  void stop();
  std::array<auth::LaneLoad, auth::kLanes> loads() const;
  auth::LaneLoad load(auth::Lane lane) const { return loads()[static_cast<size_t>(lane)]; }

 private:
  struct State;  // shared with the threads, which may outlive this
  std::shared_ptr<State> state_;
};

}  // namespace berth::worker
