#include "admin/docs.h"

#include <fmt/format.h>

#include "admin/commands.h"
#include "admin/show.h"
#include "admin/version.h"

namespace berth::admin {

namespace {

std::string_view text_of(Role role) {
  return role == Role::kAdmin ? "admin" : "stats";
}

std::string_view text_of(ColumnType type) {
  switch (type) {
    case ColumnType::kText: return "text";
    case ColumnType::kInt4: return "int4";
    case ColumnType::kInt8: return "int8";
    case ColumnType::kNumeric: return "numeric";
    case ColumnType::kBytea: return "bytea";
    case ColumnType::kBool: return "bool";
  }
  return "";
}

std::string_view text_of(Argument argument) {
  switch (argument) {
    case Argument::kNone: return "";
    case Argument::kDatabaseOptional: return " [database]";
    case Argument::kDatabaseFor: return " [database] [FOR milliseconds]";
    case Argument::kDatabase: return " database";
    case Argument::kClient: return " id";
    case Argument::kShutdownMode: return " [WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS]";
    case Argument::kSetting: return " key = value";
    case Argument::kTable: return " table";
  }
  return "";
}

constexpr std::string_view kHead =
    "# The console\n\n"
    "This page is generated from broker/admin/commands.def (`pgberth --docs admin`); change it there.\n\n"
    "Connect to the database `pgbouncer` (or `pgberth`, unless a database of that name is configured) on any port of "
    "the "
    "broker:\n\n"
    "    psql -h /tmp -p 6432 -U admin -d pgbouncer -c 'SHOW POOLS'\n\n"
    "Commands, tables, columns and their types are those of {}, so scripts, dashboards and exporters that know "
    "PgBouncer "
    "work unchanged. Beyond it:\n\n"
    "- The extended query protocol works, with rows in text or binary form and parameters of type text, so psycopg "
    "3, asyncpg, "
    "lib/pq and others can ask the console.\n"
    "- A query may hold several commands, separated by semicolons, and SQL comments.\n"
    "- What drivers say to any server is accepted and has no effect: BEGIN, COMMIT, ROLLBACK, DISCARD ALL, RESET, "
    "SET and SHOW "
    "of common parameters (client_encoding, datestyle, extra_float_digits ...), SELECT 1.\n"
    "- A RESUME ends a PAUSE that still waits: its caller gets an error instead of waiting forever.\n\n"
    "## Who may do what\n\n"
    "Users of `stats_users` may run what is marked stats, users of `admin_users` everything. The user `pgbouncer` "
    "needs no "
    "password on the Unix socket when it is the broker's own operating system user, and is an admin. The user "
    "`pgberth_link` is "
    "the extension's: its password is a secret of this process that only the databases know with which the broker is "
    "linked; it may "
    "run what is marked stats, and {}. Anything else is refused with SQLSTATE 42501.\n";

}  // namespace

std::string admin_markdown() {
  std::string extension;
  for (const VerbInfo& verb : all_verbs()) {
    if (extension_may(verb.verb)) extension += fmt::format("{}{}", extension.empty() ? "" : ", ", verb.name);
  }
  std::string out = fmt::format(fmt::runtime(kHead), kPgBouncerVersion, extension);
  out += "\n## Commands\n\n| command | who | what it does |\n|---|---|---|\n";
  for (const VerbInfo& verb : all_verbs()) {
    out += fmt::format("| `{}{}` | {} | {} |\n", verb.name, text_of(verb.argument), text_of(verb.role), verb.help);
  }
  out += "\n## Tables\n";
  for (const ShowInfo& show : all_shows()) {
    out += fmt::format("\n### SHOW {}\n\n{}\n", show.name, show.help);
    const std::span<const Column> columns = columns_of(show.kind);
    if (columns.empty()) continue;
    out += "\n| column | type |\n|---|---|\n";
    for (const Column& column : columns) out += fmt::format("| {} | {} |\n", column.name, text_of(column.type));
  }
  return out;
}

}  // namespace berth::admin
