#include "admin/console.h"

#include <algorithm>
#include <cctype>

#include "admin/drivers.h"
#include "admin/parser.h"
#include "admin/show.h"
#include "admin/version.h"
#include "base/fault.h"
#include "base/log.h"
#include "session/limits.h"
#include "wire/encode.h"

namespace berth::admin {

std::string one_line(std::string text) {
  for (char& letter : text) {
    if (static_cast<unsigned char>(letter) < ' ' || letter == 0x7f) letter = ' ';
  }
  return text;
}

bool has_secret(std::string_view text) {
  constexpr std::string_view kSecret = "ldapbindpasswd";
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::search(text.begin(), text.end(), kSecret.begin(), kSecret.end(), same) != text.end();
}

ConsoleImpl::ConsoleImpl(Context& context, worker::Dispatcher& dispatcher)
    : context_(context), dispatcher_(dispatcher) {
  context.console = this;
}

ConsoleImpl::~ConsoleImpl() {
  context_.console = nullptr;
}

ConsoleImpl::Session* ConsoleImpl::find(uint64_t serial) {
  const auto at = sessions_.find(serial);
  return at == sessions_.end() ? nullptr : at->second.get();
}

// ---- life of a client

void ConsoleImpl::on_login(Client* client) {
  ASSERT(client->state == pool::ClientState::kConsole && !find(client->serial));
  auto session = std::make_unique<Session>();
  session->client = client;
  std::string& out = session->out;
  {
    wire::Message ok(out, wire::kAuthentication);
    wire::put32(out, 0);
  }
  for (const DriverParameter& parameter : driver_parameters()) {
    if (parameter.at_login) wire::put_parameter_status(out, parameter.told_as, parameter.value);
  }
  {
    wire::Message key(out, wire::kBackendKeyData);
    wire::put32(out, client->pid);
    out += session::cancel_key(client->pid, client->serial).substr(0, client->long_cancel_key ? 32 : 4);
  }
  wire::put_ready(out, 'I');
  counters_.client_login_count++;
  // The extension logs in for each question that somebody asks a view.
  if (context_.options().log_connections && !client->extension) {
    LOG_INFO("{} login attempt: db={} user={} tls={}", client->label(), client->database_name(), client->user_name(),
             client->tls() ? client->tls_text() : "no");
  }
  // The names are all that is kept of the login: what proved it may be a password, and its configuration, with the
  // secrets of everybody, goes when the next one comes.
  auto names = std::make_unique<session::Login>();
  names->user = std::move(client->login->user);
  names->database = std::move(client->login->database);
  client->login = std::move(names);
  Session& kept = *(sessions_[client->serial] = std::move(session));
  flush(kept);
}

void ConsoleImpl::on_closed(Client* client) {
  const auto at = sessions_.find(client->serial);
  if (at == sessions_.end()) return;
  at->second->client = nullptr;
  closed_.push_back(std::move(at->second));
  sessions_.erase(at);
}

// ---- messages

net::Taken ConsoleImpl::on_bytes(Client* client, std::string_view bytes) {
  Session* session = find(client->serial);
  ASSERT(session);
  size_t at = 0, need = 0;
  while (at < bytes.size() && session->client && !session->busy && need == 0) {
    if (context_.engine.unsent(client->conn) > 0) {
      context_.engine.pause(client->conn, net::kPauseBackpressure);  // on_drained resumes
      break;
    }
    const size_t taken = on_message(*session, bytes.substr(at), need);
    at += taken;
  }
  if (!session->client) return {bytes.size(), 0};
  counters_.received += static_cast<int64_t>(at);
  flush(*session);
  if (session->busy) context_.engine.pause(client->conn, net::kPauseHeld);
  return {at, need};
}

// Takes one whole message and returns its size; 0 with `need` set when more bytes are needed.
size_t ConsoleImpl::on_message(Session& session, std::string_view bytes, size_t& need) {
  if (bytes.size() < wire::kHeaderSize) {
    need = wire::kHeaderSize;
    return 0;
  }
  const wire::Head head = wire::read_head(bytes.data(), session::kConsoleQueryMax);
  if (!head.valid) {
    session.client->fatal(session::ClientEnd::kProtocolViolation, "08P01",
                          "invalid or too long message for the console");
    return 0;
  }
  if (bytes.size() < head.size) {
    need = head.size;
    return 0;
  }
  const std::string_view body = bytes.substr(wire::kHeaderSize, head.size - wire::kHeaderSize);
  session.client->request_at = context_.now();
  switch (head.tag) {
    case wire::kTerminate: session.client->close(session::ClientEnd::kRequest); break;
    case wire::kQuery:
      if (!session.skipping) on_query(session, body);
      break;
    case wire::kParse:
    case wire::kBind:
    case wire::kDescribe:
    case wire::kExecute:
    case wire::kClose:
    case wire::kSync:
    case wire::kFlush: on_extended(session, head.tag, body); break;
    default:
      session.client->fatal(session::ClientEnd::kProtocolViolation, "08P01",
                            fmt::format("unsupported packet type for admin console: {}", static_cast<int>(head.tag)));
  }
  return head.size;
}

void ConsoleImpl::on_query(Session& session, std::string_view body) {
  std::string_view sql;
  if (!wire::take_cstring(body, sql) || !body.empty())
    return session.client->fatal(session::ClientEnd::kProtocolViolation, "08P01", "malformed query message");
  LOG_NOISE("{} got admin query: {}", session.client->label(), has_secret(sql) ? "***" : one_line(std::string(sql)));
  counters_.query_count++;
  counters_.xact_count++;
  session.simple = true;
  session.portals.clear();
  Parsed parsed = parse_commands(sql);
  if (!parsed.error.empty()) {
    Reply reply{.error = std::move(parsed.error), .sqlstate = "08P01"};
    put_error(session, reply);
  } else if (parsed.commands.empty()) {
    wire::put_empty(session.out, wire::kEmptyQueryResponse);
  }
  session.script.assign(std::make_move_iterator(parsed.commands.begin()),
                        std::make_move_iterator(parsed.commands.end()));
  run_script(session);
}

// Runs what is left of a simple Query, until a command has to wait; then ReadyForQuery.
void ConsoleImpl::run_script(Session& session) {
  if (session.running) return;  // finish() was called at once: the loop below goes on
  session.running = true;
  while (session.client && !session.busy && !session.script.empty()) {
    const Command command = std::move(session.script.front());
    session.script.pop_front();
    start(session, command);
  }
  session.running = false;
  if (!session.client || session.busy) return;
  session.simple = false;
  wire::put_ready(session.out, session.in_block ? 'T' : 'I');
}

// ---- commands

// Begins a command; finish() follows, perhaps at once.
void ConsoleImpl::start(Session& session, const Command& command) {
  ASSERT(!session.busy);
  session.busy = true;
  const bool may = session.client->admin || (session.client->extension && extension_may(command.verb));
  if (role_needed(command) == Role::kAdmin && !may && !FAULT(stats_user_may_all))
    return fail(session, "admin access needed", "42501");
  switch (command.verb) {
    case Verb::kShow: return show(session, command.show);
    case Verb::kShowDriver:
    case Verb::kSelectOne:
    case Verb::kSelectVersion: return show_driver(session, command);
    case Verb::kBegin: session.in_block = true; break;
    case Verb::kEndBlock: session.in_block = false; break;
    case Verb::kIgnored: break;
    case Verb::kSetDriver: {
      Reply reply{.tag = command_tag(command)};
      wire::put_error(reply.notices, wire::Severity::kNotice, "00000", "SET ignored");
      return finish(session, std::move(reply));
    }
    default: return control(session, command);
  }
  done(session, command);
}

void ConsoleImpl::show(Session& session, ShowKind kind) {
  if (kind == ShowKind::kHelp) {
    Reply reply{.tag = "SHOW"};
    wire::put_error(reply.notices, wire::Severity::kNotice, "00000", "Console usage", help_text());
    return finish(session, std::move(reply));
  }
  const std::shared_ptr<Show> gathered = make_show(kind);
  const auto finished = [this, gathered, kind](Session& of) {
    Reply reply{.tag = "SHOW"};
    reply.table.emplace(columns_of(kind));
    gathered->finish(context_, *reply.table);
    finish(of, std::move(reply));
  };
  if (!visits_workers(kind)) return finished(session);
  visit_all(
      session, [gathered](Context& context) { gathered->visit(context); }, finished);
}

void ConsoleImpl::show_driver(Session& session, const Command& command) {
  Reply reply{.tag = command_tag(command)};
  reply.table.emplace(columns_of_command(command));
  if (command.verb == Verb::kSelectVersion) {
    reply.table->text(kPgBouncerVersion).end_row();
  } else if (command.verb == Verb::kSelectOne) {
    reply.table->text(command.value).end_row();
  } else {
    reply.table->text(find_driver_parameter(command.key)->value).end_row();
  }
  finish(session, std::move(reply));
}

// Goes on with `done` on this worker unless the client has closed meanwhile.
void ConsoleImpl::visit_all(Session& session, std::function<void(Context&)> visit,
                            std::function<void(Session&)> done) {
  const uint64_t serial = session.client->serial;
  dispatcher_.visit_all(context_.worker, std::move(visit), [this, serial, done = std::move(done)](Context&) {
    if (Session* of = find(serial)) done(*of);
  });
}

void ConsoleImpl::done(Session& session, const Command& command) {
  finish(session, {.tag = command_tag(command)});
}

void ConsoleImpl::fail(Session& session, std::string_view text, std::string_view sqlstate, std::string_view detail) {
  finish(session, {.error = std::string(text), .sqlstate = std::string(sqlstate), .detail = std::string(detail)});
}

// A command is over: its answer, then whatever follows it.
void ConsoleImpl::finish(Session& session, Reply reply) {
  ASSERT(session.client && session.busy);
  session.busy = false;
  session.wait.reset();
  session.out += reply.notices;
  if (!session.simple) {
    answer_execute(session, reply);
  } else {
    answer_simple(session, reply);
    run_script(session);
  }
  if (!session.client || session.running) return;
  flush(session);
  if (!session.busy) context_.engine.resume(session.client->conn, net::kPauseHeld);
}

void ConsoleImpl::answer_simple(Session& session, Reply& reply) {
  if (!reply.error.empty()) {
    put_error(session, reply);
    return session.script.clear();
  }
  if (reply.table) {
    put_description(session.out, reply.table->columns(), {});
    for (size_t row = 0; row < reply.table->size(); ++row) reply.table->put_row(session.out, row, {});
  }
  wire::Message complete(session.out, wire::kCommandComplete);
  wire::put_cstring(session.out, reply.tag);
}

void ConsoleImpl::put_error(Session& session, const Reply& reply) {
  wire::put_error(session.out, wire::Severity::kError, reply.sqlstate, reply.error, reply.detail, reply.hint);
  if (context_.options().log_pooler_errors) {
    LOG_WARNING("{} pooler error: {}", session.client->label(),
                has_secret(reply.error) ? "***" : one_line(reply.error));
  }
}

void ConsoleImpl::flush(Session& session) {
  if (!session.client || session.out.empty()) return;
  counters_.sent += static_cast<int64_t>(session.out.size());
  session.client->send(session.out);
  session.out.clear();
  if (session.out.capacity() > session::kConsoleQueryMax) std::string().swap(session.out);
}

}  // namespace berth::admin
