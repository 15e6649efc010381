// Reading what clients say of statements: the heads of Parse, Bind, Describe and Close, and the few SQL commands that
// act on prepared statements and are recognised when they are the whole statement; and what of SQL a failed
// transaction takes.
#pragma once

#include <string>
#include <string_view>

#include "wire/frame.h"

namespace berth::wire {

struct ParseMessage {
  std::string_view name;
  std::string_view sql;
  std::string_view types;  // count and OIDs, in wire form
};
// False: malformed.
bool parse_parse(std::string_view body, ParseMessage& out);

struct BindHead {
  std::string_view portal;
  std::string_view statement;
  size_t size = 0;  // of both strings with their NULs: where the rest of the body begins
};
// Reads the two names at the start of a Bind's body, of which `bytes` may be only a part. 1: done, 0: need more
// bytes, -1: malformed (the names do not end within `body_size`, or within twice kNameSizeMax together).
int parse_bind_head(std::string_view bytes, uint64_t body_size, BindHead& out);

struct TargetMessage {
  char kind = 0;  // 'S' statement, 'P' portal
  std::string_view name;
};
// The body of a Describe or Close. False: malformed.
bool parse_target(std::string_view body, TargetMessage& out);

// A statement that is nothing but DEALLOCATE, DISCARD ALL, or one that puts settings back to the session's defaults:
// RESET ALL, RESET name, SET name TO DEFAULT and their other spellings.
struct StatementCommand {
  enum class Kind { kNone, kDeallocate, kDeallocateAll, kDiscardAll, kReset, kResetAll };
  Kind kind = Kind::kNone;
  // Of kDeallocate the statement, of kReset the parameter: folded to lower case unless quoted, as PostgreSQL reads
  // it.
  std::string name;
};
inline constexpr size_t kStatementCommandMax = 512;  // longer texts are not looked at
StatementCommand parse_statement_command(std::string_view sql);
// A cheap filter: could `sql` be such a command? Looks at the first letters behind white space.
inline bool may_be_statement_command(std::string_view sql) {
  if (sql.size() > kStatementCommandMax) return false;
  size_t at = 0;
  while (at < sql.size() && (sql[at] == ' ' || (sql[at] >= '\t' && sql[at] <= '\r'))) ++at;
  if (at + 3 > sql.size()) return false;
  switch (sql[at] | 0x20) {
    case 'd': return true;
    case 'r': return (sql[at + 2] | 0x20) == 's';  // not rollback, release, refresh
    case 's': return (sql[at + 2] | 0x20) == 't';  // not select
    case '/':
    case '-':
    case ';': return true;
    default: return false;
  }
}

// Does PostgreSQL take `sql` in a transaction that has failed? Only what ends it (also back to a savepoint) and the
// empty statement. Of a text that is not valid SQL, or is several statements, the answer means nothing.
bool runs_in_failed_transaction(std::string_view sql);

// What is told by the first words of one statement, or by a name that it calls.
struct StatementTraits {
  // Running it may change settings, or put them back: SET, the end of a transaction, set_config(), what has SQL of
  // its own inside. A function that is called by another name may do so, too: that is not seen.
  bool changes_settings = false;
  bool copies = false;  // COPY: from the client, perhaps
  // Its Parse looks at settings: PostgreSQL analyses it then (literals are folded, names are looked up), or its bytes
  // may mean one thing or another. Others are looked at when they run.
  bool reads_settings = false;
};
StatementTraits statement_traits(std::string_view sql);

// A cheap filter for set_parameter(): SELECT leaves here.
inline bool may_be_set(std::string_view sql) {
  return sql.size() > 4 && (sql[2] | 32) == 't' && (sql[0] | 32) == 's';
}
// What a statement that begins with SET sets for the session, as it is written there (`TimeZone` for TIME ZONE and so
// on). Empty: nothing that outlives the transaction (SET LOCAL, SET TRANSACTION, SET CONSTRAINTS), or no SET at all.
std::string_view set_parameter(std::string_view sql);

}  // namespace berth::wire
