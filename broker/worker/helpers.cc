// The helper threads: for each lane a queue and a count of threads, all under one lock. A lock is right here: it is
// taken for a login that has to wait anyway, never for a query.
#include "worker/helpers.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/assert.h"

namespace berth::worker {

// Everything below is guarded by `mutex`.
struct Helpers::State {
  struct Item {
    std::unique_ptr<auth::Work> work;
    Done done;
  };
  struct OfLane {
    LaneLimits limits{};
    std::deque<Item> queue;
    int threads = 0;
    int idle = 0;  // of the threads: those that wait for work
    Load load;
    std::condition_variable news;
  };

  mutable std::mutex mutex;
  std::array<OfLane, auth::kLanes> lanes;
  bool stopped = false;
  int threads = 0;
  std::condition_variable ended;

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
  if (state_->stopped || lane.queue.size() >= lane.limits.queue_max) {
    ++lane.load.refused;
    return false;
  }
  lane.queue.push_back({std::move(work), std::move(done)});
  // An idle thread counts until it has woken, and so does the work that wakes it.
  if (lane.queue.size() > static_cast<size_t>(lane.idle) && lane.threads < lane.limits.threads) {
    try {
      std::thread([shared = state_, &lane] { shared->run(lane); }).detach();  // it waits for the lock
      ++lane.threads;
      ++state_->threads;
    } catch (const std::system_error&) {  // the system has no thread for us: those that are there do it
      if (lane.threads == 0) {
        lane.queue.pop_back();
        ++lane.load.refused;
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
    if (item.work->unwanted && item.work->unwanted->load(std::memory_order_relaxed)) continue;
    ++lane.load.running;
    lock.unlock();
    item.work->run();
    wipe_stack();
    lock.lock();
    --lane.load.running;
    ++lane.load.done;
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

Helpers::Load Helpers::load(auth::Lane lane) const {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  const State::OfLane& of = state_->lanes[static_cast<size_t>(lane)];
  Load load = of.load;
  load.waiting = of.queue.size();
  return load;
}

}  // namespace berth::worker
