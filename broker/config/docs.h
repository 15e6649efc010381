// docs/config.md, generated from options.def: `pgberth --docs config` prints it, a unit test compares it.
#pragma once

#include <string>

namespace berth::config {

std::string config_markdown();

}  // namespace berth::config
