// Reading what PostgreSQL says: logins, parameters, error fields, command tags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/frame.h"

namespace berth::wire {

// Each reads one body to its last byte. False: malformed (T24).
bool parse_parameter_status(std::string_view body, std::string_view& name, std::string_view& value);
// BackendKeyData with a key of either protocol, 3.0 or 3.2.
bool parse_key_data(std::string_view body, uint32_t& pid, std::string_view& key);
bool parse_negotiation(std::string_view body, uint32_t& version, std::vector<std::string_view>& unknown);
// Authentication: what is asked for, and what follows the code.
bool parse_authentication(std::string_view body, uint32_t& code, std::string_view& rest);
// The names in AuthenticationSASL, which an empty one ends.
bool parse_mechanisms(std::string_view rest, std::vector<std::string_view>& names);

// The fields of an ErrorResponse or NoticeResponse that the broker reads. Any of them may be missing (T9): then
// empty.
struct ErrorFields {
  std::string_view severity;  // V where sent (never translated), else S
  std::string_view sqlstate;
  std::string_view message;
  std::string_view detail;
  std::string_view hint;
  std::string_view routine;  // of PostgreSQL's source
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
