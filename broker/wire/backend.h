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
enum class CommandEffect { kNone, kDeallocateAll, kDiscardAll, kReset, kListen, kPrepare, kCursor, kSet, kEnd };
CommandEffect effect_of_rare_tag(std::string_view body);
inline CommandEffect command_effect(std::string_view body) {
  // Tags with a count of rows (SELECT, INSERT, UPDATE, ...) are those of most queries and mean nothing: they end in a
  // digit. So do none of the others; the body ends in a NUL.
  if (body.size() < 4 || body[body.size() - 2] <= '9') return CommandEffect::kNone;
  return effect_of_rare_tag(body);
}

}  // namespace berth::wire
