// Goal: what happens in a world depends on its seed and choices only, so that a fuzzer's input, or a seed that has
// failed after thousands of others, shows the same again. Method: the same world before and after another one, line
// by line of its trace.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/log.h"
#include "sim/world.h"

namespace berth::sim {
namespace {

using Subject = Choices::Subject;

std::string trace_of(uint64_t seed, const std::string* input, Subject subject) {
  LogTarget quiet;
  quiet.to_stderr = false;
  log_configure(quiet);
  std::string trace;
  if (!input) {
    World world(seed, nullptr, &trace);
    EXPECT_TRUE(world.run()) << world.why();
    return trace;
  }
  Choices choices(reinterpret_cast<const uint8_t*>(input->data()), input->size());
  choices.subject = subject;
  World world(seed, &choices, &trace);
  EXPECT_TRUE(world.run()) << world.why();
  return trace;
}

void expect_same(uint64_t seed, const std::string* input, Subject subject) {
  const std::string first = trace_of(seed, input, subject);
  trace_of(seed + 1, input, subject);
  const std::string second = trace_of(seed, input, subject);
  if (first == second) return;
  const auto [at, other] = std::mismatch(first.begin(), first.end(), second.begin(), second.end());
  const size_t line = first.rfind('\n', static_cast<size_t>(at - first.begin())) + 1;
  ADD_FAILURE() << "seed " << seed << " differs:\n"
                << first.substr(line, 300) << "\n--\n"
                << second.substr(line, 300);
}

TEST(Replay, ASeedIsTheSameBehindAnother) {
  // 12: auth_query; 13: SCRAM. More are what Simulation.Worlds replays by.
  for (uint64_t seed = 1; seed <= 60; ++seed) expect_same(seed, nullptr, Subject::kAnything);
}

TEST(Replay, AnInputIsTheSameBehindAnother) {
  Random random(7);
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::string input;
    for (int i = 0; i < 300; ++i) input += static_cast<char>(random.below(256));
    const auto subject = static_cast<Subject>(seed % 3);
    expect_same(seed, &input, subject);
  }
}

}  // namespace
}  // namespace berth::sim
