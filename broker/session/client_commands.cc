// Statements that act on statements or settings: DEALLOCATE, DISCARD ALL, RESET and their other spellings, where they
// are all of a Query or of a prepared statement. A client's statements and its start values are known to the broker
// only: so what the command means for them is done here, and undone if PostgreSQL refuses it.
#include "session/client_relay.h"
#include "wire/encode.h"
#include "wire/frontend.h"

namespace berth::session {

using Command = pool::StatementData::Command;

static bool restores_settings(const pool::StatementData& statement) {
  return statement.command == Command::kReset || statement.command == Command::kResetAll ||
         statement.command == Command::kDiscardAll;
}

// What executing `sql` does to statements or settings, for this client: command, operand and text; not interned.
pool::StatementData ClientRelay::command_of(std::string_view sql) const {
  using Kind = wire::StatementCommand::Kind;
  pool::StatementData out;
  wire::StatementCommand command = wire::parse_statement_command(sql);
  switch (command.kind) {
    case Kind::kNone: return out;
    case Kind::kDeallocate:
      out.command = Command::kDeallocate;
      sql = pool::kDeallocateSpare;
      break;
    case Kind::kDeallocateAll: out.command = Command::kDeallocateAll; break;
    case Kind::kDiscardAll: out.command = Command::kDiscardAll; break;
    case Kind::kReset: out.command = Command::kReset; break;
    case Kind::kResetAll: out.command = Command::kResetAll; break;
  }
  out.operand = std::move(command.name);
  out.sql = sql;
  return out;
}

// A DEALLOCATE of a statement that SQL has made, or nobody: PostgreSQL knows it by the client's name.
bool ClientRelay::is_of_sql(const pool::StatementData& command) const {
  return command.command == Command::kDeallocate && !client_.statements.find(command.operand);
}

// A prepared DEALLOCATE means what its name means when it is bound.
pool::Statement ClientRelay::as_bound(const pool::Statement& statement) {
  if (!is_of_sql(*statement)) return statement;
  return context_.statements.intern("DEALLOCATE " + pool::quote_identifier(statement->operand), statement->types, {});
}

// A statement under the settings of its client.
pool::Statement ClientRelay::intern(const wire::ParseMessage& message) {
  const pool::Params& plan = pool::plan_params(client_.params);
  if (wire::may_be_statement_command(message.sql)) {
    pool::StatementData data = command_of(message.sql);
    if (data.command == Command::kNone && wire::may_be_set(message.sql)) data.command = Command::kSet;
    if (data.command != Command::kNone)
      return context_.statements.intern_command(data.command, data.operand, message.sql, message.types, plan);
  }
  return context_.statements.intern(message.sql, message.types, plan);
}

// What PostgreSQL reports follows the client; of the rest the log speaks when it has been set.
bool ClientRelay::sets_untracked(std::string_view sql) const {
  const std::string_view name = wire::set_parameter(sql);
  return !name.empty() && !server_->start_params->find(name);
}

// RESET and DISCARD ALL go back to the server's settings. The client's own, where they differ, as a SELECT that is to
// run right behind; empty: nothing differs.
std::string ClientRelay::settings_after(const pool::StatementData& command) const {
  const pool::Params& theirs = server_->start_params;
  const pool::Params& own = client_.start_params;
  switch (command.command) {
    case Command::kDiscardAll:
    case Command::kResetAll: return pool::difference_sql(theirs, own);
    case Command::kReset: {
      const std::string* value = own->find(command.operand);
      return value ? pool::difference_sql(theirs, pool::with_value(theirs, command.operand, *value)) : std::string();
    }
    default: return {};
  }
}

// What DEALLOCATE and DISCARD do to the client's and the server's statements, done when they are sent (what the
// client sends next counts on it) and undone if PostgreSQL refuses them.
void ClientRelay::apply_command(Request& request, const pool::StatementData& command) {
  if (command.command == Command::kReset || command.command == Command::kResetAll) return;
  request.undo = std::make_unique<Request::Undo>();
  server_->names_changed = true;
  if (command.command == Command::kDeallocate) {
    const pool::Statement* there = client_.statements.find(command.operand);
    if (!there) return;
    request.undo->previous = *there;
    request.undo->name = command.operand;
    client_.statements.erase(command.operand);
    return;
  }
  request.undo->all_statements = true;
  request.undo->of_client = std::move(client_.statements);
  request.undo->of_server = std::move(server_->statements);
  client_.statements = {};
  server_->statements = {};
}

// False: it is none, or PostgreSQL alone knows what it means. `done` says what query() is to return.
bool ClientRelay::query_command(std::string_view sql, bool& done) {
  if (!client_.slice->replication.empty()) return false;
  using Kind = wire::StatementCommand::Kind;
  const Kind kind = wire::parse_statement_command(sql).kind;
  if (kind == Kind::kNone) return false;
  if (own_names_ && (kind == Kind::kDeallocate || kind == Kind::kDeallocateAll)) return false;
  if (must_wait_for_all()) {
    done = wait();
    return true;
  }
  const pool::StatementData command = command_of(sql);
  if (command.command == Command::kNone || is_of_sql(command)) return false;
  emit();
  // In the middle of a batch it stays a Query: should the batch have failed, PostgreSQL skips it, and answers
  // nothing.
  const std::string settings = client_.in_batch ? std::string() : settings_after(command);
  if (!settings.empty()) {
    query_then_settings(command, settings);
    done = consume(head_.size);
    return true;
  }
  if (command.command == Command::kDeallocate) server_->inject_spare();
  Request& request = push(Request::Kind::kQuery);
  drop_unnamed(request);
  apply_command(request, command);
  end_batch();
  if (command.command != Command::kDeallocate) {
    done = pass();
    return true;
  }
  std::string sent;
  wire::put_query(sent, command.sql);
  out_.copy(sent);
  done = consume(head_.size);
  return true;
}

// A simple Query in the extended protocol, so that the settings are set before PostgreSQL reports them with its
// ReadyForQuery: the client hears only of what has changed for it.
void ClientRelay::query_then_settings(const pool::StatementData& command, std::string_view settings) {
  // As a Query does: the unnamed statement goes first of all, the portal is the unnamed one, and goes when it has
  // run.
  server_->inject_close('S', "");
  server_->inject_statement(command.sql, "");
  Request& request = push(Request::Kind::kExecute);
  request.settings_follow = true;
  apply_command(request, command);
  server_->inject_close('P', "");
  server_->inject_settings(settings);
  std::string sync;
  wire::put_empty(sync, wire::kSync);
  out_.copy(sync);
  drop_unnamed(push(Request::Kind::kSync));
  end_batch();
}

// Which of the portals act on statements or settings. More than kBoundMax at once are not remembered.
void ClientRelay::bind_command(std::string_view portal, const pool::Statement& statement) {
  if (!client_.bound) client_.bound = std::make_unique<std::vector<Client::Bound>>();
  auto& bound = *client_.bound;
  std::erase_if(bound, [portal](const Client::Bound& entry) { return entry.portal == portal; });
  if (statement && statement->command != Command::kNone && bound.size() < kBoundMax)
    bound.push_back({std::string(portal), statement});
  if (bound.empty()) client_.bound.reset();
}

pool::Statement ClientRelay::bound_command(std::string_view portal) const {
  for (const Client::Bound& entry : *client_.bound) {
    if (entry.portal == portal) return entry.statement;
  }
  return {};
}

bool ClientRelay::execute_command(const pool::Statement& command) {
  if (command->command == Command::kSet) {
    push(Request::Kind::kExecute).sets_untracked = sets_untracked(command->sql);
    return pass();
  }
  if (must_wait_for_all()) return wait();
  emit();
  const std::string settings = settings_after(*command);
  if (command->command == Command::kDeallocate) server_->inject_spare();
  Request& request = push(Request::Kind::kExecute);
  request.settings_follow = !settings.empty();
  apply_command(request, *command);
  pass();
  emit();
  if (!settings.empty()) server_->inject_settings(settings);
  return true;
}

// ---- statements under the client's own names (session mode): only those that go back to the session's start values
// are remembered

bool ClientRelay::own_parse() {
  const uint64_t look = std::min<uint64_t>(head_.size, pool_command_max());
  if (bytes_.size() - at_ < look) return more(look);
  wire::ParseMessage message;
  std::string_view rest = body_at_hand();
  if (!wire::take_cstring(rest, message.name)) return extended(Request::Kind::kParse);
  pool::Statement command;
  if (look == head_.size && wire::parse_parse(body(), message) && wire::may_be_statement_command(message.sql)) {
    command = intern(message);
    if (!restores_settings(*command)) command.reset();
  }
  client_.in_batch = server_->unsynced = true;
  Request& request = push(Request::Kind::kParse);
  if (message.name.empty()) {
    request.unnamed = true;
    request.previous = std::move(client_.unnamed);
    client_.unnamed = command;
    server_->unnamed.reset();
  } else if (command || client_.statements.size() > 0) {
    remember_own(request, message.name, command);
  }
  return pass();
}

// What the name means from now on: a command, or nothing of interest.
void ClientRelay::remember_own(Request& request, std::string_view name, const pool::Statement& command) {
  request.change_name(name, client_.statements.find(name));
  if (command) {
    client_.statements.set(name, command);
  } else {
    client_.statements.erase(name);
  }
}

bool ClientRelay::own_bind() {
  if (!client_.unnamed && client_.statements.size() == 0 && !client_.bound) return extended(Request::Kind::kBind);
  wire::BindHead names;
  const int read = wire::parse_bind_head(body_at_hand(), head_.size - wire::kHeaderSize, names);
  if (read == 0) return more(std::min<uint64_t>(head_.size, bytes_.size() - at_ + 64));
  if (read > 0) {
    const pool::Statement* there = client_.statements.find(names.statement);
    const pool::Statement command = names.statement.empty() ? client_.unnamed : there ? *there : pool::Statement();
    if (client_.bound || command) bind_command(names.portal, command);
  }
  return extended(Request::Kind::kBind);
}

bool ClientRelay::own_close() {
  bool stop;
  if (!whole(kTargetMax, stop)) return false;
  client_.in_batch = server_->unsynced = true;
  Request& request = push(Request::Kind::kClose);
  wire::TargetMessage target;
  if (client_.statements.size() > 0 && wire::parse_target(body(), target) && target.kind == 'S')
    remember_own(request, target.name, {});
  return pass();
}

}  // namespace berth::session
