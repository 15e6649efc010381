#include "admin/commands.h"

namespace berth::admin {

namespace {

constexpr Role STATS = Role::kStats, ADMIN = Role::kAdmin;
constexpr Argument NONE = Argument::kNone, DATABASE_OPTIONAL = Argument::kDatabaseOptional,
                   DATABASE_FOR = Argument::kDatabaseFor, DATABASE = Argument::kDatabase, CLIENT = Argument::kClient,
                   SHUTDOWN_MODE = Argument::kShutdownMode, SETTING = Argument::kSetting, TABLE = Argument::kTable;

constexpr ShowInfo kShows[] = {
#define BERTH_SHOW(id, name, role, help) {ShowKind::id, name, role, help},
#define BERTH_VERB(id, name, argument, role, help)
#include "admin/commands.def"
#undef BERTH_SHOW
#undef BERTH_VERB
};

constexpr VerbInfo kVerbs[] = {
#define BERTH_SHOW(id, name, role, help)
#define BERTH_VERB(id, name, argument, role, help) {Verb::id, name, argument, role, help},
#include "admin/commands.def"
#undef BERTH_SHOW
#undef BERTH_VERB
};

std::string_view form_of(Argument argument) {
  switch (argument) {
    case Argument::kNone: return "";
    case Argument::kDatabaseOptional: return " [<db>]";
    case Argument::kDatabaseFor: return " [<db>] [FOR <ms>]";
    case Argument::kDatabase: return " <db>";
    case Argument::kClient: return " <client_id>";
    case Argument::kShutdownMode: return " [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]";
    case Argument::kSetting: return " key = arg";
    case Argument::kTable: return "";
  }
  return "";
}

}  // namespace

std::span<const ShowInfo> all_shows() {
  return kShows;
}
std::span<const VerbInfo> all_verbs() {
  return kVerbs;
}

Role role_needed(const Command& command) {
  if (command.verb == Verb::kShow) return kShows[static_cast<size_t>(command.show)].role;
  const auto index = static_cast<size_t>(command.verb);
  return index < std::size(kVerbs) ? kVerbs[index].role : Role::kStats;
}

bool extension_may(Verb verb) {
  return verb == Verb::kPause || verb == Verb::kResume || verb == Verb::kReconnect || verb == Verb::kKillClient ||
         verb == Verb::kReload;
}

std::string command_tag(const Command& command) {
  switch (command.verb) {
    case Verb::kSet: return "SET " + command.key + "=" + command.value;
    case Verb::kShowDriver: return "SHOW";
    case Verb::kSetDriver: return "SET";
    case Verb::kSelectOne:
    case Verb::kSelectVersion: return "SELECT 1";
    case Verb::kBegin: return "BEGIN";
    case Verb::kEndBlock:
    case Verb::kIgnored: return command.key;
    default: return std::string(kVerbs[static_cast<size_t>(command.verb)].name);
  }
}

bool has_rows(const Command& command) {
  if (command.verb == Verb::kShow) return command.show != ShowKind::kHelp;
  return command.verb == Verb::kShowDriver || command.verb == Verb::kSelectOne ||
         command.verb == Verb::kSelectVersion;
}

std::string help_text() {
  std::string out;
  size_t line = std::string::npos;
  for (const ShowInfo& show : kShows) {
    if (line == std::string::npos || out.size() - line > 60) {
      line = out.size();
      out += "\n\tSHOW ";
    } else {
      out += '|';
    }
    out += show.name;
  }
  for (const VerbInfo& verb : kVerbs) {
    if (verb.verb == Verb::kShow || verb.verb == Verb::kSuspend) continue;
    out += "\n\t";
    out += verb.name;
    out += form_of(verb.argument);
  }
  return out;
}

}  // namespace berth::admin
