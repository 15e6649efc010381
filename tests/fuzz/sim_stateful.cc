// Fuzzes whole sessions: the production sessions, pools, workers and console on the simulated network and PostgreSQL,
// with every check of the simulation on.
#include "fuzz/sim_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::sim::run_world(data, size, berth::sim::Choices::Subject::kAnything);
  return 0;
}
