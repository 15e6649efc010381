// The commands of the console as types and as tables, from commands.def.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace berth::admin {

enum class ShowKind : uint8_t {
#define BERTH_SHOW(id, name, role, help) id,
#define BERTH_VERB(id, name, argument, role, help)
#include "admin/commands.def"
#undef BERTH_SHOW
#undef BERTH_VERB
};

// The last ones are not commands of the console, but what drivers say to any server; see drivers.h.
enum class Verb : uint8_t {
#define BERTH_SHOW(id, name, role, help)
#define BERTH_VERB(id, name, argument, role, help) id,
#include "admin/commands.def"
#undef BERTH_SHOW
#undef BERTH_VERB
  kShowDriver,  // SHOW client_encoding and the like; `key` is the parameter
  kSetDriver,   // SET client_encoding and the like: has no effect
  kSelectOne,   // SELECT 1: `value` is the number
  kSelectVersion,
  kBegin,
  kEndBlock,  // COMMIT, ROLLBACK: `key` is the tag
  kIgnored,   // DISCARD ALL and the like; `key` is the tag
};

enum class Role : uint8_t { kStats, kAdmin };
enum class Argument : uint8_t {
  kNone,
  kDatabaseOptional,
  kDatabaseFor,
  kDatabase,
  kClient,
  kShutdownMode,
  kSetting,
  kTable
};

struct ShowInfo {
  ShowKind kind;
  std::string_view name;
  Role role;
  std::string_view help;
};

struct VerbInfo {
  Verb verb;
  std::string_view name;
  Argument argument;
  Role role;
  std::string_view help;
};

// In the order of commands.def.
std::span<const ShowInfo> all_shows();
std::span<const VerbInfo> all_verbs();

// One statement, understood.
struct Command {
  Verb verb = Verb::kShow;
  ShowKind show = ShowKind::kHelp;
  std::string argument;  // database, client id, mode of SHUTDOWN; empty: none
  std::string key;       // of SET; see also Verb
  std::string value;     // of SET; milliseconds of PAUSE
  // Which parameter ($1 is 1) stands for `argument` or `value`; 0: none. Only in the extended protocol.
  int argument_parameter = 0;
  int value_parameter = 0;

  bool operator==(const Command&) const = default;
};

// What a user needs to run it.
Role role_needed(const Command& command);
// What the extension (the user pgberth_link) may run beyond SHOW: what its SQL functions do.
bool extension_may(Verb verb);
// As it stands in CommandComplete: the command's own name, as in PgBouncer.
std::string command_tag(const Command& command);
// Does it answer with rows?
bool has_rows(const Command& command);

// DETAIL of SHOW HELP: a line for each command, in PgBouncer's form.
std::string help_text();

}  // namespace berth::admin
