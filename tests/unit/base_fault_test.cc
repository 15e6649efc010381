// Goal: a planted bug is in the build that was made for it, and nowhere else. Method: in other builds the compiler
// has to see a constant; in that one the environment decides (that an unknown name ends the process,
// tests/planted/run.py sees).
#include "base/fault.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

namespace berth {
namespace {

#ifndef BERTH_FAULTS
static_assert(!FAULT(release_too_early), "planted bugs must cost nothing in this build");
#endif

TEST(Fault, OnlyTheOneThatIsNamedInABuildThatHasThem) {
#ifdef BERTH_FAULTS
  const char* name = std::getenv("PGBERTH_FAULT");
#else
  const char* name = nullptr;
#endif
  EXPECT_EQ(FAULT(release_too_early), name && std::string_view(name) == "release_too_early");
  EXPECT_EQ(FAULT(rollback_skipped), name && std::string_view(name) == "rollback_skipped");
}

}  // namespace
}  // namespace berth
