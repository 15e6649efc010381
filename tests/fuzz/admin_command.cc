// Fuzzes the console's parser: any text is either commands whose parts keep their limits, or one error; and a
// statement that was understood is understood the same way in a list.
#include <cstdint>
#include <string>

#include "admin/parser.h"
#include "base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace berth::admin;
  const std::string sql(reinterpret_cast<const char*>(data), size);
  const Parsed parsed = parse_commands(sql);
  if (!parsed.error.empty()) {
    ASSERT(parsed.commands.empty());
    return 0;
  }
  for (const Command& command : parsed.commands) {
    ASSERT(command.argument.size() <= kArgumentMax && command.value.size() <= kValueMax + 2);
    ASSERT(command.argument_parameter >= 0 && command.argument_parameter <= kParametersMax);
    ASSERT(command.value_parameter >= 0 && command.value_parameter <= kParametersMax);
    ASSERT(!command_tag(command).empty());
    ASSERT(role_needed(command) == Role::kAdmin || command.verb == Verb::kShow || command.verb >= Verb::kShowDriver);
  }
  const Parsed twice = parse_commands(sql + "\n;" + sql);
  ASSERT(twice.error.empty() && twice.commands.size() == 2 * parsed.commands.size());
  return 0;
}
