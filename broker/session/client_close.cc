// The last chapter: errors that end a session, disconnects, and what they leave behind for the server.
#include <cstring>

#include "base/fault.h"
#include "base/log.h"
#include "config/hba.h"
#include "pool/watch.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/encode.h"

namespace berth::session {

std::string_view Client::user_name() const {
  if (login) return login->user.empty() ? "(nouser)" : std::string_view(login->user);
  return user.empty() ? (slice ? std::string_view(slice->user) : "(nouser)") : std::string_view(user);
}

std::string_view Client::database_name() const {
  if (slice) return slice->database;
  return login && !login->database.empty() ? std::string_view(login->database) : "(nodb)";
}

std::string Client::label() const {
  const net::Address peer = conn ? net::peer_address(context.engine.descriptor(conn)) : net::Address{};
  return fmt::format("C-{}: {}/{}@{}", fmt::ptr(this), database_name(), user_name(),
                     peer.valid() ? peer.text() : "gone");
}

void Client::send(std::string_view bytes) {
  if (conn && !closing()) net::write(context.engine, conn, bytes);
}

void Client::notice(std::string_view text) {
  std::string out;
  wire::put_error(out, wire::Severity::kNotice, "00000", text);
  send(out);
}

void Client::count_error(std::string_view sqlstate) {
  if (slice) return slice->count_error(stats::ErrorSource::kBroker, sqlstate);
  context.errors.count(stats::ErrorSource::kBroker, sqlstate);
}

// What the operator is told beyond what the client is, which must not learn who exists or what the rules say.
static std::string for_the_log(const Login& login, ClientEnd why) {
  std::string out = login.why;
  const bool by_rule = login.rule && (why == ClientEnd::kHba || why == ClientEnd::kAuthFailed);
  if (by_rule) out += fmt::format("{}{}:{}", out.empty() ? "" : ", ", login.config->hba->file, login.rule->line);
  return out.empty() ? out : " (" + out + ")";
}

void Client::fatal(ClientEnd why, std::string_view sqlstate, std::string_view text, std::string_view detail,
                   std::string_view hint) {
  if (closing()) return;
  if (text.empty()) text = stats::words_of(why);
  std::string out;
  wire::put_error(out, wire::Severity::kFatal, sqlstate, text, detail, hint);
  // Not into the middle of a message, and not behind PostgreSQL's own FATAL.
  if (!server || !(server->mid_message() || server->fatal_seen)) send(out);
  count_error(sqlstate);
  const bool early = state == pool::ClientState::kStartup || state == pool::ClientState::kAuth;
  if (context.options().log_pooler_errors && (!early || context.refusals.take(context.now())))
    LOG_WARNING("{} pooler error: {}{}", label(), text, login ? for_the_log(*login, why) : std::string());
  close(why, text);
}

pool::ClientList* Client::home_list() {
  switch (state) {
    case pool::ClientState::kStartup:
    case pool::ClientState::kAuth: return &context.startup_clients;
    case pool::ClientState::kConsole: return &context.console_clients;
    case pool::ClientState::kClosing: return &context.closing_clients;
    case pool::ClientState::kLoginWait:
    case pool::ClientState::kIdle:
    case pool::ClientState::kWaiting:
    case pool::ClientState::kLinked: break;
  }
  return nullptr;  // the slice's
}

void Client::leave_list() {
  if (pool::ClientList* list = home_list()) {
    list->remove(this);
  } else {
    slice->pool.remove_client(this);
  }
}

void Client::close(ClientEnd why, std::string_view text) {
  if (closing()) return;
  pool::watch_event(state, stats::kClientEnds[static_cast<size_t>(why)].name);
  context.disconnects.count(why);
  if (handshaking) context.globals.tls.clients.counts.failures.fetch_add(1, std::memory_order_relaxed);
  const bool known = slice || (state == pool::ClientState::kConsole && !extension);
  if (context.options().log_disconnections && known) {
    LOG_INFO("{} closing because: {} (age={}s)", label(), text.empty() ? stats::words_of(why) : text,
             (context.now() - connected_at) / kSecond);
  }
  if (login) left_login(why);
  Server* had = server;
  const bool console = state == pool::ClientState::kConsole;
  leave_list();
  enter(pool::ClientState::kClosing);
  context.closing_clients.push_back(this);
  if (had) had->abandon();
  ASSERT(server == nullptr);
  if (counted_gates) {
    slice->pool.shared()->of_database->clients.release();
    if (!FAULT(client_place_kept)) context.globals.registry.user(user_name())->clients.release();
    counted_gates = false;
  }
  leave_door();
  if (counted_address) context.globals.door.discharge(key_of(peer));
  counted_address = false;
  if (counted) context.globals.clients.release();
  counted = false;
  if (console) context.console->on_closed(this);
  context.engine.close(conn);
}

void Client::on_eof(int error) {
  if (closing()) return;
  if (error) {
    close(ClientEnd::kConnectionLost, fmt::format("client connection lost: {}", strerror(error)));
  } else {
    close(state == pool::ClientState::kStartup ? ClientEnd::kEofBeforeLogin : ClientEnd::kUnexpectedEof);
  }
}

void Client::on_drained() {
  context.engine.resume(conn, net::kPauseBackpressure);
  if (server && server->conn && !server->closing() && !FAULT(backpressure_for_ever))
    context.engine.resume(server->conn, net::kPauseBackpressure);
}

void Client::on_closed() {
  ASSERT(closing());
  context.closing_clients.remove(this);
  conn = nullptr;
  delete this;
}

}  // namespace berth::session
