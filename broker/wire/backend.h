// Reading what PostgreSQL says: error fields, parameters, command tags.
#pragma once

#include <string>
#include <string_view>

#include "wire/frame.h"

namespace berth::wire {

// The fields of an ErrorResponse or NoticeResponse that the broker reads. Any of them may be missing (T9): then
// empty.
struct ErrorFields {
  std::string_view severity;  // V where sent (never translated), else S
  std::string_view sqlstate;
  std::string_view message;
  std::string_view detail;
  std::string_view hint;
};
ErrorFields parse_error(std::string_view body);

// The same message with every `from` in its M field replaced by `to`: for names that the broker gave to statements.
// Returns a whole message (head included) appended to `out`.
void put_error_renamed(std::string& out, char tag, std::string_view body, std::string_view from, std::string_view to);

// What a command tag means for the session's state.
enum class CommandEffect { kNone, kDeallocateAll, kDiscardAll, kReset };
inline CommandEffect command_effect(std::string_view body) {
  // Only three first letters matter; everything else leaves here at once.
  if (body.size() < 6 || (body[0] != 'D' && body[0] != 'R')) return CommandEffect::kNone;
  if (body == std::string_view("DISCARD ALL\0", 12)) return CommandEffect::kDiscardAll;
  if (body == std::string_view("DEALLOCATE ALL\0", 15)) return CommandEffect::kDeallocateAll;
  if (body == std::string_view("RESET\0", 6)) return CommandEffect::kReset;
  return CommandEffect::kNone;
}

}  // namespace berth::wire
