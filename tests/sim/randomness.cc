// In place of base/random.cc: the same "random" bytes in each run, so that names, keys and hashes are the same when a
// seed is replayed.
#include "base/random.h"

#include "sim/dice.h"

namespace berth {

static Random& same() {
  static Random instance(42);
  return instance;
}

void sim::restart_secure() {
  same() = Random(42);
}

void fill_secure(void* out, size_t size) {
  auto* at = static_cast<unsigned char*>(out);
  for (size_t i = 0; i < size; ++i) at[i] = static_cast<unsigned char>(same().below(256));
}

}  // namespace berth
