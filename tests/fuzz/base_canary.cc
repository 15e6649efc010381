// The fuzzers' own test: a target with a planted overflow behind a magic word. tests/fuzz/run.py demands that the
// fuzzer finds it; if it does not, coverage feedback or the sanitizer is not at work, and the other targets' silence
// says nothing.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

// Volatile, so that the read behind the end is not optimized away.
volatile uint8_t canary_sink;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> copy(data, data + size);
  if (size >= 5 && std::memcmp(data, "berth", 5) == 0) canary_sink = *(copy.data() + size);
  return 0;
}
