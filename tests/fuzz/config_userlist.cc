// Fuzzes the user list: who has which secret, and which lines are mistakes, is what a second reader of PgBouncer's
// rules says; sizes hold, and what was read, written again, reads the same.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/assert.h"
#include "config/secret_form.h"
#include "config/userlist.h"

namespace berth::config {

static std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

struct Reference {
  std::map<std::string, std::string> secrets;
  std::vector<int> mistakes, warnings;  // their lines
};

// Takes "text" and the white space behind it from the front; false: it is not there.
static bool take_quoted(std::string& line, std::string& out) {
  size_t at = 1;
  if (line[0] != '"') return false;
  for (;; ++at) {
    if (at >= line.size()) return false;
    if (line[at] == '"' && line[++at] != '"') break;  // what is behind the end of a string reads as a zero
    out += line[at];
  }
  line.erase(0, std::min(line.find_first_not_of(" \t\v\f\r", at), line.size()));
  return true;
}

// RFC 4648 to the letter: a text of so many bytes has so many characters, and the last one has no bits beside.
static bool is_base64(const std::string& text, size_t least, size_t most) {
  const size_t digits = text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
  const std::string rest = digits == std::string::npos ? "" : text.substr(digits);
  if (text.size() % 4 != 0 || (rest != "" && rest != "=" && rest != "==")) return false;
  const size_t bytes = text.size() / 4 * 3 - rest.size();
  if (bytes < least || bytes > most) return false;
  const std::string ends[] = {"", "AEIMQUYcgkosw048", "AQgw"};
  return rest.empty() || (digits > 0 && ends[rest.size()].find(text[digits - 1]) != std::string::npos);
}

// PostgreSQL's documentation of pg_authid. 0: not a hash, or a good one; 1: a warning; 2: a mistake.
static int judge(const std::string& secret) {
  if (secret.starts_with("md5")) {
    const size_t size = secret.size() - 3;
    const size_t lower = secret.find_first_not_of("0123456789abcdef", 3);
    const size_t any = secret.find_first_not_of("0123456789abcdefABCDEF", 3);
    if (size == 32) return lower == std::string::npos ? 0 : 1;
    return any == std::string::npos && size >= kDamagedMd5SizeMin ? 1 : 0;
  }
  if (!secret.starts_with("SCRAM-SHA-256$")) return 0;
  const size_t count = 14, colon = secret.find(':'), dollar = secret.find('$', count), second = secret.rfind(':');
  if (colon == std::string::npos || dollar == std::string::npos || !(colon < dollar && dollar < second)) return 2;
  const std::string digits = secret.substr(count, colon - count);
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos || digits.find_first_not_of("0123456789") != std::string::npos) return 2;
  if (digits.size() - first > 10 || std::stoull(digits.substr(first)) > 2147483647) return 2;
  const bool good = is_base64(secret.substr(colon + 1, dollar - colon - 1), 1, 1024) &&
                    is_base64(secret.substr(dollar + 1, second - dollar - 1), 32, 32) &&
                    is_base64(secret.substr(second + 1), 32, 32);
  if (!good) return 2;
  return std::stoull(digits.substr(first)) > 1'000'000 ? 1 : 0;
}

// PgBouncer's documentation, "Authentication file format": "user" "password", the rest of a line is ignored, a quote
// is doubled, comments begin with ; (and #, ours). Of two lines for one user the later counts.
static Reference read(std::string_view text) {
  Reference out;
  for (int number = 1; !text.empty() && out.mistakes.size() < kMaxUserlistMistakes; ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string line(text.substr(0, end)), user, secret;
    text.remove_prefix(std::min(end + 1, text.size()));
    line.erase(0, std::min(line.find_first_not_of(" \t\v\f\r"), line.size()));
    if (line.empty() || line[0] == ';' || line[0] == '#') continue;
    const bool read = take_quoted(line, user) && take_quoted(line, secret);
    const std::string both = user + secret;
    const int judged = judge(secret);
    if (!read || judged == 2 || user.empty() || user.size() > kMaxUserNameSize || secret.size() > kMaxSecretSize ||
        both.find('\0') != std::string::npos) {
      out.mistakes.push_back(number);
      continue;
    }
    if (judged == 1) out.warnings.push_back(number);
    if (user == "pgberth_link") out.warnings.push_back(number);  // its secret at the console is the process's own
    if (out.secrets.contains(user)) out.warnings.push_back(number);
    out.secrets[user] = secret;
  }
  return out;
}

static std::vector<int> lines(const std::vector<Remark>& remarks) {
  std::vector<int> out;
  for (const Remark& remark : remarks) {
    ASSERT(remark.file == "u" && !remark.text.empty());
    out.push_back(remark.line);
  }
  return out;
}

static void try_input(std::string_view text) {
  const Userlist list = parse_userlist(text, "u");
  const Reference reference = read(text);
  ASSERT(lines(list.mistakes) == reference.mistakes && lines(list.warnings) == reference.warnings);
  ASSERT(list.secrets.size() == reference.secrets.size());
  std::string again;
  for (const auto& [user, secret] : list.secrets) {
    const auto found = reference.secrets.find(user);
    ASSERT(found != reference.secrets.end() && found->second == secret.view());
    again += quoted(user) + " " + quoted(secret.view()) + "\n";
  }
  const Userlist reread = parse_userlist(again, "u");
  ASSERT(reread.mistakes.empty() && reread.secrets == list.secrets);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
