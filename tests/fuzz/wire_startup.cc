// Fuzzes the first packet of a connection and the parameter `options` in it (T1, T7, T14). The input is the packet's
// bytes. Laws: see startup_law and options_law.
#include "fuzz/wire_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace berth::wire;
  const std::string_view bytes = view_of(data, size);
  must(startup_law(bytes));
  for (const auto& [name, value] : parse_startup(bytes).parameters) {
    if (name == "options") must(options_law(value));
  }
  must(options_law(bytes));
  return 0;
}
