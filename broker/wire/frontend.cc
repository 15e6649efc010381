#include "wire/frontend.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/fault.h"

namespace berth::wire {

bool parse_parse(std::string_view body, ParseMessage& out) {
  if (!take_cstring(body, out.name) || !take_cstring(body, out.sql)) return false;
  if (body.size() < 2) return false;
  const size_t count = read16(body.data());
  if (body.size() != 2 + count * 4 && !FAULT(parse_types_unchecked)) return false;
  out.types = body;
  return true;
}

int parse_bind_head(std::string_view bytes, uint64_t body_size, BindHead& out) {
  const char* at = bytes.data();
  const char* end = at + bytes.size();
  std::string_view* names[] = {&out.portal, &out.statement};
  for (std::string_view* name : names) {
    const auto* nul = static_cast<const char*>(std::memchr(at, 0, static_cast<size_t>(end - at)));
    if (!nul) return bytes.size() >= body_size || bytes.size() > 2 * kNameSizeMax ? -1 : 0;
    *name = {at, static_cast<size_t>(nul - at)};
    at = nul + 1;
  }
  out.size = static_cast<size_t>(at - bytes.data());
  return 1;
}

bool parse_target(std::string_view body, TargetMessage& out) {
  if (body.size() < 2) return false;
  out.kind = body[0];
  body.remove_prefix(1);
  return take_cstring(body, out.name) && body.empty() && (out.kind == 'S' || out.kind == 'P');
}

namespace {

// A tokenizer that knows just enough: white space, both kinds of comment, words, quoted identifiers, semicolons.
class Tokens {
 public:
  explicit Tokens(std::string_view sql) : rest_(sql) {}

  // The next token, folded to lower case unless quoted. Empty: the end. "?" stands for anything else.
  std::string next(bool* quoted) {
    *quoted = false;
    skip_blank();
    if (rest_.empty()) return {};
    const char c = rest_[0];
    if (c == '"') return quoted_identifier(quoted);
    if (c == ';' || c == '=') {
      rest_.remove_prefix(1);
      return std::string(1, c);
    }
    if (!word_start(c)) return "?";
    std::string word;
    while (!rest_.empty() && (word_start(rest_[0]) || (rest_[0] >= '0' && rest_[0] <= '9') || rest_[0] == '$')) {
      const char letter = rest_[0];
      word += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
      rest_.remove_prefix(1);
    }
    return word;
  }

 private:
  static bool word_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
  }

  void skip_blank() {
    for (;;) {
      if (!rest_.empty() && (rest_[0] == ' ' || (rest_[0] >= '\t' && rest_[0] <= '\r'))) {
        rest_.remove_prefix(1);
      } else if (rest_.substr(0, 2) == "--") {
        const size_t end = rest_.find_first_of("\r\n");
        rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end);
      } else if (rest_.substr(0, 2) == "/*") {
        skip_comment();
      } else {
        return;
      }
    }
  }

  void skip_comment() {  // comments nest
    int depth = 0;
    while (!rest_.empty()) {
      if (rest_.substr(0, 2) == "/*") {
        ++depth;
        rest_.remove_prefix(2);
      } else if (rest_.substr(0, 2) == "*/") {
        rest_.remove_prefix(2);
        if (--depth == 0) return;
      } else {
        rest_.remove_prefix(1);
      }
    }
  }

  std::string quoted_identifier(bool* quoted) {
    std::string name;
    rest_.remove_prefix(1);
    while (!rest_.empty()) {
      if (rest_[0] == '"') {
        if (rest_.substr(0, 2) != "\"\"") {
          rest_.remove_prefix(1);
          *quoted = true;
          return name;
        }
        rest_.remove_prefix(1);
      }
      name += rest_[0];
      rest_.remove_prefix(1);
    }
    return "?";  // it does not end: PostgreSQL will say so
  }

  std::string_view rest_;
};

}  // namespace

namespace {

using Kind = StatementCommand::Kind;

// One token at a time of a statement that consists of words; see StatementCommand.
class CommandParser {
 public:
  explicit CommandParser(std::string_view sql) : tokens_(sql) {
    do next();
    while (is(";"));
  }

  StatementCommand run() {
    StatementCommand out;
    if (take("deallocate")) {
      const bool prepare = take("prepare");
      if (take("all")) {
        out.kind = Kind::kDeallocateAll;
      } else if (take_name(out.name)) {
        out.kind = Kind::kDeallocate;
      } else if (prepare) {  // the word alone is a name
        out = {Kind::kDeallocate, "prepare"};
      }
    } else if (take("discard")) {
      if (take("all")) out.kind = Kind::kDiscardAll;
    } else if (take("reset")) {
      reset(out);
    } else if (take("set")) {
      set_to_default(out);
    }
    while (take(";")) continue;
    return at_end() && out.kind != Kind::kNone ? out : StatementCommand{};
  }

 private:
  void reset(StatementCommand& out) {
    if (take("all")) {
      out.kind = Kind::kResetAll;
    } else if (take_parameter(out.name)) {
      out.kind = Kind::kReset;
    }
  }

  void set_to_default(StatementCommand& out) {
    take("session");
    if (!take_parameter(out.name)) return;
    const bool zone = zone_;
    if (!zone && !take("to") && !take("=")) return;
    if (take("default") || (zone && take("local"))) out.kind = Kind::kReset;
  }

  bool take_parameter(std::string& name) {
    zone_ = false;
    if (!take_name(name)) return false;
    zone_ = name == "time" && take("zone");
    if (zone_) name = "timezone";
    return true;
  }

  bool take_name(std::string& name) {
    if (!quoted_ && (word_.empty() || word_ == "?" || word_ == ";" || word_ == "=")) return false;
    // NAMEDATALEN: PostgreSQL truncates identifiers, never within a character (of UTF-8: three such bytes at most).
    size_t size = std::min<size_t>(word_.size(), 63);
    const auto within = [this](size_t at) { return at < word_.size() && (word_[at] & 0xc0) == 0x80; };
    size_t cut = size;
    while (within(cut) && size - cut < 3) --cut;
    if (!within(cut)) size = cut;
    name = word_.substr(0, size);
    next();
    return true;
  }

  bool take(std::string_view word) {
    if (!is(word)) return false;
    next();
    return true;
  }

  bool is(std::string_view word) const { return !quoted_ && word_ == word; }
  bool at_end() const { return !quoted_ && word_.empty(); }
  void next() { word_ = tokens_.next(&quoted_); }

  Tokens tokens_;
  std::string word_;
  bool quoted_ = false;
  bool zone_ = false;  // the parameter was spelled TIME ZONE
};

}  // namespace

StatementCommand parse_statement_command(std::string_view sql) {
  if (sql.size() > kStatementCommandMax) return {};
  return CommandParser(sql).run();
}

bool runs_in_failed_transaction(std::string_view sql) {
  Tokens tokens(sql);
  bool quoted = false;
  std::string word;
  do word = tokens.next(&quoted);
  while (word == ";");
  if (quoted) return false;
  if (word.empty() || word == "end" || word == "abort") return true;
  if (word == "prepare") return tokens.next(&quoted) == "transaction" && !quoted;
  // COMMIT PREPARED and ROLLBACK PREPARED end another transaction.
  return (word == "commit" || word == "rollback") && (tokens.next(&quoted) != "prepared" || quoted);
}

static bool is_word(std::string_view word, std::string_view lower) {
  return word.size() == lower.size() && std::equal(word.begin(), word.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b;
         });
}

template <size_t N>
static bool one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// By its underscore, since texts may be long.
static bool calls_set_config(std::string_view sql) {
  static constexpr std::string_view kName = "set_config";
  static constexpr size_t kBefore = kName.find('_');
  for (size_t at = sql.find('_'); at != std::string_view::npos; at = sql.find('_', at + 1)) {
    if (at >= kBefore && is_word(sql.substr(at - kBefore, kName.size()), kName)) return true;
  }
  return false;
}

StatementTraits statement_traits(std::string_view sql) {
  static constexpr std::array<std::string_view, 11> kChanging = {
      "set", "reset", "discard", "rollback", "commit", "end", "abort", "prepare", "execute", "call", "do"};
  // Whatever else there may be is analysed. "create" is looked at more closely.
  static constexpr std::array<std::string_view, 42> kUtility = {
      "",         "abort",    "alter",   "analyse", "analyze",    "begin",   "checkpoint", "close",    "cluster",
      "comment",  "commit",   "copy",    "create",  "deallocate", "discard", "do",         "drop",     "end",
      "execute",  "fetch",    "grant",   "import",  "listen",     "load",    "lock",       "move",     "notify",
      "prepare",  "reassign", "refresh", "reindex", "release",    "reset",   "revoke",     "rollback", "savepoint",
      "security", "set",      "show",    "start",   "truncate",   "vacuum"};
  static constexpr std::array<std::string_view, 7> kCreatedByQuery = {"table",  "temp",     "temporary",   "local",
                                                                      "global", "unlogged", "materialized"};
  Tokens tokens(sql);
  bool quoted = false;
  std::string word;
  do word = tokens.next(&quoted);
  while (word == ";");
  StatementTraits out;
  if (!quoted) {
    out.changes_settings = one_of(word, kChanging);
    out.copies = word == "copy";
    out.reads_settings = !one_of(word, kUtility);
    if (word == "create") out.reads_settings = one_of(tokens.next(&quoted), kCreatedByQuery);
  }
  out.changes_settings |= calls_set_config(sql);
  const auto depends = [](char c) { return c == '\\' || (c & 0x80) != 0; };
  if (!out.reads_settings) out.reads_settings = std::any_of(sql.begin(), sql.end(), depends);
  return out;
}

// The next word of `sql`, which is taken off: up to white space, `=`, a semicolon or a string; double quotes are
// taken off too.
static std::string_view take_word(std::string_view& sql) {
  const size_t start = sql.find_first_not_of(" \t\n\r\f\v");
  sql.remove_prefix(std::min(start, sql.size()));
  std::string_view word = sql.substr(0, sql.find_first_of(" \t\n\r\f\v=;'"));
  sql.remove_prefix(word.size());
  if (word.size() > 2 && word.front() == '"' && word.back() == '"') word = word.substr(1, word.size() - 2);
  return word;
}

std::string_view set_parameter(std::string_view sql) {
  if (!is_word(take_word(sql), "set")) return {};
  std::string_view word = take_word(sql);
  if (is_word(word, "session")) {
    word = take_word(sql);
    if (is_word(word, "authorization")) return "session_authorization";
    if (is_word(word, "characteristics")) return {};
  }
  if (is_word(word, "local") || is_word(word, "transaction") || is_word(word, "constraints")) return {};
  if (is_word(word, "time")) return "TimeZone";
  if (is_word(word, "names")) return "client_encoding";
  if (is_word(word, "schema")) return "search_path";
  return word;
}

}  // namespace berth::wire
