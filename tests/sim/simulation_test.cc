// Goal: the production sessions and pools keep their promises whatever the network, PostgreSQL and the clients do.
// Method: worlds drawn from seeds (SIM_SEED=n replays one, SIM_SEEDS=n runs that many from SIM_FIRST on), each with
// an oracle per client and checkers at each step. SIM_TRACE=1 prints everything that happens. The default run fails,
// too, when a step between states or an event in a state was not seen that is no exception (coverage.cc);
// SIM_COVERAGE=1 prints all counts.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "base/log.h"
#include "sim/world.h"

namespace berth::sim {

static uint64_t current_seed = 0;
static constexpr uint64_t kDefaultSeeds = 8000;

static void say_seed(int signal) {
  fmt::print(stderr, "simulation: signal {} with seed {}: replay with SIM_SEED={} SIM_TRACE=1\n", signal,
             current_seed, current_seed);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

static std::string lines(const std::vector<std::string>& all) {
  std::string out;
  for (const std::string& line : all) out += "\n  " + line;
  return out;
}

// `strict`: the seeds are those of the default run.
static void judge_coverage(bool strict) {
  const Coverage& seen = coverage();
  const std::vector<std::string> missed = seen.missed(), unlisted = seen.unlisted(), overtaken = seen.overtaken();
  if (strict || std::getenv("SIM_COVERAGE")) fmt::print("{}", seen.report());
  if (std::getenv("SIM_COVERAGE")) fmt::print("unlisted:{}\n", lines(unlisted));
  fmt::print("coverage: {} of {} steps and events seen\n", seen.known() - missed.size(), seen.known());
  EXPECT_EQ(seen.forbidden, "") << "a step that the tables do not have";
  if (!strict) return;
  EXPECT_TRUE(missed.empty()) << "no world has shown:" << lines(missed);
  EXPECT_TRUE(unlisted.empty()) << "seen, and not on the lists of coverage.cc:" << lines(unlisted);
  EXPECT_TRUE(overtaken.empty()) << "exceptions that were seen after all:" << lines(overtaken);
}

static uint64_t number_of(const char* name, uint64_t preset) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : preset;
}

// Timeouts, hang-ups and kills come in every state, also while a connection closes (T28). What is opened again after
// a fault has the TLS of the first time (T25; sim_tls.cc looks at every connection).
TEST(Simulation, Worlds) {
  std::signal(SIGABRT, say_seed);
  std::signal(SIGSEGV, say_seed);
  LogTarget quiet;
  quiet.to_stderr = false;
  log_configure(quiet);
  coverage() = Coverage();  // of worlds; the scenarios of this program have shown what they say
  const bool one = std::getenv("SIM_SEED") != nullptr;
  const uint64_t first = number_of("SIM_SEED", number_of("SIM_FIRST", 1)),
                 count = one ? 1 : number_of("SIM_SEEDS", kDefaultSeeds);
  fmt::print("simulation: seeds {} to {}\n", first, first + count - 1);
  uint64_t steps = 0, statements = 0, failed = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    current_seed = seed;
    World world(seed);
    if (!world.run()) {
      ADD_FAILURE() << "seed " << seed << ": " << world.why() << "\nreplay with SIM_SEED=" << seed << " SIM_TRACE=1";
      if (++failed >= 10) break;
    }
    steps += world.steps();
    statements += world.statements();
  }
  fmt::print("simulation: {} steps, {} statements\n", steps, statements);
  judge_coverage(first == 1 && count == kDefaultSeeds && failed == 0);
}

}  // namespace berth::sim
