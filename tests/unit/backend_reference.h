// What the bodies of servers' messages hold, by the manual's words (55.7 Message Formats, 55.8 Error and Notice
// Message Fields) and without the code under test: for the laws of wire_laws.h.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::wire {

struct ReferenceStrings {
  std::vector<std::string> list;
  bool whole = true;  // the last one has its zero, too
};

inline ReferenceStrings reference_strings(std::string_view bytes) {
  ReferenceStrings out;
  std::string one;
  for (const char c : bytes) {
    out.whole = c == '\0';
    if (out.whole) {
      out.list.push_back(one);
      one.clear();
    } else {
      one += c;
    }
  }
  return out;
}

inline bool same_strings(const std::vector<std::string_view>& read, const std::vector<std::string>& expected) {
  return std::equal(read.begin(), read.end(), expected.begin(), expected.end());
}

// The fields of an error: a code and a string each, up to a zero in place of a code.
using ReferenceFields = std::vector<std::pair<char, std::string>>;

inline ReferenceFields reference_fields(std::string_view body) {
  ReferenceFields out;
  size_t at = 0;
  while (at < body.size() && body[at] != '\0') {
    const size_t end = body.find('\0', at + 1);
    if (end == std::string_view::npos) break;
    out.emplace_back(body[at], body.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return out;
}

// A body with these fields, in which the primary message names `to` where it named `from`.
inline std::string reference_renamed(const ReferenceFields& fields, std::string_view from, std::string_view to) {
  std::string out;
  for (auto [code, value] : fields) {
    for (size_t at = 0; code == 'M' && !from.empty() && (at = value.find(from, at)) != std::string::npos;) {
      value.replace(at, from.size(), to);
      at += to.size();
    }
    out += code + value + '\0';
  }
  return out + '\0';
}

}  // namespace berth::wire
