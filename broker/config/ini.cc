// See ini.h for the grammar; the numbers of its cases stand at the functions that take them.
#include "config/ini.h"

#include <fmt/format.h>

#include <optional>

#include "config/values.h"

namespace berth::config {

namespace {

// Reads one tree of files. The open section lives across includes.
class IniReader {
 public:
  IniReader(const ReadFile& read, Ini& out) : read_(read), out_(out) {}

  void read_text(std::string_view text, const std::string& file, size_t depth) {
    int line = 0;
    while (!text.empty() && !full_) {
      const size_t end = std::min(text.find('\n'), text.size());
      take_line(trim(text.substr(0, end)), file, ++line, depth);
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

 private:
  void take_line(std::string_view line, const std::string& file, int number, size_t depth) {
    if (line.empty() || line.front() == ';' || line.front() == '#') return;
    if (line.find('\0') != std::string_view::npos) return mistake(file, number, "", "a zero byte in the line");
    if (line.front() == '%') return take_directive(line, file, number, depth);
    if (line.front() == '[') return take_section(line, file, number);
    take_setting(line, file, number);
  }

  // Case 2.
  void take_directive(std::string_view line, const std::string& file, int number, size_t depth) {
    constexpr std::string_view kInclude = "%include";
    const std::string_view rest = line.substr(std::min(kInclude.size(), line.size()));
    if (!line.starts_with(kInclude) || trim(rest).empty() || trim(rest.substr(0, 1)).size() != 0) {
      return mistake(file, number, "", "only %include FILE may start with %");
    }
    const std::string path(trim(rest));
    if (depth >= kMaxIncludeDepth) {
      full_ = true;
      return mistake(
          file, number, "%include",
          fmt::format("more than {} levels of includes: does \"{}\" include itself?", kMaxIncludeDepth, path));
    }
    if (++includes_ > kMaxIncludes) {
      full_ = true;
      return mistake(file, number, "%include", fmt::format("more than {} includes", kMaxIncludes));
    }
    const Result<std::string> text = read_(path);
    if (!text) return mistake(file, number, "%include", text.error().text);
    read_text(text.value(), path, depth + 1);
  }

  // Case 3.
  void take_section(std::string_view line, const std::string& file, int number) {
    if (line.back() != ']' || line.size() < 3) {
      return mistake(file, number, "", "a section is written [name], with nothing after it");
    }
    section_ = std::string(trim(line.substr(1, line.size() - 2)));
    if (section_ == "pgberth") section_ = "pgbouncer";  // two names of one section
    out_.has_broker_section = out_.has_broker_section || section_ == "pgbouncer";
  }

  // Cases 4 and 5.
  void take_setting(std::string_view line, const std::string& file, int number) {
    Setting setting{section_, {}, {}, file, number};
    const std::optional<std::string_view> rest = take_key(line, setting.key);
    if (!rest) {
      return mistake(file, number, "", "expected \"key = value\", a [section], %include or a comment");
    }
    if (section_.empty()) return mistake(file, number, setting.key, "it stands before any [section]");
    setting.value = std::string(*rest);
    out_.settings.push_back(std::move(setting));
    if (out_.settings.size() >= kMaxSettings) {
      full_ = true;
      mistake(file, number, "", fmt::format("more than {} settings", kMaxSettings));
    }
  }

  // Splits "key = value" at the first '=' outside the quotes of a quoted key. Returns the value.
  static std::optional<std::string_view> take_key(std::string_view line, std::string& key) {
    std::string_view after;
    if (line.front() == '"') {
      size_t at = 1;
      for (;; ++at) {
        if (at >= line.size()) return std::nullopt;  // the quote is not closed
        if (line[at] == '"') {
          if (at + 1 >= line.size() || line[at + 1] != '"') break;
          ++at;
        }
        key.push_back(line[at]);
      }
      after = trim(line.substr(at + 1));
    } else {
      const size_t equals = line.find('=');
      if (equals == std::string_view::npos) return std::nullopt;
      key = std::string(trim(line.substr(0, equals)));
      after = line.substr(equals);
    }
    if (key.empty() || after.empty() || after.front() != '=') return std::nullopt;
    return trim(after.substr(1));
  }

  void mistake(const std::string& file, int line, std::string key, std::string text) {
    out_.mistakes.push_back({file, line, std::move(key), std::move(text)});
    if (out_.mistakes.size() >= kMaxMistakes) full_ = true;
  }

  const ReadFile& read_;
  Ini& out_;
  std::string section_;
  size_t includes_ = 0;
  bool full_ = false;  // a limit is reached: nothing more is read
};

}  // namespace

Ini parse_ini(const std::string& path, const ReadFile& read) {
  Ini ini;
  const Result<std::string> text = read(path);
  if (!text) {
    ini.mistakes.push_back({path, 0, {}, text.error().text});
    return ini;
  }
  IniReader(read, ini).read_text(text.value(), path, 0);
  return ini;
}

}  // namespace berth::config
