// The words of a line of auth_hba_file, auth_ident_file or a file of names: fields between spaces, each a list with
// commas. Quotes are PostgreSQL's: they keep spaces, commas and #, "" inside them is one quote. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace berth::config {

struct HbaWord {
  std::string text;
  bool quoted = false;  // begins with a quote: no keyword, no @file
  bool is(std::string_view keyword) const { return !quoted && text == keyword; }
};
using HbaField = std::vector<HbaWord>;  // never empty

Result<std::vector<HbaField>> split_hba_line(std::string_view line);

}  // namespace berth::config
