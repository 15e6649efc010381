// Fuzzes the whole way from an ini file's text to a Config. The input is the file; "b" is a file that it may
// include, and is the input's second half. Checked: nothing breaks, limits hold, and a Config without mistakes agrees
// with itself.
#include <cstdint>
#include <string>

#include "base/assert.h"
#include "config/build.h"
#include "config/diff.h"
#include "config/options.h"
#include "config/show.h"

namespace berth::config {

static void try_input(const std::string& text) {
  size_t reads = 0;
  const ReadFile read = [&](const std::string& path) -> Result<std::string> {
    ++reads;
    if (path == "a") return text;
    // Only the first few includes are answered, so that no input is slow.
    if (path == "b" && reads < 50) return text.substr(text.size() / 2);
    return Error{"absent", {}};
  };
  Ini ini = parse_ini("a", read);
  ASSERT(ini.settings.size() <= kMaxSettings);
  const size_t syntax = ini.mistakes.size();
  const Built built = build_config(std::move(ini), "a");
  ASSERT(built.mistakes.size() >= syntax);
  ASSERT(describe(built.mistakes).empty() == built.mistakes.empty());
  const Config& config = built.config;
  for (const DatabaseEntry& database : config.databases) {
    const DatabaseEntry* found = config.find_database(database.name);
    ASSERT(found && found->name == database.name);
    ASSERT(database.is_fallback == (database.name == "*"));
    if (!built.mistakes.empty()) continue;
    ASSERT(database.port >= 1 && database.port <= 65535);
    ASSERT(config.min_pool_size(database, nullptr) <= config.pool_size(database, nullptr));
  }
  ASSERT(diff_configs(config, config).empty());
  ASSERT(show_config(config).size() == all_options().size());
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
