#include "session/cancel.h"

#include <algorithm>

#include "auth/secrets.h"
#include "base/fault.h"
#include "base/log.h"
#include "pool/watch.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/encode.h"

namespace berth::session {

CancelConnection::CancelConnection(Context& context, Server* server)
    : context_(context),
      server_(server),
      deadline_(context.now() +
                (context.options().cancel_wait_timeout > 0 ? context.options().cancel_wait_timeout : kCancelTime)) {
  wire::put32(packet_, static_cast<uint32_t>(12 + server->key.size()));
  wire::put32(packet_, wire::kCancelRequestCode);
  wire::put32(packet_, server->pid);
  packet_ += server->key;
  if (!FAULT(cancel_in_clear_words)) tls_wish_ = server->tls_wish;
  context_.cancels.push_back(this);
  conn_ = context_.engine.connect(server->address, this);
}

void CancelConnection::on_connected(int error) {
  if (closing_) return;
  if (error) return finish();
  if (!tls_wish_) return send();
  // As the server's own connection, with the same checks (T25): a key that is sent in clear words is anybody's.
  tls_start_ = std::make_unique<ServerTls>(tls_wish_, context_.globals.tls.servers.counts);
  if (tls_start_->start(context_.engine, conn_) == ServerTls::Next::kFailed) finish();
}

net::Taken CancelConnection::on_bytes(std::string_view bytes) {
  if (closing_ || !tls_start_ || !tls_start_->asked()) return {bytes.size(), 0};
  // The server's own connection is inside of TLS, so there is no going on without.
  if (tls_start_->on_bytes(context_.engine, conn_, bytes) == ServerTls::Next::kWait) return {1, 0};
  LOG_WARNING("{} cancel request failed: {}", server_ ? server_->label() : "a server's", tls_start_->why());
  finish();
  return {bytes.size(), 0};
}

void CancelConnection::on_handshake(std::string_view error) {
  if (closing_) return;
  if (tls_start_->on_handshake(context_.engine, conn_, error) == ServerTls::Next::kSecured) return send();
  LOG_WARNING("{} cancel request failed: {}", server_ ? server_->label() : "a server's", tls_start_->why());
  finish();
}

void CancelConnection::send() {
  net::write(context_.engine, conn_, packet_);
}

void CancelConnection::on_eof(int) {
  finish();
}

void CancelConnection::finish() {
  if (closing_) return;
  closing_ = true;
  if (server_) server_->cancel_done(this);
  server_ = nullptr;
  context_.engine.close(conn_);
}

CancelConnection::~CancelConnection() = default;

void CancelConnection::on_closed() {
  std::erase(context_.cancels, this);
  delete this;
}

bool Server::start_cancel() {
  if (key.empty() || cancels.size() >= kCancelsPerServer || context->cancels.size() >= kCancelsPerWorker)
    return false;
  cancelled_at = context->now();
  cancels.push_back(new CancelConnection(*context, this));  // frees itself when closed
  return true;
}

void Server::cancel_again() {
  if (requests.empty() || requests.front().own || !cancels.empty()) return;
  if (context->now() - cancelled_at >= kSecond) start_cancel();
}

void Server::cancel_done(CancelConnection* cancel) {
  std::erase(cancels, cancel);
  if (state == pool::ServerState::kCleaning && requests.empty()) clean_step();
}

bool cancel_client(Context& context, uint32_t pid, std::string_view key) {
  if (worker_of_pid(pid) != context.worker) return false;
  const uint32_t index = index_of_pid(pid);
  Client* client = index < context.client_by_index.size() ? context.client_by_index[index] : nullptr;
  if (!client || client->closing()) return false;
  const std::string right = cancel_key(pid, client->serial).substr(0, client->long_cancel_key ? 32 : 4);
  if (!auth::equal_constant_time(right, key) && !FAULT(cancel_key_unchecked)) return false;
  pool::watch_event(client->state, "cancel");
  switch (client->state) {
    case pool::ClientState::kWaiting:
      if (!FAULT(cancel_in_queue_lost)) client->refuse("57014", "canceling statement due to user request");
      break;
    case pool::ClientState::kLinked:
      // Only a request under way can be cancelled; PostgreSQL itself ignores it for an idle session.
      if (!client->server->requests.empty() && !client->server->syncing_settings) client->server->start_cancel();
      break;
    case pool::ClientState::kConsole: context.console->on_cancel(client); break;
    default: break;
  }
  return true;
}

}  // namespace berth::session
