// PgBouncer's ini format once more, from config/ini.h's description and with nothing of the broker's own: the
// settings of a text and the places of its mistakes, and the pairs of a connection string.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::ini_reference {

struct Setting {
  std::string section, key, value, file;
  int line;
};

inline std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin));
}

class Reader {
 public:
  using Files = std::function<std::optional<std::string>(const std::string&)>;
  explicit Reader(Files files) : files_(std::move(files)) {}

  void read(const std::string& text, const std::string& file, int depth = 0) {
    size_t begin = 0;
    for (int number = 1; begin < text.size() && !stopped_; ++number) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string line = trimmed(std::string_view(text).substr(begin, end - begin));
      begin = end + 1;
      const size_t mistakes = mistaken.size();
      if (!take(line, file, number, depth)) mistaken.emplace_back(file, number);
      stopped_ = stopped_ || (mistaken.size() != mistakes && mistaken.size() >= 1000);
    }
  }

  std::vector<Setting> settings;
  std::vector<std::pair<std::string, int>> mistaken;

 private:
  bool take(const std::string& line, const std::string& file, int number, int depth) {
    if (line.empty() || line[0] == ';' || line[0] == '#') return true;
    if (line.find('\0') != std::string::npos) return false;
    if (line[0] == '%') return include(line, depth);
    if (line[0] == '[') {
      if (line.back() != ']' || line.size() < 3) return false;
      section_ = trimmed(line.substr(1, line.size() - 2));
      if (section_ == "pgberth") section_ = "pgbouncer";
      return true;
    }
    std::string key;
    size_t equals = line.find('=');
    if (line[0] == '"') {
      size_t at = 1;
      for (; at < line.size() && (line[at] != '"' || line[++at] == '"'); ++at) key += line[at];
      equals = line.find('=', at);
      if (equals == std::string::npos || !trimmed(line.substr(at, equals - at)).empty()) return false;
    } else if (equals != std::string::npos) {
      key = trimmed(line.substr(0, equals));
    }
    if (equals == std::string::npos || key.empty() || section_.empty()) return false;
    settings.push_back({section_, key, trimmed(line.substr(equals + 1)), file, number});
    return true;
  }

  bool include(const std::string& line, int depth) {
    const std::string name = line.starts_with("%include") ? trimmed(line.substr(8)) : "";
    if (name.empty() || trimmed(line.substr(8, 1)) != "") return false;
    if (depth >= 16) {
      stopped_ = true;
      return false;
    }
    const std::optional<std::string> text = files_(name);
    if (text) read(*text, name, depth + 1);
    return text.has_value();
  }

  Files files_;
  std::string section_;
  bool stopped_ = false;
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

// key = value, as libpq reads a connection string, save that '' and not \' is a quote in quotes. Nothing: a mistake.
inline std::optional<Pairs> pairs_of(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  Pairs pairs;
  const auto skip = [&] { text.remove_prefix(std::min(text.find_first_not_of(kSpaces), text.size())); };
  for (skip(); !text.empty(); skip()) {
    const std::string key(text.substr(0, text.find_first_of(" \t\n\v\f\r=")));
    text.remove_prefix(key.size());
    skip();
    if (key.empty() || !text.starts_with('=')) return std::nullopt;
    text.remove_prefix(1);
    skip();
    if (text.empty()) return std::nullopt;
    std::string value;
    if (text[0] != '\'') {
      value = text.substr(0, text.find_first_of(kSpaces));
      text.remove_prefix(value.size());
    } else {
      do {  // each turn takes one '...', and what follows at once belongs to the same value
        const size_t end = text.find('\'', 1);
        if (end == std::string_view::npos) return std::nullopt;
        value += text.substr(1, end - 1);
        text.remove_prefix(end + 1);
        if (text.starts_with('\'')) value += '\'';
      } while (text.starts_with('\''));
      if (!text.empty() && kSpaces.find(text[0]) == std::string_view::npos) return std::nullopt;
    }
    pairs.emplace_back(key, value);
  }
  return pairs;
}

}  // namespace berth::ini_reference
