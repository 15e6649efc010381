// Fuzzes cancel requests (15, T14): packets of any bytes, many of them close to a right one, while clients have
// statements under way. Only who gets just the right number and key may be cancelled, and only the statement that it
// waits for.
#include "fuzz/sim_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::sim::run_world(data, size, berth::sim::Choices::Subject::kCancels);
  return 0;
}
