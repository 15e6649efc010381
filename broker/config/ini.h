// PgBouncer's ini format as a flat list of settings, includes followed. Pure: files are read through a function that
// the caller gives. What is accepted, line by line (spaces at both ends do not count):
//
//   1. empty, or starting with ; or #      a comment; these characters mean nothing later in a line
//   2. %include FILE                       FILE's lines stand here, in the section that is open
//   3. [section]                           until the next one, also across the border of an include
//   4. key = value                         the value is the rest of the line; it may be empty
//   5. "key" = value                       the key may have any characters, "" stands for a double quote
//
// Everything else is a mistake; reading goes on after it, so that all are found at once.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace berth::config {

inline constexpr size_t kMaxIncludeDepth = 16;
inline constexpr size_t kMaxIncludes = 10'000;  // in all: what includes itself twice would double at each level
inline constexpr size_t kMaxMistakes = 1000;    // then it is no ini file
inline constexpr size_t kMaxSettings = 1'000'000;

struct Setting {
  std::string section;
  std::string key;
  std::string value;
  std::string file;
  int line = 0;
};

struct Ini {
  std::vector<Setting> settings;
  bool has_broker_section = false;  // [pgbouncer], or [pgberth], if without a setting
  std::vector<Remark> mistakes;
};

// Returns a file's text, or an Error with the reason.
using ReadFile = std::function<Result<std::string>(const std::string& path)>;

Ini parse_ini(const std::string& path, const ReadFile& read);

}  // namespace berth::config
