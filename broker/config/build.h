// From the settings of an ini file to a Config. Pure; load.h adds the files.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/ini.h"

namespace berth::config {

struct Built {
  Config config;  // without secrets yet; complete only if there is no mistake
  std::vector<Remark> mistakes;
};

// Takes over the mistakes that `ini` has already. The Config is indexed.
Built build_config(Ini ini, const std::string& path);

// The lines of an Error: one for each mistake.
std::string describe(const std::vector<Remark>& mistakes);

}  // namespace berth::config
