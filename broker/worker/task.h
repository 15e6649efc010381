// Work that visits workers. One object travels from thread to thread, so nothing that it touches is shared.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "session/context.h"

namespace berth::worker {

using session::Context;

class Task {
 public:
  virtual ~Task() = default;
  virtual void run(Context& context) = 0;  // on one worker's thread; may send itself on
};

// What the console asks of the fleet. Callable on any worker's thread and on the main thread.
class Dispatcher {
 public:
  // Runs `visit` on every worker in turn (0..n-1), each on its own thread, then `done` on worker `home`. Both may
  // touch what they captured without locks.
  virtual void visit_all(int home, std::function<void(Context&)> visit, std::function<void(Context&)> done) = 0;
  // Reads the configuration file again; the answer (an error text, empty: done) comes on worker `home`.
  virtual void reload(int home, std::function<void(Context&, std::string)> done) = 0;
  virtual void request_shutdown(session::Shutdown how) = 0;
  // Changes one setting of what runs (SET); the answer as above. Main does it, one after the other: it owns the
  // configuration, so that a reload starts from it and two SET at once are both kept.
  virtual void set_option(int home, std::string key, std::string value,
                          std::function<void(Context&, std::string)> done) = 0;

 protected:
  ~Dispatcher() = default;
};

}  // namespace berth::worker
