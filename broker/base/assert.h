// ASSERT: what only we can break. Always on, in every build: a wrong state ends the process with the place, before
// one client could read another's bytes. What peers, users and the operating system can break is a Result instead.
#pragma once

namespace berth {
[[noreturn]] void assert_failed(const char* condition, const char* file, int line);
}

#define ASSERT(condition) \
  (__builtin_expect(!!(condition), 1) ? (void)0 : ::berth::assert_failed(#condition, __FILE__, __LINE__))
