// Goal: the production sessions and pools keep their promises whatever the network, PostgreSQL and the clients do.
// Method: worlds drawn from seeds (SIM_SEED=n replays one, SIM_SEEDS=n runs that many from SIM_FIRST on), each with
// an oracle per client and checkers at each step. SIM_TRACE=1 prints everything that happens.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "base/log.h"
#include "sim/world.h"

namespace berth::sim {

static uint64_t current_seed = 0;

static void say_seed(int signal) {
  fmt::print(stderr, "simulation: signal {} with seed {}: replay with SIM_SEED={} SIM_TRACE=1\n", signal,
             current_seed, current_seed);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

static uint64_t number_of(const char* name, uint64_t preset) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : preset;
}

TEST(Simulation, Worlds) {
  std::signal(SIGABRT, say_seed);
  std::signal(SIGSEGV, say_seed);
  LogTarget quiet;
  quiet.to_stderr = false;
  log_configure(quiet);
  const bool one = std::getenv("SIM_SEED") != nullptr;
  const uint64_t first = number_of("SIM_SEED", number_of("SIM_FIRST", 1)),
                 count = one ? 1 : number_of("SIM_SEEDS", 2000);
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
}

}  // namespace berth::sim
