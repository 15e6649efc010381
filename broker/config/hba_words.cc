// See hba_words.h.
#include "config/hba_words.h"

namespace berth::config {

namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Takes one word from the front. False: a quote is not closed.
bool take_word(std::string_view& line, HbaWord& out) {
  out.quoted = line.front() == '"';
  bool inside = false;
  size_t at = 0;
  for (; at < line.size(); ++at) {
    const char c = line[at];
    if (inside && c == '"' && at + 1 < line.size() && line[at + 1] == '"') {
      out.text += c;
      ++at;
    } else if (c == '"') {
      inside = !inside;
    } else if (!inside && (is_space(c) || c == ',' || c == '#')) {
      break;
    } else {
      out.text += c;
    }
  }
  line.remove_prefix(at);
  return !inside;
}

}  // namespace

Result<std::vector<HbaField>> split_hba_line(std::string_view line) {
  std::vector<HbaField> fields;
  bool comma = false;  // the next word belongs to the last field
  if (line.find('\0') != std::string_view::npos) return Error{"a zero byte in the line", {}};
  while (!line.empty() && line.front() != '#') {
    if (is_space(line.front())) {
      line.remove_prefix(1);
      continue;
    }
    if (line.front() == ',') {
      if (comma || fields.empty()) return Error{"a comma without a name before it", {}};
      comma = true;
      line.remove_prefix(1);
      continue;
    }
    HbaWord word;
    if (!take_word(line, word)) return Error{"a double quote is not closed", {}};
    if (!comma) fields.emplace_back();
    fields.back().push_back(std::move(word));
    comma = false;
  }
  if (comma) return Error{"a comma without a name behind it", {}};
  return fields;
}

}  // namespace berth::config
