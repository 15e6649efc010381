// From the text of a query to commands. Pure: no state, no configuration.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "admin/commands.h"

namespace berth::admin {

struct Parsed {
  std::vector<Command> commands;  // none: an empty query
  std::string error;              // not empty: nothing of the query is to be run
};

// Reads statements separated by semicolons, as a simple Query carries them. Keywords in any case; white space and SQL
// comments between words; names as they are, in double quotes where they have odd letters; values as words, as lists
// of words, or in single quotes. Wider than PgBouncer's one statement of at most one argument, and with its texts of
// errors.
Parsed parse_commands(std::string_view sql);

inline constexpr size_t kArgumentMax = 63;      // a database, a client's id
inline constexpr size_t kValueMax = 16 * 1024;  // of SET
inline constexpr int kParametersMax = 16;       // $1 to $16

}  // namespace berth::admin
