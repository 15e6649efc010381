// Fuzzes the console's parser, both ways. The input is a text: it is commands whose parts keep their limits, or one
// error, and a list of statements means what each of them means. The input is a command as well: written as a
// statement, in whatever letters, spaces, comments and quotes, it means that command.
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>
#include <vector>

#include "admin/drivers.h"
#include "admin/parser.h"
#include "base/assert.h"
#include "fuzz/input.h"

namespace berth::admin {

using fuzz::in_quotes;
using fuzz::Input;

static bool is_plain(std::string_view text) {
  return !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
}

// Writes a command as a statement; the dice choose among the forms that mean the same.
class Writer {
 public:
  explicit Writer(Input& dice) : dice_(dice) {}

  std::string write(const Command& command) {
    switch (command.verb) {
      case Verb::kShow: {
        keyword(dice_.below(2) ? "SHOW" : "SELECT");
        for (const ShowInfo& info : all_shows()) {
          if (info.kind == command.show) keyword(info.name);
        }
        break;
      }
      case Verb::kSet:
        keyword("SET");
        if (dice_.below(4) == 3) keyword(dice_.below(2) ? "SESSION" : "LOCAL");
        put(in_quotes(command.key, '"'));
        dice_.below(2) ? keyword("TO") : put("=");
        command.value_parameter ? parameter(command.value_parameter) : string(command.value);
        break;
      case Verb::kShowDriver:
        keyword("SHOW");
        keyword(command.key);
        break;
      case Verb::kSetDriver: keyword("SET NAMES"), put("'x'"); break;
      case Verb::kSelectOne: keyword("SELECT"), put(command.value); break;
      case Verb::kSelectVersion: keyword("SELECT"), keyword("VERSION"), put("("), put(")"); break;
      case Verb::kBegin: keyword(command.key); break;
      case Verb::kEndBlock: keyword(command.key == "COMMIT" && dice_.below(2) ? "END" : command.key); break;
      case Verb::kIgnored:
        if (command.key == "SELECT 0") keyword("SELECT PG_ADVISORY_UNLOCK_ALL");
        if (command.key == "ROLLBACK") keyword("ROLLBACK TO");
        if (command.key != "SELECT 0" && command.key != "ROLLBACK")
          keyword(command.key.substr(0, command.key.find(' ')));
        break;
      default: with_argument(command);
    }
    return std::move(out_);
  }

 private:
  void space() {
    constexpr std::string_view kSpaces[] = {" ", "\t\n", " /* ; /* ' */ */ ", " -- \"\n", "\r\v\f"};
    out_ += kSpaces[dice_.below(std::size(kSpaces))];
  }
  void put(std::string_view text) {
    space();
    out_ += text;
  }
  void keyword(std::string_view words) {
    const bool small = dice_.below(2) != 0;
    space();
    for (const char c : words) {
      if (c == ' ') {
        space();
      } else {
        out_ += static_cast<char>(small ? std::tolower(static_cast<unsigned char>(c)) : c);
      }
    }
  }
  void parameter(int number) { put("$" + std::to_string(number)); }
  void string(std::string_view text) {
    const size_t form = dice_.below(3);
    put(form == 0 && is_plain(text) ? std::string(text) : in_quotes(text, form == 1 ? '"' : '\''));
  }
  void with_argument(const Command& command) {
    for (const VerbInfo& info : all_verbs()) {
      if (info.verb == command.verb) keyword(info.name);
    }
    if (command.verb == Verb::kShutdown && !command.argument.empty()) return put(command.argument);
    if (command.argument_parameter) parameter(command.argument_parameter);
    if (!command.argument.empty()) {
      // A database of the name "for" is one when it stands in quotes.
      command.argument.size() == 3 ? put(in_quotes(command.argument, '"')) : string(command.argument);
    }
    if (command.value.empty() && command.value_parameter == 0) return;
    keyword("FOR");
    command.value_parameter ? parameter(command.value_parameter) : put(command.value);
  }

  Input& dice_;
  std::string out_;
};

// Any command that a statement can say.
static Command any_command(Input& dice) {
  Command command;
  const auto number = [&] { return dice.below(4) == 0 ? static_cast<int>(1 + dice.below(kParametersMax)) : 0; };
  const size_t which = dice.below(all_verbs().size() + 3);
  if (which >= all_verbs().size()) {
    constexpr std::string_view kTags[] = {"CLOSE CURSOR ALL", "SAVEPOINT",      "RELEASE",  "DISCARD ALL", "RESET",
                                          "UNLISTEN",         "DEALLOCATE ALL", "SELECT 0", "ROLLBACK"};
    switch (dice.below(7)) {
      case 0: command.verb = Verb::kShowDriver, command.key = driver_parameters()[dice.below(22)].name; break;
      case 1: command.verb = Verb::kSetDriver, command.key = "SET"; break;
      case 2: command.verb = Verb::kSelectOne, command.value = std::to_string(dice.below(256)); break;
      case 3: command.verb = Verb::kSelectVersion; break;
      case 4: command.verb = Verb::kBegin, command.key = dice.below(2) ? "BEGIN" : "START TRANSACTION"; break;
      case 5: command.verb = Verb::kEndBlock, command.key = dice.below(2) ? "COMMIT" : "ROLLBACK"; break;
      default: command.verb = Verb::kIgnored, command.key = kTags[dice.below(std::size(kTags))];
    }
    return command;
  }
  const VerbInfo& info = all_verbs()[which];
  command.verb = info.verb;
  switch (info.argument) {
    case Argument::kNone: break;
    case Argument::kTable: command.show = all_shows()[dice.below(all_shows().size())].kind; break;
    case Argument::kSetting:
      command.key = dice.text(kArgumentMax);
      for (char& c : command.key) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      if (command.key.empty() || find_driver_parameter(command.key)) command.key = "verbose";
      command.value_parameter = number();
      if (command.value_parameter == 0) command.value = dice.text(255);
      break;
    case Argument::kShutdownMode:
      if (const size_t mode = dice.below(3)) command.argument = mode == 1 ? "WAIT_FOR_SERVERS" : "wait_for_clients";
      break;
    case Argument::kDatabaseOptional:
    case Argument::kDatabaseFor:
    case Argument::kDatabase:
    case Argument::kClient:
      command.argument_parameter = number();
      if (command.argument_parameter == 0) command.argument = dice.text(kArgumentMax);
      if (info.argument != Argument::kDatabaseFor || dice.below(2) == 0) break;
      command.value_parameter = number();
      if (command.value_parameter == 0) command.value = std::to_string(dice.below(256) * 1'000'003);
  }
  return command;
}

static void try_command(Input dice) {
  const Command command = any_command(dice);
  std::string sql = Writer(dice).write(command);
  const Parsed parsed = parse_commands(sql);
  ASSERT(parsed.error.empty() && parsed.commands.size() == 1 && parsed.commands[0] == command);
}

static void try_text(const std::string& sql) {
  const Parsed parsed = parse_commands(sql);
  if (!parsed.error.empty()) return ASSERT(parsed.commands.empty());
  Input none;
  for (const Command& command : parsed.commands) {
    ASSERT(command.argument.size() <= kArgumentMax && command.value.size() <= kValueMax + 2);
    ASSERT(command.argument_parameter >= 0 && command.argument_parameter <= kParametersMax);
    ASSERT(command.value_parameter >= 0 && command.value_parameter <= kParametersMax);
    ASSERT(!command_tag(command).empty());
    ASSERT(role_needed(command) == Role::kAdmin || command.verb == Verb::kShow || command.verb >= Verb::kShowDriver);
    if (command.value.size() > kValueMax) continue;
    const Parsed again = parse_commands(Writer(none).write(command));
    ASSERT(again.commands.size() == 1 && again.commands[0] == command);
  }
  std::vector<Command> both = parsed.commands;
  both.insert(both.end(), parsed.commands.begin(), parsed.commands.end());
  const Parsed twice = parse_commands(sql + "\n;" + sql);
  ASSERT(twice.error.empty() && twice.commands == both);
}

}  // namespace berth::admin

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::admin::try_command({data, size});
  berth::admin::try_text(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
