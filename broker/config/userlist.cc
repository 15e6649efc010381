// See userlist.h.
#include "config/userlist.h"

#include <fmt/format.h>

#include <optional>

#include "base/fault.h"
#include "config/secret_form.h"
#include "config/values.h"

namespace berth::config {

namespace {

// Takes "text" from the front of `line`. Nothing: it does not start with a quote, or the quote is not closed.
std::optional<std::string> take_quoted(std::string_view& line) {
  if (line.empty() || line.front() != '"') return std::nullopt;
  std::string out;
  for (size_t at = 1; at < line.size(); ++at) {
    if (line[at] == '"') {
      if (at + 1 >= line.size() || line[at + 1] != '"') {
        line.remove_prefix(at + 1);
        return out;
      }
      ++at;
    }
    out.push_back(line[at]);
  }
  return std::nullopt;
}

void take_line(std::string_view line, const std::string& file, int number, Userlist& out) {
  line = trim(line);
  if (line.empty() || line.front() == ';' || line.front() == '#') return;
  const auto mistake = [&](std::string key, std::string text) {
    out.mistakes.push_back({file, number, std::move(key), std::move(text)});
  };
  std::optional<std::string> user = take_quoted(line);
  if (!user) return mistake("", "expected \"user\" \"secret\", each in double quotes");
  line = trim(line);
  std::optional<std::string> secret = take_quoted(line);
  if (!secret) return mistake(*user, "expected the secret in double quotes after the user");
  if (user->empty()) return mistake("", "the user's name is empty");
  if (user->size() > kMaxUserNameSize) return mistake("", "the user's name is too long");
  if (secret->size() > kMaxSecretSize) return mistake(*user, "the secret is too long");
  const std::string_view both[] = {*user, *secret};
  for (const std::string_view text : both) {
    if (text.find('\0') != std::string_view::npos) return mistake("", "a zero byte in the line");
  }
  SecretForm form = look_at_secret(*secret);
  if (!form.mistake.empty()) return mistake(*user, std::move(form.mistake));
  if (!form.warning.empty()) out.warnings.push_back({file, number, *user, std::move(form.warning)});
  if (*user == kLinkUser) {
    out.warnings.push_back(
        {file, number, *user, "at the console this name is the extension's: this secret does not count there"});
  }
  const bool named = out.secrets.contains(*user);
  if (!named || !FAULT(first_secret_counts)) out.secrets.insert_or_assign(*user, std::move(*secret));
  if (named) out.warnings.push_back({file, number, *user, "named before, this line counts"});
}

}  // namespace

Userlist parse_userlist(std::string_view text, const std::string& file) {
  Userlist out;
  int number = 0;
  while (!text.empty() && out.mistakes.size() < kMaxUserlistMistakes) {
    const size_t end = std::min(text.find('\n'), text.size());
    take_line(text.substr(0, end), file, ++number, out);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace berth::config
