// How the link's thread sleeps: in poll(2), until a descriptor is ready, a time has come, or somebody rings.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdint>

#include "base/assert.h"
#include "base/time.h"

namespace berth::link {

class Doorbell {
 public:
  Doorbell() : descriptor_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { ASSERT(descriptor_ >= 0); }
  ~Doorbell() { ::close(descriptor_); }
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // Any thread.
  void ring() const {
    const uint64_t one = 1;
    (void)!write(descriptor_, &one, sizeof one);  // fails only when it rings already
  }
  // The thread that sleeps: the first of what it polls, and what it does when that is ready.
  pollfd polled() const { return {descriptor_, POLLIN, 0}; }
  void quiet() const {
    uint64_t count;
    (void)!read(descriptor_, &count, sizeof count);
  }

 private:
  const int descriptor_;
};

// poll's timeout in milliseconds, rounded up; -1: none.
inline int poll_timeout(Micros until, Micros now) {
  if (until == kNever || until - now > Micros{INT_MAX} * kMillisecond) return -1;
  return static_cast<int>(std::max<Micros>(0, (until - now + kMillisecond - 1) / kMillisecond));
}

}  // namespace berth::link
