// Fuzzes what the broker reads in SQL (DEALLOCATE, DISCARD, RESET, SET ... TO DEFAULT, what a SET sets, and what ends
// a transaction) against PostgreSQL's own parser, in Debian's libpg_query: whenever that understands the text, both
// must say the same. Not for this reader, and said to be so here: U&"names", names with a dot or as long as
// PostgreSQL's longest, and the parameters that have a syntax of their own. A text that PostgreSQL refuses may be
// anything to us: it is sent there.
#include <pg_query.h>
#include <strings.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "fuzz/wire_input.h"

namespace berth::wire {

using Kind = StatementCommand::Kind;

// What PostgreSQL says of a text, out of the tree that libpg_query writes in JSON.
struct Reference {
  bool understood = false;
  size_t statements = 0;
  std::string node;  // of the only statement: "DeallocateStmt", ...
  std::string kind, name;
  bool local = false;
};

static size_t count_of(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// The string that stands behind `key`; inside of strings every quote has a backslash, so no string looks like a key.
static std::string field(const std::string& json, const std::string& key) {
  size_t at = json.find("\"" + key + "\":\"");
  std::string out;
  if (at == std::string::npos) return out;
  for (at += key.size() + 4; json[at] != '"'; ++at) {
    if (json[at] != '\\') {
      out += json[at];
      continue;
    }
    switch (json[++at]) {
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'u':
        out += static_cast<char>(std::strtol(json.substr(at + 1, 4).c_str(), nullptr, 16));
        at += 4;
        break;
      default: out += json[at];
    }
  }
  return out;
}

static Reference ask_postgres(const std::string& sql) {
  const PgQueryParseResult result = pg_query_parse(sql.c_str());
  Reference out;
  out.understood = result.error == nullptr;
  if (out.understood) {
    const std::string json = result.parse_tree;
    out.statements = count_of(json, "\"stmt\":{\"");
    const size_t at = json.find("\"stmt\":{\"");
    if (out.statements == 1) out.node = json.substr(at + 9, json.find('"', at + 9) - at - 9);
    out.kind = field(json, out.node == "DiscardStmt" ? "target" : "kind");
    out.name = field(json, "name");
    out.local = json.find("\"is_local\":true") != std::string::npos;
  }
  pg_query_free_parse_result(result);
  return out;
}

// The command that the statement is; null: none of those that we look for.
static std::optional<StatementCommand> command_of(const Reference& reference) {
  if (reference.statements != 1) return std::nullopt;
  if (reference.node == "DeallocateStmt")
    return StatementCommand{reference.name.empty() ? Kind::kDeallocateAll : Kind::kDeallocate, reference.name};
  if (reference.node == "DiscardStmt" && reference.kind == "DISCARD_ALL")
    return StatementCommand{Kind::kDiscardAll, ""};
  if (reference.node != "VariableSetStmt" || reference.local) return std::nullopt;
  if (reference.kind == "VAR_RESET_ALL") return StatementCommand{Kind::kResetAll, ""};
  if (reference.kind == "VAR_RESET" || reference.kind == "VAR_SET_DEFAULT")
    return StatementCommand{Kind::kReset, reference.name};
  return std::nullopt;
}

static bool is_excepted(const std::string& sql, const Reference& reference) {
  if (sql.find("&\"") != std::string::npos) return true;
  if (reference.name.size() >= 60 || reference.name.find('.') != std::string::npos) return true;
  for (const char* name :
       {"session_authorization", "transaction_isolation", "client_encoding",
        // no parameters of PostgreSQL, and words of its syntax
        "session", "local", "transaction", "constraints", "time", "names", "schema", "characteristics"}) {
    if (reference.name == name) return true;
  }
  return false;
}

static void try_command(const std::string& sql, const Reference& reference) {
  const StatementCommand ours = parse_statement_command(sql);
  const std::optional<StatementCommand> theirs = command_of(reference);
  if (ours.kind != Kind::kNone) {
    ASSERT(theirs && theirs->kind == ours.kind);
    ASSERT(theirs->name == ours.name || ours.name.size() >= 60);
  } else if (theirs) {
    ASSERT(is_excepted(sql, reference));
  }
  ASSERT(!theirs || is_excepted(sql, reference) || may_be_statement_command(sql));
}

// Made for a line of the log: comments and quotes within it are beyond it.
static void try_set(const std::string& sql, const Reference& reference) {
  if (reference.statements != 1 || reference.node != "VariableSetStmt") return;
  if (reference.kind != "VAR_SET_VALUE" && reference.kind != "VAR_SET_CURRENT") return;
  if (sql.find("--") != std::string::npos || sql.find("/*") != std::string::npos || is_excepted(sql, reference))
    return;
  if (sql.find('"') != std::string::npos || sql.find(';') < sql.find_first_not_of("; \t\n\r\f")) return;
  if (strcasecmp(reference.name.c_str(), "xmloption") == 0 || reference.name == "role") return;
  const std::string ours(set_parameter(sql));
  ASSERT(reference.local ? ours.empty() : strcasecmp(ours.c_str(), reference.name.c_str()) == 0);
}

// As IsTransactionExitStmt() of PostgreSQL; no statement at all is parsed in a failed transaction, too.
static void try_in_failed_transaction(const std::string& sql, const Reference& reference) {
  if (reference.statements > 1) return;
  bool theirs = reference.statements == 0;
  for (const char* kind : {"COMMIT", "PREPARE", "ROLLBACK", "ROLLBACK_TO"}) {
    if (reference.node == "TransactionStmt" && reference.kind == std::string("TRANS_STMT_") + kind) theirs = true;
  }
  ASSERT(runs_in_failed_transaction(sql) == theirs);
}

// What parse analysis is made for (analyze_requires_snapshot() of PostgreSQL), what may change settings, COPY.
static void try_traits(const std::string& sql, const Reference& reference) {
  if (reference.statements != 1) return;
  const auto is = [&](std::initializer_list<const char*> nodes) {
    return std::any_of(nodes.begin(), nodes.end(), [&](const char* node) { return reference.node == node; });
  };
  const StatementTraits ours = statement_traits(sql);
  if (is({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "DeclareCursorStmt", "ExplainStmt",
          "CreateTableAsStmt", "CallStmt"}))
    ASSERT(ours.reads_settings);
  const bool plain = std::all_of(sql.begin(), sql.end(), [](char c) { return c != '\\' && (c & 0x80) == 0; });
  if (plain && is({"TransactionStmt", "VariableSetStmt", "VacuumStmt", "DiscardStmt"})) ASSERT(!ours.reads_settings);
  if (is({"VariableSetStmt", "DiscardStmt", "DoStmt", "ExecuteStmt", "CallStmt"})) ASSERT(ours.changes_settings);
  if (reference.node == "TransactionStmt" && runs_in_failed_transaction(sql)) ASSERT(ours.changes_settings);
  ASSERT(ours.copies == is({"CopyStmt"}));
}

}  // namespace berth::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace berth::wire;
  std::string sql(view_of(data, size));
  sql = sql.substr(0, std::min(sql.find('\0'), kStatementCommandMax));
  const Reference reference = ask_postgres(sql);
  if (!reference.understood) return 0;
  try_command(sql, reference);
  try_set(sql, reference);
  try_in_failed_transaction(sql, reference);
  try_traits(sql, reference);
  return 0;
}
