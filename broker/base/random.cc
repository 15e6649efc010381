// The operating system's randomness, alone in this file: the simulation puts its own in place, so that a seed
// replays.
#include "base/random.h"

#include <sys/random.h>

namespace berth {

void fill_secure(void* out, size_t size) {
  char* at = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = getrandom(at, size, 0);
    if (got < 0) continue;  // EINTR: the only error for a blocking call with a valid buffer
    at += got;
    size -= static_cast<size_t>(got);
  }
}

}  // namespace berth
