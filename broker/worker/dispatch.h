// The Dispatcher for real threads: tasks that visit the workers, and what only the main thread does.
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "worker/worker.h"

namespace berth::worker {

class FleetDispatcher final : public Dispatcher {
 public:
  // The caller is the main thread; `wake_signal` is blocked in every thread and wakes main's sigtimedwait.
  FleetDispatcher(Fleet& fleet, int wake_signal) : fleet_(fleet), main_(pthread_self()), wake_signal_(wake_signal) {}

  void visit_all(int home, std::function<void(Context&)> visit, std::function<void(Context&)> done) override;
  void reload(int home, std::function<void(Context&, std::string)> done) override;
  void request_shutdown(session::Shutdown how) override;
  void set_option(int home, std::string key, std::string value,
                  std::function<void(Context&, std::string)> done) override;

  // ---- main thread only
  // Reads the file again and puts it in place. Empty: done; else what is wrong (the running configuration stays).
  std::function<std::string()> on_reload;
  // Changes one setting and puts the result in place; answers as on_reload does.
  std::function<std::string(const std::string& key, const std::string& value)> on_set;
  std::function<void(session::Shutdown)> on_shutdown;
  // Runs what other threads have asked for.
  void run_pending();
  // Puts a configuration in place on all workers, from main.
  void spread(std::shared_ptr<const config::Config> next);

 private:
  void post_to_main(std::function<void()> work);
  void answer(int home, std::function<void(Context&, std::string)> done, std::string error);

  Fleet& fleet_;
  const pthread_t main_;
  const int wake_signal_;
  std::mutex mutex_;
  std::vector<std::function<void()>> pending_;  // guarded by mutex_
};

}  // namespace berth::worker
