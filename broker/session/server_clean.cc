// After a client: release between transactions, rollback and reset when a client has left, loss of the connection.
#include <cstring>

#include "base/fault.h"
#include "base/log.h"
#include "pool/watch.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/backend.h"
#include "wire/encode.h"
#include "wire/frontend.h"

namespace berth::session {

// PostgreSQL skips from the failed message to the next Sync, over Queries too. What those messages did to either
// side's statements is taken back, the latest first.
void Server::fail_batch() {
  size_t end = 0;
  while (end < requests.size() && requests.at(end).kind != Request::Kind::kSync) ++end;
  bool unnamed_undone = false;
  if (end == requests.size()) {  // a Query behind the failed message has not ended the batch, as it had seemed to
    unsynced = true;
    if (client) client->skipping = client->in_batch = true;
  }
  for (size_t i = end; i-- > 0;) {
    // What a Query was to settle, it has ended no batch, is left to the Sync.
    const Request& request = requests.at(i);
    if (end < requests.size()) {
      requests.at(end).settles |= request.settles;
    } else {
      plans_open |= request.settles;
    }
    if (request.unnamed) unnamed_undone = true;
    undo(requests.at(i), i == 0, end);
  }
  if (unnamed_undone) {  // what is there now was parsed before
    if (end < requests.size()) {
      requests.at(end).settles_unnamed = false;
    } else {
      unnamed_open = false;
    }
  }
  for (size_t i = 0; i < end; ++i) requests.pop();
}

static void restore_name(Client& owner, std::string_view name, const pool::Statement& before) {
  if (before) {
    owner.statements.set(name, before);
  } else if (!FAULT(failed_name_kept)) {
    owner.statements.erase(name);
  }
}

// `after`: where the requests stand that are not undone.
void Server::undo(Request& request, bool failed, size_t after) {
  if (request.kind == Request::Kind::kParse && request.on_server && !FAULT(failed_parse_kept))
    statements.remove(*request.statement);
  if (request.kind == Request::Kind::kClose && request.on_server && !FAULT(skipped_close_counted))
    statements.add(request.statement);
  if (request.unnamed) unnamed.reset();  // whatever the server has now, it is not known
  const bool of_all = request.undo && request.undo->all_statements;
  if (of_all) statements = std::move(request.undo->of_server);
  Client* owner = request.owner;
  if (!owner || owner != client) return;
  if (request.unnamed && !(failed && request.kind == Request::Kind::kQuery)) {
    // A Parse that fails has dropped the unnamed statement; one that is skipped has not. What the client has said of
    // it since then stands.
    const pool::Statement before = failed ? pool::Statement() : request.previous;
    size_t later = after;
    while (later < requests.size() && !(requests.at(later).unnamed && requests.at(later).owner == owner)) ++later;
    (later < requests.size() ? requests.at(later).previous : owner->unnamed) = before;
  }
  if (request.named) return restore_name(*owner, request.name, request.previous);
  if (!request.undo) return;
  if (!of_all) return restore_name(*owner, request.undo->name, request.undo->previous);
  owner->statements = std::move(request.undo->of_client);
}

// An injected query has failed: remember it for whoever it was for.
void Server::note_failure(const wire::ErrorFields& error) {
  if (syncing_settings || state == pool::ServerState::kSetup) {
    setting_error = error.message;
    setting_error_sqlstate = error.sqlstate;
  }
  if (syncing_settings) {
    settings_failed = true;
  } else {
    LOG_WARNING("{} the broker's own query failed: {}", label(), error.message);
    close_after = true;
  }
}

void Server::violated() {
  LOG_WARNING("{} broken protocol: unexpected message from the server", label());
  drop_client(ClientEnd::kServerViolation, "08P01");
  close(ServerEnd::kBadPacket);
}

// The client's session ends with an error; this server is closing or lost. No SQLSTATE: PostgreSQL has told it
// already.
void Server::drop_client(ClientEnd why, std::string_view sqlstate) {
  if (!client) return;
  Client* had = client;
  const bool torn = mid_message();  // an ErrorResponse would be taken for the rest of it
  half_sent = had->forward_left > 0 && !had->dropping;
  client = nullptr;
  owners.release(context->now());
  for (size_t i = 0; i < requests.size(); ++i) requests.at(i).owner = nullptr;
  had->unlinked();
  if (torn) {
    had->close(ClientEnd::kServerTorn);
  } else if (sqlstate.empty()) {
    had->close(why);
  } else {
    had->fatal(why, sqlstate);
  }
}

bool Server::may_release(const Client& of) const {
  return requests.empty() && pass_left == 0 && (status == 'I' || FAULT(release_too_early)) && !of.in_batch &&
         of.forward_left == 0 && !copy_in && !copy_both && !of.session_mode && !syncing_settings;
}

void Server::after_bytes() {
  if (closing()) return;
  switch (state) {
    case pool::ServerState::kLinked: break;
    case pool::ServerState::kCleaning:
      if (requests.empty()) clean_step();
      return;
    case pool::ServerState::kChecking:
      if (!requests.empty()) return;
      deadline = 0;
      if (close_after) return close(ServerEnd::kCheckFailed);
      slice->pool.checkin(this, context->now());
      return run_slice(*context, *slice);
    case pool::ServerState::kSetup:
      if (requests.empty()) setup_done();
      return;
    case pool::ServerState::kIdle:
      if (fatal_seen) close(ServerEnd::kFatalWhileIdle);
      return;
    default: return;
  }
  if (syncing_settings) {
    if (requests.empty()) settings_done();
    return;
  }
  if (may_release(*client)) return release();
  if (requests.empty() && status != 'E' && !client->in_batch && client->forward_left == 0 &&
      !(params == client->params)) {
    resync(client);
  }
  if (client && context->engine.paused(client->conn) & net::kPausePipeline && requests.size() < kRequestsMax / 2) {
    context->engine.resume(client->conn, net::kPausePipeline);
  }
}

// After RESET or DISCARD ALL: the settings that the client came with are set again, in its transaction if it is in
// one.
void Server::resync(Client* of) {
  const std::string sql = pool::difference_sql(params, of->params);
  if (sql.empty()) {
    of->params = params;
    return;
  }
  context->engine.pause(of->conn, net::kPauseWaiting);
  syncing_settings = true;
  settings_failed = false;
  if (status == 'T' && !before_resync) {
    std::vector<std::pair<std::string, std::string>> changed;
    for (const auto& [name, value] : params->values) {
      const std::string* next = of->params->find(name);
      if (next && *next != value) changed.emplace_back(name, value);
    }
    before_resync = pool::make_params(std::move(changed));
    resynced_to = of->params;
  }
  // By the extended protocol: a simple Query would drop a session client's unnamed statement.
  const size_t first = requests.size();
  std::string sync;
  wire::put_empty(sync, wire::kSync);
  context->to_server.begin(&context->engine, conn);
  inject_settings(sql);
  context->to_server.copy(sync);
  context->to_server.flush();
  requests.push().kind = Request::Kind::kSync;
  for (size_t i = first; i < requests.size(); ++i) requests.at(i).own = true;
}

// SET SESSION AUTHORIZATION or SET ROLE is still in force, as far as PostgreSQL reports it.
bool Server::other_identity() {
  if (params == identity_of) return identity_is_other;  // asked at each release: looked up once for a set of values
  identity_of = params;
  identity_is_other = false;
  for (std::string_view name : {"session_authorization", "is_superuser"}) {
    const std::string* now = params->find(name);
    const std::string* start = start_params->find(name);
    if (now && start && *now != *start) identity_is_other = true;
  }
  return identity_is_other;
}

void Server::release() {
  const Micros now = context->now();
  Client* of = client;
  client = nullptr;
  owners.release(now);
  of->unlinked();
  // More than PostgreSQL has read: the data of a COPY that failed. It reads and ignores that; until then nobody can
  // have the server (it could not travel), and its client is not to wait for it.
  if (backed_up) context->engine.resume(of->conn, net::kPauseBackpressure);
  if (context->engine.unsent(of->conn) > 0) {
    // It reads slowly: its next request waits until it has read the last answer. The server does not.
    context->engine.pause(of->conn, net::kPauseBackpressure);
    context->engine.resume(conn, net::kPauseBackpressure);
  }
  if (close_after) return close(ServerEnd::kNotUsable);
  if (slice->pool.stale(this)) return close(ServerEnd::kReconfigured);
  if (expires_at && now >= expires_at) return close(ServerEnd::kLifetime);
  if (other_identity() && !FAULT(identity_kept)) dirty = true;
  if ((!cancels.empty() && !FAULT(cancel_hits_the_next)) || dirty || backed_up ||
      context->options().server_reset_query_always) {
    slice->pool.move(this, pool::ServerState::kCleaning, now);
    deadline = now + kDrainTime;
    return clean_step();
  }
  slice->pool.checkin(this, now);
  if (!FAULT(waiter_not_woken)) run_slice(*context, *slice);
}

void Server::abandon() {
  Client* of = client;
  half_sent = of->forward_left > 0 && !of->dropping;
  const bool keep = of->session_mode;
  client = nullptr;
  owners.release(context->now());
  of->server = nullptr;
  for (size_t i = 0; i < requests.size(); ++i) requests.at(i).owner = nullptr;
  forget_batch();
  if (syncing_settings) {
    // They are being set, and what PostgreSQL does not report of them must not stay for the next client.
    for (const pool::Params& either : {of->params, params}) {
      for (const auto& [name, value] : either->values) {
        if (!start_params->find(name)) params = pool::with_value(params, name, std::string_view("\0", 1));
      }
    }
  }
  syncing_settings = false;
  pass_dropped = true;  // what is left of a message
  if (closing()) return;
  ASSERT(state == pool::ServerState::kLinked);
  context->engine.resume(conn, net::kPauseBackpressure);
  if (half_sent && !FAULT(half_message_continued)) return close(ServerEnd::kHalfMessage);
  if (copy_both || !slice->replication.empty()) return close(ServerEnd::kReplication);
  if (close_after) return close(ServerEnd::kNotUsable);
  if (context->options().server_fast_close && slice->pool.stale(this)) return close(ServerEnd::kReconfigured);
  slice->pool.move(this, pool::ServerState::kCleaning, context->now());
  deadline = context->now() + kDrainTime;
  dirty = keep && !FAULT(reset_skipped);
  if (FAULT(answer_not_drained)) requests.clear();
  const bool busy = !requests.empty();
  if (copy_in) fail_copy();
  if (unsynced) inject_sync();
  if (busy) start_cancel();
  if (requests.empty()) clean_step();
}

static bool is_discard_all(std::string_view sql) {
  return wire::parse_statement_command(sql).kind == wire::StatementCommand::Kind::kDiscardAll;
}

// Nothing is outstanding: what is the next thing to clean?
void Server::clean_step() {
  ASSERT(state == pool::ServerState::kCleaning && requests.empty());
  if (close_after) return close(ServerEnd::kResetFailed);
  if (!cancels.empty()) return;                  // a cancel on its way must not hit the next query
  if (context->engine.unsent(conn) > 0) return;  // on_drained() goes on
  if (unsynced) return inject_sync();            // a COPY has swallowed the Sync
  // The answer to ROLLBACK also tells that no stray ReadyForQuery follows.
  if ((status != 'I' && !FAULT(rollback_skipped)) || stray_ready) {
    if (rolled_back) return close(ServerEnd::kRollbackFailed);
    rolled_back = true;
    return inject_query("ROLLBACK");
  }
  const std::string& reset = context->options().server_reset_query;
  if (!resetting && (dirty || context->options().server_reset_query_always)) {
    resetting = true;
    if (!reset.empty()) inject_query(reset);
    if (dirty && !is_discard_all(reset)) inject_query("DISCARD ALL");
    if (!requests.empty()) return;
  }
  resetting = rolled_back = dirty = false;
  deadline = 0;
  if (slice->pool.stale(this)) return close(ServerEnd::kReconfigured);
  slice->pool.checkin(this, context->now());
  run_slice(*context, *slice);
}

void Server::close(ServerEnd why) {
  if (closing()) return;
  pool::watch_event(state, stats::kServerEnds[static_cast<size_t>(why)].name);
  context->disconnects.count(why);
  if (context->options().log_disconnections) {
    LOG_INFO("{} closing because: {} (age={}s)", label(), stats::words_of(why),
             (context->now() - connected_at) / kSecond);
  }
  for (CancelConnection* cancel : cancels) cancel->forget_server();
  cancels.clear();
  ASSERT(!client);
  requests.clear();
  const bool polite =
      state != pool::ServerState::kConnecting && state != pool::ServerState::kLogin && !fatal_seen && !half_sent;
  slice->pool.move(this, pool::ServerState::kClosing, context->now());
  if (!conn) {  // never got as far as a socket
    slice->pool.remove_server(this);
    Context& home = *context;
    Slice& of = *slice;
    delete this;
    return run_slice(home, of);
  }
  if (polite) {
    std::string out;
    wire::put_empty(out, wire::kTerminate);
    net::write(context->engine, conn, out);
  }
  context->engine.close(conn);
}

void Server::on_closed() {
  conn = nullptr;
  slice->pool.remove_server(this);
  Context& home = *context;
  Slice& of = *slice;
  delete this;
  run_slice(home, of);
}

void Server::on_eof(int error) {
  lost(error);
}

void Server::lost(int error) {
  if (closing()) return;
  switch (state) {
    case pool::ServerState::kConnecting:
    case pool::ServerState::kLogin:
    case pool::ServerState::kSetup:
      tls_start.reset();  // a handshake that is cut off counts as failed
      if (state != pool::ServerState::kSetup) leave_address();
      return connect_failed("08006",
                            error ? fmt::format("server connection lost: {}", strerror(error))
                                  : "server closed the connection during login",
                            false);
    default: break;
  }
  // PostgreSQL's own FATAL has told the client, if there was one.
  if (fatal_seen) {
    drop_client(ClientEnd::kServerClosed, {});
    close(ServerEnd::kFatal);
  } else {
    drop_client(ClientEnd::kServerCrashed, "08006");
    close(ServerEnd::kCrashed);
  }
}

void Server::timed_out() {
  if (state != pool::ServerState::kSetup) leave_address();  // the host may be there, and not answer
  switch (state) {
    case pool::ServerState::kConnecting: return connect_failed("08006", "connect timeout", false);
    case pool::ServerState::kSetup: return connect_failed("08006", "connect_query timeout", false);
    default: return connect_failed("08006", "login timeout", false);
  }
}

void Server::on_drained() {
  backed_up = false;
  if (state == pool::ServerState::kCleaning && requests.empty()) return clean_step();
  if (client && client->conn && !client->closing()) context->engine.resume(client->conn, net::kPauseBackpressure);
}

// ---- between workers

void Server::travel(int to) {
  slice->pool.move(this, pool::ServerState::kTravelling, context->now());
  travel_to = to;
  context->engine.detach(conn);
}

void Server::on_detached(int fd, std::string_view unread, std::unique_ptr<net::TlsSession> session) {
  conn = nullptr;
  // An idle server that speaks mostly says farewell; half a message would be lost. And inside of TLS nothing can be
  // said any more once it has come to its end.
  if (!unread.empty() || (session && session->state() != net::TlsSession::State::kOpen)) close_after = true;
  tls = std::move(session);
  pool::SharedPool* shared = slice->pool.shared();
  slice->pool.depart(this);
  slice = nullptr;
  context->fleet.send_server(travel_to, this, fd, shared);
}

}  // namespace berth::session
