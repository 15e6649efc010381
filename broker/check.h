// --check: all that is wrong with a configuration, as the broker's user finds it. Starts nothing.
#pragma once

#include "boot.h"

namespace berth {

// Warnings go to stdout, mistakes to stderr. The exit status: 0 if there is no mistake. Root becomes the broker's
// user on the way, for whom files may not be readable that are so for root.
int check_config(const CommandLine& command);

}  // namespace berth
