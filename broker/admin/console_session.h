// What the console keeps of one of its clients: the commands still to run, the statements and portals of the extended
// protocol, and what it waits for.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "admin/commands.h"
#include "admin/table.h"
#include "session/client.h"

namespace berth::admin {

using session::Client;
using session::Context;

// A client's text for a line of the log: nothing of it may look like another line.
std::string one_line(std::string text);
// A value of auth_ldap_options, or a statement that sets it, with a password in it, in whatever case of letters.
bool has_secret(std::string_view text);

// The outcome of one command.
struct Reply {
  std::string error;  // not empty: the rest is not sent, save detail and hint
  std::string sqlstate;
  std::string detail;
  std::string hint;
  std::string notices;  // whole messages that go before the answer
  std::optional<Table> table;
  std::string tag;
};

struct Prepared {
  std::optional<Command> command;  // none: an empty query
  std::vector<uint32_t> parameter_types;
};

struct Portal {
  std::optional<Command> command;
  Formats formats;
  std::optional<Table> table;  // once executed
  size_t next_row = 0;
  bool done = false;  // its command has run
};

// A command whose answer has to wait for servers.
struct Wait {
  enum class Kind : uint8_t { kPause, kClose };
  Kind kind = Kind::kPause;
  std::string database;  // empty: all
  uint64_t number = 0;   // tells an answer to an earlier wait from one to this
  bool polling = false;  // a count is under way
};

// A PAUSE ... FOR of a client of this worker. It outlives its session, and counts for nothing once its database's
// paused_until says another moment.
struct TimedPause {
  std::string database;  // empty: all
  Micros until = 0;
};

struct ConsoleSession {
  Client* client = nullptr;    // null once it has closed: then the session only waits to be freed
  bool busy = false;           // a command is under way: nothing is read meanwhile
  bool running = false;        // run_script() is on the stack
  bool simple = false;         // a simple Query is being answered: ReadyForQuery is owed
  bool skipping = false;       // an error in the extended protocol: up to Sync
  bool in_block = false;       // the client has said BEGIN
  std::deque<Command> script;  // the rest of a simple Query
  std::map<std::string, Prepared, std::less<>> prepared;
  std::map<std::string, Portal, std::less<>> portals;
  std::string executing;  // the portal under way, if `busy` and not `simple`
  int64_t row_limit = 0;  // of that Execute; 0: none
  std::optional<Wait> wait;
  std::string out;  // gathered; flushed at the end of each step
};

// Both per client; more is an error (54000).
inline constexpr size_t kPreparedMax = 1000;
inline constexpr size_t kPortalsMax = 100;

}  // namespace berth::admin
