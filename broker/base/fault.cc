// Which planted bug a build with BERTH_FAULTS has: the one that the environment names.
#include "base/fault.h"

#ifdef BERTH_FAULTS

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace berth {
namespace {

struct Entry {
  const char* name;
  const char* what;
};
constexpr auto kFaults = std::to_array<Entry>({
#define FAULT_ENTRY(name, what) {#name, what},
#include "base/faults.def"
#undef FAULT_ENTRY
});

// A name that is not in the list would be a test that tests nothing, so it ends the process.
Fault named_fault() {
  const char* wanted = std::getenv("PGBERTH_FAULT");
  if (!wanted || !*wanted) return Fault::kNone;
  for (size_t i = 0; i < kFaults.size(); ++i) {
    if (std::string_view(kFaults[i].name) != wanted) continue;
    std::fprintf(stderr, "planted bug: %s\n", kFaults[i].what);
    return static_cast<Fault>(i + 1);
  }
  std::fprintf(stderr, "PGBERTH_FAULT=%s: there is no such fault; there are\n", wanted);
  for (const Entry& fault : kFaults) std::fprintf(stderr, "  %-28s %s\n", fault.name, fault.what);
  std::abort();
}

const Fault planted = named_fault();  // kNone for what runs before this

}  // namespace

bool is_planted(Fault fault) {
  return fault == planted;
}

}  // namespace berth

#endif
