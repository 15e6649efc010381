#include "worker/dispatch.h"

#include <csignal>

namespace berth::worker {

namespace {

// Goes from worker to worker, then home. Frees itself at the end.
class VisitTask final : public Task {
 public:
  VisitTask(Fleet& fleet, int home, std::function<void(Context&)> visit, std::function<void(Context&)> done)
      : fleet_(fleet), home_(home), visit_(std::move(visit)), done_(std::move(done)) {}

  void run(Context& context) override {
    if (next_ == fleet_.workers) {
      if (done_) done_(context);
      delete this;
      return;
    }
    visit_(context);
    ++next_;
    const int to = next_ == fleet_.workers ? home_ : next_;
    send_task(fleet_, context.worker, to, std::unique_ptr<Task>(this));
  }

 private:
  Fleet& fleet_;
  const int home_;
  int next_ = 0;
  std::function<void(Context&)> visit_, done_;
};

thread_local int own_index = -1;  // of the worker that runs on this thread; -1 on main

}  // namespace

void set_own_index(int index) {
  own_index = index;
}

static int sender(const Fleet& fleet) {
  return own_index < 0 ? fleet.workers : own_index;
}

void FleetDispatcher::visit_all(int home, std::function<void(Context&)> visit, std::function<void(Context&)> done) {
  send_task(fleet_, sender(fleet_), 0, std::make_unique<VisitTask>(fleet_, home, std::move(visit), std::move(done)));
}

void FleetDispatcher::post_to_main(std::function<void()> work) {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    pending_.push_back(std::move(work));
  }
  pthread_kill(main_, wake_signal_);
}

void FleetDispatcher::run_pending() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    work.swap(pending_);
  }
  for (auto& item : work) item();
}

// From main to `home`. A new configuration travels ahead of it in the same mailboxes.
void FleetDispatcher::answer(int home, std::function<void(Context&, std::string)> done, std::string error) {
  visit_all(
      home, [](Context&) {},
      [done = std::move(done), error = std::move(error)](Context& context) { done(context, error); });
}

void FleetDispatcher::reload(int home, std::function<void(Context&, std::string)> done) {
  post_to_main([this, home, done = std::move(done)] { answer(home, done, on_reload()); });
}

void FleetDispatcher::set_option(int home, std::string key, std::string value,
                                 std::function<void(Context&, std::string)> done) {
  post_to_main([this, home, key = std::move(key), value = std::move(value), done = std::move(done)] {
    answer(home, done, on_set(key, value));
  });
}

void FleetDispatcher::request_shutdown(session::Shutdown how) {
  post_to_main([this, how] { on_shutdown(how); });
}

void FleetDispatcher::spread(std::shared_ptr<const config::Config> next) {
  visit_all(0, [next](Context& context) { session::reconfigure(context, next); }, {});
}

}  // namespace berth::worker
