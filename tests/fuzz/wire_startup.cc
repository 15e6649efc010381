// Fuzzes the first packet of a connection and what stands in it: protocol version, parameters, `options`,
// `replication` (T1, T7, T14). The input is the packet's bytes, and once more, as it is, the text of either
// parameter. All is compared with PostgreSQL's rules as unit/startup_reference.h has them, in both directions; where
// the broker takes less, it says so. Laws: see startup_law, options_law and replication_law.
#include "fuzz/wire_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace berth::wire;
  const std::string_view bytes = view_of(data, size);
  must(startup_law(bytes));
  for (const auto& [name, value] : parse_startup(bytes).parameters) {
    if (name == "options") must(options_law(value));
    if (name == "replication") must(replication_law(value));
  }
  must(options_law(bytes));
  must(replication_law(bytes));
  return 0;
}
