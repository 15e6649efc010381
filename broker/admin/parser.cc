#include "admin/parser.h"

#include <fmt/format.h>

#include "admin/drivers.h"
#include "admin/tokens.h"
#include "base/fault.h"

namespace berth::admin {

namespace {

constexpr size_t kQuotedQueryMax = 200;  // as much of a query is repeated in an error

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& letter : out) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return out;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// One statement. A method returns false when the text is not a command: the caller makes the error.
class StatementParser {
 public:
  explicit StatementParser(Tokens& tokens) : tokens_(tokens) {}
  bool parse(Command& command) {
    if (tokens_.accept("SHOW")) return show(command);
    if (tokens_.accept("SELECT")) return select(command);
    if (tokens_.accept("SET")) return set(command);
    for (const VerbInfo& verb : all_verbs()) {
      if (!tokens_.now().is(verb.name)) continue;
      tokens_.take();
      command.verb = verb.verb;
      return argument(verb, command);
    }
    return driver(command);
  }
  bool too_long() const { return too_long_; }

 private:
  bool show(Command& command);
  bool select(Command& command);
  bool set(Command& command);
  bool set_driver(Command& command);
  bool value(Command& command);
  bool argument(const VerbInfo& verb, Command& command);
  bool deadline(Command& command);
  bool milliseconds(Command& command);
  bool driver(Command& command);
  bool parameter(int& number);
  bool fake(Command& command, std::string_view name) {
    const DriverParameter* known = find_driver_parameter(name);
    if (!known) return false;
    command.verb = Verb::kShowDriver;
    command.key = known->name;
    return true;
  }
  bool ignored(Command& command, Verb verb, std::string_view tag) {
    command.verb = verb;
    command.key = tag;
    while (!tokens_.now().end() && tokens_.now().kind != Token::Kind::kBad) tokens_.take();
    return true;
  }

  Tokens& tokens_;
  bool too_long_ = false;
};

// A table's name may be of two words (BERTH VERSION).
bool StatementParser::show(Command& command) {
  command.verb = Verb::kShow;
  const Token first = tokens_.take();
  if (first.kind != Token::Kind::kWord && first.kind != Token::Kind::kName) return false;
  std::string name = first.text;
  if (!tokens_.now().end()) {
    const Token second = tokens_.take();
    if (second.kind != Token::Kind::kWord) return false;
    if (first.is("TIME") && second.is("ZONE")) return fake(command, "timezone");
    if (first.is("TRANSACTION") && second.is("ISOLATION") && tokens_.accept("LEVEL")) {
      return fake(command, "transaction_isolation");
    }
    name += ' ' + second.text;
  }
  for (const ShowInfo& info : all_shows()) {
    if (lower(info.name) != lower(name)) continue;
    command.show = info.kind;
    return true;
  }
  return fake(command, name);
}

bool StatementParser::select(Command& command) {
  const Token& first = tokens_.now();
  if (first.kind == Token::Kind::kWord && is_number(first.text)) {
    command.verb = Verb::kSelectOne;
    command.value = tokens_.take().text;
    return true;
  }
  if (first.is("PG_ADVISORY_UNLOCK_ALL"))
    return ignored(command, Verb::kIgnored, "SELECT 0");  // asyncpg's pool says so
  if (first.is("VERSION") || first.is("PG_CATALOG.VERSION")) {
    const bool alone = first.text.size() == 7;
    tokens_.take();
    if (tokens_.accept('(')) {
      command.verb = Verb::kSelectVersion;
      return tokens_.accept(')');
    }
    command.show = ShowKind::kVersion;
    return alone;
  }
  return show(command);
}

bool StatementParser::set(Command& command) {
  command.verb = Verb::kSet;
  if (tokens_.now().is("SESSION") || tokens_.now().is("LOCAL")) tokens_.take();
  const Token key = tokens_.take();
  if (key.is("TIME") && tokens_.accept("ZONE")) return set_driver(command);
  if (key.is("NAMES") || key.is("TRANSACTION") || key.is("CHARACTERISTICS")) return set_driver(command);
  if (key.kind != Token::Kind::kWord && key.kind != Token::Kind::kName) return false;
  if (key.text.empty()) return false;
  if (key.text.size() > kArgumentMax) {
    too_long_ = true;
    return false;
  }
  if (!tokens_.accept('=') && !tokens_.accept("TO")) return false;
  if (find_driver_parameter(key.text)) return set_driver(command);
  command.key = lower(key.text);
  return value(command);
}

bool StatementParser::set_driver(Command& command) {
  if (tokens_.now().end()) return false;
  return ignored(command, Verb::kSetDriver, "SET");
}

// One string, or words with commas between.
bool StatementParser::value(Command& command) {
  if (tokens_.now().kind == Token::Kind::kParameter) return parameter(command.value_parameter);
  for (;;) {
    const Token part = tokens_.take();
    const bool text =
        part.kind == Token::Kind::kWord || part.kind == Token::Kind::kName || part.kind == Token::Kind::kString;
    if (!text) return false;
    command.value += part.text;
    if (command.value.size() > kValueMax) {
      too_long_ = true;
      return false;
    }
    if (!tokens_.accept(',')) return true;
    command.value += ", ";
  }
}

bool StatementParser::parameter(int& number) {
  number = 0;
  for (const char digit : tokens_.take().text) number = number * 10 + (digit - '0');
  return number >= 1 && number <= kParametersMax;
}

bool StatementParser::argument(const VerbInfo& verb, Command& command) {
  if (tokens_.now().end()) return true;  // where one is needed, the command says so itself, to those who may run it
  if (verb.argument == Argument::kNone) return false;
  const bool timed = verb.argument == Argument::kDatabaseFor;
  if (tokens_.now().kind == Token::Kind::kParameter)
    return parameter(command.argument_parameter) && (!timed || deadline(command));
  const Token given = tokens_.take();
  // "FOR 500" has no database before it; "FOR" alone is one.
  const bool time_follows = tokens_.now().kind == Token::Kind::kParameter || is_number(tokens_.now().text);
  if (timed && given.is("FOR") && time_follows) return milliseconds(command);
  if (given.kind != Token::Kind::kWord && given.kind != Token::Kind::kName && given.kind != Token::Kind::kString)
    return false;
  if (given.text.empty()) return false;
  if (given.text.size() > kArgumentMax) {
    too_long_ = true;
    return false;
  }
  if (verb.verb != Verb::kKill || !FAULT(kill_means_all)) command.argument = given.text;
  if (verb.argument == Argument::kShutdownMode) return given.is("WAIT_FOR_SERVERS") || given.is("WAIT_FOR_CLIENTS");
  return !timed || deadline(command);
}

// [FOR milliseconds] behind a database.
bool StatementParser::deadline(Command& command) {
  return tokens_.now().end() || (tokens_.accept("FOR") && milliseconds(command));
}

bool StatementParser::milliseconds(Command& command) {
  if (tokens_.now().kind == Token::Kind::kParameter) return parameter(command.value_parameter);
  command.value = tokens_.take().text;
  return is_number(command.value);
}

bool StatementParser::driver(Command& command) {
  const Token& first = tokens_.now();
  if (first.is("BEGIN")) return ignored(command, Verb::kBegin, "BEGIN");
  if (first.is("START")) return ignored(command, Verb::kBegin, "START TRANSACTION");
  if (first.is("COMMIT") || first.is("END")) return ignored(command, Verb::kEndBlock, "COMMIT");
  if (first.is("ROLLBACK") || first.is("ABORT")) {
    tokens_.take();
    if (tokens_.now().is("TO"))
      return ignored(command, Verb::kIgnored, "ROLLBACK");  // a savepoint: the block goes on
    return ignored(command, Verb::kEndBlock, "ROLLBACK");
  }
  if (first.is("CLOSE")) return ignored(command, Verb::kIgnored, "CLOSE CURSOR ALL");
  if (first.is("SAVEPOINT")) return ignored(command, Verb::kIgnored, "SAVEPOINT");
  if (first.is("RELEASE")) return ignored(command, Verb::kIgnored, "RELEASE");
  if (first.is("DISCARD")) return ignored(command, Verb::kIgnored, "DISCARD ALL");
  if (first.is("RESET")) return ignored(command, Verb::kIgnored, "RESET");
  if (first.is("UNLISTEN")) return ignored(command, Verb::kIgnored, "UNLISTEN");
  if (first.is("DEALLOCATE")) return ignored(command, Verb::kIgnored, "DEALLOCATE ALL");
  return false;
}

}  // namespace

Parsed parse_commands(std::string_view sql) {
  Parsed parsed;
  Tokens tokens(sql);
  for (;;) {
    while (tokens.accept(';')) continue;
    if (tokens.now().kind == Token::Kind::kEnd) return parsed;
    StatementParser statement(tokens);
    Command command;
    if (statement.parse(command) && tokens.now().end()) {
      parsed.commands.push_back(std::move(command));
      continue;
    }
    parsed.commands.clear();
    parsed.error = statement.too_long()
                       ? "bad arguments"
                       : fmt::format("invalid command '{}', use SHOW HELP;", sql.substr(0, kQuotedQueryMax));
    return parsed;
  }
}

}  // namespace berth::admin
