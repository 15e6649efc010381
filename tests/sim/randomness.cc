// In place of base/random.cc: the same "random" bytes in each run, so that names, keys and hashes are the same when a
// seed is replayed.
#include "base/random.h"

namespace berth {

void fill_secure(void* out, size_t size) {
  static Random same(42);
  auto* at = static_cast<unsigned char*>(out);
  for (size_t i = 0; i < size; ++i) at[i] = static_cast<unsigned char>(same.below(256));
}

}  // namespace berth
