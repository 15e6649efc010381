// Fuzzes how Parse, Bind, Describe and Close travel under the broker's names: clients with names and values of any
// bytes in a quiet world, each with the oracle that says what PostgreSQL alone would have answered.
#include "fuzz/sim_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::sim::run_world(data, size, berth::sim::Choices::Subject::kStatements);
  return 0;
}
