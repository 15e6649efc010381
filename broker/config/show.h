// The console's SHOW CONFIG and SET.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace berth::config {

struct ShowRow {
  std::string key;
  std::string value;
  std::string preset;       // the column "default"
  bool changeable = false;  // "yes": by SET or a reload
  bool ignored = false;     // accepted without effect, and set to something else than the default
};

// All options in alphabetical order, values as PgBouncer prints them (times in seconds, truth values as 0 or 1).
std::vector<ShowRow> show_config(const Config& config);

// SET key = value: a changed copy, or why not. It holds until the next reload.
Result<std::shared_ptr<const Config>> set_option(const Config& config, std::string_view key, std::string_view value);

}  // namespace berth::config
