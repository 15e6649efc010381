// Prepared statements in transaction mode: a client's names are its own, a server's statements are everybody's.
// Parse, Bind, Describe and Close travel under the broker's name of the statement; a server that lacks it gets its
// Parse just before. An error must happen on the server as well, or what ran before it in the same batch would
// commit: so unknown names and names in use are sent on, in a form that makes PostgreSQL itself refuse them.
#include "base/fault.h"
#include "session/client_relay.h"
#include "wire/encode.h"

namespace berth::session {

using Command = pool::StatementData::Command;

void ClientRelay::forward_parse(std::string_view name, const wire::ParseMessage& message) {
  emit();
  const uint64_t size = 4 + name.size() + 1 + message.sql.size() + 1 + message.types.size();
  char* at = out_.reserve(wire::kHeaderSize + name.size() + 1);
  at[0] = wire::kParse;
  wire::store32(at + 1, static_cast<uint32_t>(size));
  std::memcpy(at + wire::kHeaderSize, name.data(), name.size());
  at[wire::kHeaderSize + name.size()] = '\0';
  out_.lend({at, wire::kHeaderSize + name.size() + 1});
  out_.lend({message.sql.data(), message.sql.size() + 1});
  out_.lend(message.types);
}

// Is what the broker does with this Parse another thing in a failed transaction? It answers one that the server has
// already, and injects one for a name in use that the server lacks.
bool ClientRelay::depends_on_status(const wire::ParseMessage& message) {
  const pool::Statement* there = client_.statements.find(message.name);
  return there ? !server_->statements.has(**there) : server_->statements.has(*intern(message));
}

bool ClientRelay::parse() {
  bool stop;
  if (!whole(static_cast<uint64_t>(context_.options().max_parse_size), stop)) return false;
  wire::ParseMessage message;
  if (!wire::parse_parse(body(), message)) return fail("invalid Parse message");
  if (message.name.size() > wire::kNameSizeMax) return fail("statement name is too long");
  if (client_.statements.size() >= kClientStatementsMax)
    return fail("too many prepared statements", "54000", "Close or DEALLOCATE those that are not used any more.");
  const bool of_names = !message.name.empty() || wire::may_be_statement_command(message.sql);
  if (of_names && names_unsettled()) return wait();
  // What a Parse means is its settings, and what is under way may yet change them, or fail.
  if (!message.name.empty() && parse_unsettled()) return wait();
  if (!message.name.empty() && must_wait_for_all() && depends_on_status(message)) return wait();
  client_.in_batch = server_->unsynced = true;
  client_.slice->counters.client_parse_count++;
  if (message.name.empty()) return parse_unnamed(intern(message));
  if (const pool::Statement* there = client_.statements.find(message.name)) {
    return parse_again(pool::Statement(*there), message);
  }
  pool::Statement statement = intern(message);
  if (must_be_sent()) {
    statement = pool::StatementWindow::intern_alone(*statement);
    server_->open_statements.push_back(statement);
    server_->plans_open = true;
  }
  const bool known = server_->statements.touch(*statement);
  server_->names_changed = true;
  const bool refused = server_->status == 'E' && !wire::runs_in_failed_transaction(message.sql);
  emit();
  if (known && !refused) {
    push(Request::Kind::kParsedAlready).change_name(message.name, nullptr);
  } else {
    wire::ParseMessage sent = message;
    sent.sql = statement->sql;
    if (!known) server_->remember(statement, context_.options().max_prepared_statements);
    Request& request = push(Request::Kind::kParse);
    request.statement = statement;
    request.on_server = !known;
    request.change_name(message.name, nullptr);
    client_.slice->counters.server_parse_count++;
    forward_parse(statement->name, sent);
  }
  client_.statements.set(message.name, std::move(statement));
  return consume(head_.size);
}

// The unnamed statement keeps its (lack of a) name: it goes as it is, unless it is a DEALLOCATE.
bool ClientRelay::parse_unnamed(pool::Statement statement) {
  Request& request = push(Request::Kind::kParse);
  request.unnamed = true;
  request.previous = std::move(client_.unnamed);
  request.statement = statement;
  client_.unnamed = statement;
  server_->unnamed = statement;
  server_->unnamed_changed = true;
  if (must_be_sent() || parse_unsettled()) server_->unnamed_open = true;
  if (statement->command != Command::kDeallocate) return pass();
  wire::ParseMessage sent;
  sent.sql = statement->sql;
  sent.types = statement->types;
  forward_parse("", sent);
  return consume(head_.size);
}

// The name is in use: 42P05 from PostgreSQL itself, which sees its own name in use.
bool ClientRelay::parse_again(const pool::Statement& there, const wire::ParseMessage& message) {
  emit();
  // In a failed transaction PostgreSQL refuses it without looking at the name, and would refuse to make it.
  if (!server_->refuses_all() || wire::runs_in_failed_transaction(message.sql)) {
    if (!server_->statements.has(*there)) server_->names_changed = true;
    ensure(there);
  }
  Request& request = push(Request::Kind::kParse);
  request.statement = there;
  request.change_name(message.name, &there);  // for the error's text; the name keeps its meaning
  forward_parse(there->name, message);
  return consume(head_.size);
}

// The server has `statement` when what follows arrives there.
void ClientRelay::ensure(const pool::Statement& statement) {
  if (server_->statements.touch(*statement)) return;
  server_->remember(statement, context_.options().max_prepared_statements);
  server_->inject_parse(statement, false);
  client_.slice->counters.server_parse_count++;
}

// What an earlier batch does to names is known only when PostgreSQL has answered it: it may fail, and then it is
// undone. `name` is one of the client's, or empty for the unnamed statement.
bool ClientRelay::must_wait(std::string_view name) const {
  if (breaks_copy_) return false;
  if (server_->requests.pending(server_->batch_end)) {
    // What the server lacks would have to be injected, and whether that is taken (no failed transaction, no error
    // before it) is not known while earlier batches are unanswered.
    const pool::Statement* there = name.empty() ? &client_.unnamed : client_.statements.find(name);
    const bool lacks =
        name.empty() ? !(server_->unnamed == client_.unnamed) : there && !server_->statements.has(**there);
    if (lacks || (there && *there && (*there)->command == Command::kDeallocate)) return true;
  }
  if (name.empty()) return !server_->unnamed_changed && server_->requests.pending(server_->unnamed_end);
  return names_unsettled();
}

bool ClientRelay::names_unsettled() const {
  return !breaks_copy_ && server_->requests.pending(server_->names_end);
}

// What a Parse means depends on an earlier batch that is under way.
bool ClientRelay::parse_unsettled() const {
  return !breaks_copy_ && server_->requests.pending(server_->doubt_end);
}

// Behind what may change settings, or be a COPY that reads it, in the same batch: that cannot be waited for, so it is
// not the broker's to answer, and what comes of a Parse is nobody else's.
bool ClientRelay::must_be_sent() const {
  return breaks_copy_ || (server_->in_doubt && !FAULT(settings_in_doubt_shared));
}

// What takes a name away waits for all: an error about a statement is told under the name that it had.
bool ClientRelay::must_wait_for_all() const {
  return !breaks_copy_ && server_->requests.pending(server_->batch_end);
}

// The message stays with the engine until the server has said more (Server::after_bytes).
bool ClientRelay::wait() {
  if (server_->sync_swallowed) ask_for_answers();
  context_.engine.pause(client_.conn, net::kPausePipeline);
  return false;
}

// Looks a name up; sends what the server lacks. `server_name` is what goes to the server in its place. False: the
// unnamed statement, which goes as it is. `values` is how many a Bind gives; -1: not known.
bool ClientRelay::resolve(std::string_view name, bool binds, int values, pool::Statement& statement,
                          std::string& server_name) {
  if (name.empty()) {
    if (client_.unnamed) statement = binds ? as_bound(client_.unnamed) : client_.unnamed;
    if (statement && server_->unnamed == statement) return false;
    emit();
    server_->unnamed_changed = true;  // until it is answered, later batches cannot count on it
    if (statement) {
      server_->inject_parse(statement, true);
      server_->unnamed = statement;
    } else {
      // Another client's unnamed statement may be there: drop it, so that PostgreSQL says 26000.
      server_->inject_close('S', "");
      server_->unnamed.reset();
    }
    return false;
  }
  if (const pool::Statement* there = client_.statements.find(name, place_)) {
    statement = binds ? as_bound(*there) : *there;
    if (binds && values >= 0 && server_->refuses_all() && !server_->statements.has(*statement) &&
        !wire::runs_in_failed_transaction(statement->sql)) {
      // It would be refused there (25P02), and so would its Parse: the spare is refused in its place, by the same
      // message. Unless what this batch has executed ends the failed transaction: then it runs.
      emit();
      server_->inject_spare(static_cast<uint16_t>(values));
      statement.reset();
      server_name = pool::kSpareName;
      return true;
    }
    if (!server_->statements.touch(*statement)) {
      emit();
      server_->names_changed = true;  // likewise
      ensure(statement);
    }
    return true;
  }
  server_name = std::string(pool::kMissingPrefix) + std::string(name);
  return true;
}

// How many values a Bind gives, from what follows its names; -1: that has not come yet.
static int values_of_bind(std::string_view rest) {
  if (rest.size() < 2) return -1;
  const size_t formats = size_t{2} + size_t{2} * wire::read16(rest.data());
  return rest.size() < formats + 2 ? -1 : wire::read16(rest.data() + formats);
}

bool ClientRelay::bind() {
  wire::BindHead names;
  const uint64_t body_size = head_.size - wire::kHeaderSize;
  const int read = wire::parse_bind_head(body_at_hand(), body_size, names);
  if (read < 0) return fail("invalid Bind message");
  if (read == 0) return more(std::min<uint64_t>(head_.size, bytes_.size() - at_ + 64));
  if (names.portal.size() > kBindNameMax || names.statement.size() > kBindNameMax) return fail("name is too long");
  if (head_.size > INT32_MAX - kArena) return fail("message is too long");
  if (must_wait(names.statement)) return wait();
  client_.in_batch = server_->unsynced = true;
  client_.slice->counters.bind_count++;
  pool::Statement statement;
  std::string missing;
  const bool rename =
      resolve(names.statement, true, values_of_bind(body_at_hand().substr(names.size)), statement, missing);
  if (client_.bound || (statement && statement->command != Command::kNone)) bind_command(names.portal, statement);
  if (statement && (statement->traits.changes_settings || statement->traits.copies))
    server_->in_doubt = server_->portal_in_doubt = true;
  Request& request = push(Request::Kind::kBind);
  request.statement = statement;
  request.place = place_;
  if (!rename) return pass();
  const std::string_view name = statement ? std::string_view(statement->name) : std::string_view(missing);
  const uint64_t size = head_.size - names.statement.size() + name.size();
  emit();
  // Head: type, length, portal, statement. The rest of the message goes as it is.
  const size_t portal = names.portal.size();
  char* at = out_.reserve(wire::kHeaderSize + portal + 1 + name.size() + 1);
  at[0] = wire::kBind;
  wire::store32(at + 1, static_cast<uint32_t>(size - 1));
  std::memcpy(at + wire::kHeaderSize, names.portal.data(), portal);
  at[wire::kHeaderSize + portal] = '\0';
  std::memcpy(at + wire::kHeaderSize + portal + 1, name.data(), name.size());
  at[wire::kHeaderSize + portal + 1 + name.size()] = '\0';
  out_.lend({at, wire::kHeaderSize + portal + 1 + name.size() + 1});
  const uint64_t skipped = wire::kHeaderSize + names.size;
  start_ = at_ + skipped;
  const uint64_t part = std::min<uint64_t>(head_.size, bytes_.size() - at_);
  at_ += part;
  client_.forward_left = head_.size - part;
  return true;
}

bool ClientRelay::describe() {
  bool stop;
  if (!whole(kTargetMax, stop)) return false;
  wire::TargetMessage target;
  if (!wire::parse_target(body(), target)) return fail("invalid Describe message");
  if (target.name.size() > kArena / 2) return fail("name is too long");
  if (target.kind == 'S' && must_wait(target.name)) return wait();
  client_.in_batch = server_->unsynced = true;
  if (target.kind == 'P') {
    push(Request::Kind::kDescribe);
    return pass();
  }
  pool::Statement statement;
  std::string missing;
  const bool rename = resolve(target.name, false, -1, statement, missing);
  Request& request = push(Request::Kind::kDescribe);
  request.statement = statement;
  request.place = place_;
  if (!rename) return pass();
  const std::string_view name = statement ? std::string_view(statement->name) : std::string_view(missing);
  emit();
  const size_t size = wire::kHeaderSize + 1 + name.size() + 1;
  char* at = out_.reserve(size);
  at[0] = wire::kDescribe;
  wire::store32(at + 1, static_cast<uint32_t>(size - 1));
  at[wire::kHeaderSize] = 'S';
  std::memcpy(at + wire::kHeaderSize + 1, name.data(), name.size());
  at[size - 1] = '\0';
  out_.lend({at, size});
  return consume(head_.size);
}

bool ClientRelay::close() {
  bool stop;
  if (!whole(kTargetMax, stop)) return false;
  wire::TargetMessage target;
  if (!wire::parse_target(body(), target)) return fail("invalid Close message");
  if (target.kind == 'S' && !target.name.empty() && must_wait_for_all()) return wait();
  client_.in_batch = server_->unsynced = true;
  if (target.kind == 'P') {
    push(Request::Kind::kClose);
    return pass();
  }
  if (target.name.empty()) {
    Request& request = push(Request::Kind::kClose);
    request.unnamed = true;
    request.previous = std::move(client_.unnamed);
    client_.unnamed.reset();
    server_->unnamed.reset();
    server_->unnamed_changed = true;
    return pass();
  }
  // Others may use the statement: only the name goes. The server drops it when it is the least recently used. What a
  // COPY may read is sent, of a name that nobody has.
  emit();
  const pool::Statement* there = client_.statements.find(target.name);
  const bool drops = there && (*there)->of_one_client && server_->statements.has(**there);
  Request& request = drops            ? server_->inject_close('S', (*there)->name)
                     : must_be_sent() ? server_->inject_close('S', pool::kMissingPrefix)
                                      : push(Request::Kind::kClosedAlready);
  request.owner = &client_;
  if (drops) {  // nobody else has it
    request.on_server = true;
    request.statement = *there;
    server_->statements.remove(**there);
  }
  if (there) {
    request.change_name(target.name, there);
    server_->names_changed = true;
    client_.statements.erase(target.name);
  }
  return consume(head_.size);
}

}  // namespace berth::session
