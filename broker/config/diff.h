// What a reload changes, for the log, and what it cannot change while the process runs.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace berth::config {

struct Diff {
  // Readable, one change each: `query_wait_timeout: 120 -> 60`, `database "shop" added`. No secrets.
  std::vector<std::string> lines;
  // Options that the file changes but that only a restart can change.
  std::vector<std::string> needs_restart;
  // Databases whose servers must be replaced: where they are, as whom, or how they are set up has changed. Fallbacks
  // count by their name "*".
  std::vector<std::string> reconnect;
  std::vector<std::string> removed_databases;

  bool empty() const { return lines.empty() && needs_restart.empty(); }
};

Diff diff_configs(const Config& running, const Config& loaded);

// Why a reload may not take `loaded`, or "". A section without a setting is as good as any at a start; but where one
// with settings runs it is what an editor or a copy that was cut off has left, and would take everything away.
std::string cut_off(const Config& running, const Config& loaded);

// What is to run after a reload: `loaded`, but with the running values of the options that need a restart.
std::shared_ptr<const Config> merge_reload(const Config& running, const Config& loaded);

}  // namespace berth::config
