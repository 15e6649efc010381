// The helper threads: for each lane a queue and a count of threads, all under one lock. A lock is right here: it is
// taken for a login that has to wait anyway, never for a query.
#include "worker/helpers.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "base/sweep.h"

namespace berth::worker {

// Everything below is guarded by `mutex`.
struct Helpers::State {
  struct Item {
    std::unique_ptr<auth::Work> work;
    Done done;
    Micros since;
  };
  struct OfLane {
    LaneLimits limits{};
    std::deque<Item> queue;
    Sweep sweep;  // of the queue
    int threads = 0;
    int idle = 0;  // of the threads: those that wait for work
    size_t running = 0;
    uint64_t done = 0, refused = 0;
    Micros longest_wait = 0;  // of those that wait no more
    std::condition_variable news;
  };

  mutable std::mutex mutex;
  std::array<OfLane, auth::kLanes> lanes;
  bool stopped = false;
  int threads = 0;
  std::condition_variable ended;

  static bool is_unwanted(const Item& item) {
    return item.work->unwanted && item.work->unwanted->load(std::memory_order_relaxed);
  }
  void run(OfLane& lane);
};

Helpers::Helpers(const std::array<LaneLimits, auth::kLanes>& limits) : state_(std::make_shared<State>()) {
  for (size_t i = 0; i < limits.size(); ++i) {
    ASSERT(limits[i].threads > 0 && limits[i].queue_max > 0);
    state_->lanes[i].limits = limits[i];
  }
}

Helpers::~Helpers() {
  stop();
}

bool Helpers::take(std::unique_ptr<auth::Work> work, Done done) {
  ASSERT(work && done);
  State::OfLane& lane = state_->lanes[static_cast<size_t>(work->lane)];
  const std::lock_guard<std::mutex> guard(state_->mutex);
  if (lane.queue.size() >= lane.limits.queue_max && lane.sweep.due(monotonic_now())) {
    std::erase_if(lane.queue, State::is_unwanted);
  }
  if (state_->stopped || lane.queue.size() >= lane.limits.queue_max) {
    ++lane.refused;
    return false;
  }
  lane.queue.push_back({std::move(work), std::move(done), monotonic_now()});
  // An idle thread counts until it has woken, and so does the work that wakes it.
  if (lane.queue.size() > static_cast<size_t>(lane.idle) && lane.threads < lane.limits.threads) {
    try {
      std::thread([shared = state_, &lane] { shared->run(lane); }).detach();  // it waits for the lock
      ++lane.threads;
      ++state_->threads;
    } catch (const std::system_error&) {  // the system has no thread for us: those that are there do it
      if (lane.threads == 0) {
        lane.queue.pop_back();
        ++lane.refused;
        return false;
      }
    }
  }
  lane.news.notify_one();
  return true;
}

// A helper thread. Done functions run under the lock: so stop(), which takes it, knows that none runs after it, and
// whatever they point to may go.
void Helpers::State::run(OfLane& lane) {
  keep_thread_out_of_dumps();  // the system's libraries are told passwords
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    ++lane.idle;
    lane.news.wait(lock, [&] { return stopped || !lane.queue.empty(); });
    --lane.idle;
    if (stopped) break;
    Item item = std::move(lane.queue.front());
    lane.queue.pop_front();
    lane.longest_wait = std::max(lane.longest_wait, monotonic_now() - item.since);
    if (is_unwanted(item)) continue;
    ++lane.running;
    lock.unlock();
    item.work->run();
    wipe_stack();
    lock.lock();
    --lane.running;
    ++lane.done;
    if (stopped) break;
    item.done(std::move(item.work));
  }
  --threads;
  ended.notify_all();
}

void Helpers::stop() {
  std::array<std::deque<State::Item>, auth::kLanes> dropped;
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->stopped = true;
  for (size_t i = 0; i < dropped.size(); ++i) {
    dropped[i].swap(state_->lanes[i].queue);
    state_->lanes[i].news.notify_all();
  }
  state_->ended.wait_for(lock, std::chrono::microseconds(kHelpersStopWait), [this] { return state_->threads == 0; });
}

std::array<auth::LaneLoad, auth::kLanes> Helpers::loads() const {
  std::array<auth::LaneLoad, auth::kLanes> loads;
  const std::lock_guard<std::mutex> guard(state_->mutex);
  const Micros now = monotonic_now();
  for (size_t i = 0; i < loads.size(); ++i) {
    const State::OfLane& lane = state_->lanes[i];
    const Micros waiting = lane.queue.empty() ? 0 : now - lane.queue.front().since;
    loads[i] = {.threads = lane.threads,
                .threads_max = lane.limits.threads,
                .queue = lane.queue.size(),
                .queue_max = lane.limits.queue_max,
                .running = lane.running,
                .done = lane.done,
                .refused = lane.refused,
                .waiting = waiting,
                .longest_wait = std::max(lane.longest_wait, waiting)};
  }
  return loads;
}

}  // namespace berth::worker
