// For tests of the login machines that do not care where slow work is done: it is done at once.
#pragma once

#include <string_view>

#include "auth/exchange.h"

namespace berth::auth {

// Feeds one message; when the step is work, runs it and goes on.
template <typename Machine>
Step feed_through(Machine& machine, std::string_view body) {
  Step step = machine.feed(body);
  while (step.kind == Step::Kind::kWork) {
    step.work->run();
    step = machine.resume(*step.work);
  }
  return step;
}

}  // namespace berth::auth
