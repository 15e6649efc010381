// For the fuzz targets of the simulation: one input as a world. The first two bytes are its seed, the others say who
// does what (tests/sim/world_program.cc). SIM_TRACE=1 prints what an input means, event by event.
#pragma once

#include <cstdint>

#include "base/assert.h"
#include "base/log.h"
#include "sim/world.h"

// Beside edges of the code: which events have followed one another. libFuzzer takes whatever stands in this section.
__attribute__((section("__libfuzzer_extra_counters"), used)) static uint8_t seen[4096];

// A world allocates much and lives shortly.
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=4:quarantine_size_mb=32";
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  berth::LogTarget quiet;
  quiet.to_stderr = false;
  berth::log_configure(quiet);
  return 0;
}

namespace berth::sim {

inline void run_world(const uint8_t* data, size_t size, Choices::Subject subject) {
  if (size < 2) return;
  Choices choices(data + 2, size - 2);
  choices.subject = subject;
  choices.seen = seen;
  World world(static_cast<uint64_t>(data[0]) << 8 | data[1], &choices);
  if (world.run()) return;
  fmt::print(stderr, "{}\n", world.why());
  assert_failed("a world where something is wrong", __FILE__, __LINE__);
}

}  // namespace berth::sim
