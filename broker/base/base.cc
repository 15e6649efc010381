// The few lines of base/ that touch the operating system: clock, the end of a failed assertion.
#include <time.h>

#include <cstdio>
#include <cstdlib>

#include "base/assert.h"
#include "base/log.h"
#include "base/random.h"
#include "base/siphash.h"
#include "base/time.h"

namespace berth {

void assert_failed(const char* condition, const char* file, int line) {
  log_line(LogLevel::kFatal, fmt::format("assertion failed: {} at {}:{}", condition, file, line));
  std::fprintf(stderr, "assertion failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

static Micros read_clock(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<Micros>(time.tv_sec) * kSecond + time.tv_nsec / 1000;
}

Micros monotonic_now() {
  return read_clock(CLOCK_MONOTONIC);
}
Micros wall_now() {
  return read_clock(CLOCK_REALTIME);
}

const SipKey& process_key() {
  static const SipKey key = [] {
    SipKey drawn;
    fill_secure(&drawn, sizeof drawn);
    return drawn;
  }();
  return key;
}

}  // namespace berth
