// A server's text as the log and SHOW have it.
#pragma once

#include <string>
#include <string_view>

namespace berth::link {

// In one line, and without white space at its ends.
inline std::string one_line(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    const bool space = static_cast<unsigned char>(letter) <= ' ';
    if (!space) {
      out += letter;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace berth::link
