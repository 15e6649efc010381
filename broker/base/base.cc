// The few lines of base/ that touch the operating system: clock, randomness, the end of a failed assertion.
#include <sys/random.h>
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

void fill_secure(void* out, size_t size) {
  char* at = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = getrandom(at, size, 0);
    if (got < 0) continue;  // EINTR: the only error for a blocking call with a valid buffer
    at += got;
    size -= static_cast<size_t>(got);
  }
}

}  // namespace berth
