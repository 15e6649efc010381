// Planted bugs: the tests' own test. FAULT(name) is the constant false, and the compiler drops what depends on it; in
// a build with BERTH_FAULTS it is true when the environment variable PGBERTH_FAULT names it. In the code a planted
// bug is one more condition, as in `if (half_sent && !FAULT(half_message_continued)) ...`.
#pragma once

#include <cstdint>

namespace berth {

enum class Fault : uint8_t {
  kNone,
#define FAULT_ENTRY(name, what) name,
#include "base/faults.def"
#undef FAULT_ENTRY
};

#ifdef BERTH_FAULTS
// Any thread: PGBERTH_FAULT is read once, before main.
bool is_planted(Fault fault);
#else
constexpr bool is_planted(Fault) {
  return false;
}
#endif

}  // namespace berth

#define FAULT(name) (::berth::is_planted(::berth::Fault::name))
