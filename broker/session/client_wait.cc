// Getting a server, waiting for one, and being refused one.
#include "pool/watch.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/encode.h"

namespace berth::session {

// True: linked and ready, go on. False: reading is paused, and start_on_server() or refuse() follows.
bool Client::want_server() {
  ASSERT(state == pool::ClientState::kIdle && !server);
  const Micros now = context.now();
  if (pool::ServerNode* node = slice->pool.take_idle(this, now)) {
    auto* idle = static_cast<Server*>(node);
    slice->pool.link(this, idle, now);
    idle->prepare_for(this);
    if (!idle->syncing_settings) return true;
    context.engine.pause(conn, net::kPauseWaiting);
    return false;
  }
  context.engine.pause(conn, net::kPauseWaiting);
  wait_told = false;
  slice->pool.move(this, pool::ClientState::kWaiting, now);
  if (slice->last_error_permanent && slice->pool.failing(now) && slice->pool.shared()->servers.used.load() == 0) {
    refuse(slice->last_error_sqlstate,
           slice->last_error);  // just told by the server: it will not heal within the back-off
    return false;
  }
  run_slice(context, *slice);
  return false;
}

void Client::start_on_server() {
  ASSERT(state == pool::ClientState::kLinked && server);
  context.engine.resume(conn, net::kPauseWaiting);
}

void Client::unlinked() {
  ASSERT(server);
  server = nullptr;
  if (bound) bound.reset();
  context.engine.resume(conn, net::kPausePipeline);
  slice->pool.move(this, pool::ClientState::kIdle, context.now());
}

void Client::refuse(std::string_view sqlstate, std::string_view text, std::string_view detail) {
  if (state == pool::ClientState::kLoginWait) return fatal(ClientEnd::kQueryWaitTimeout, sqlstate, text, detail);
  ASSERT(state == pool::ClientState::kWaiting);
  pool::watch_event(state, text);
  slice->pool.move(this, pool::ClientState::kIdle, context.now());
  in_transaction = false;
  count_error(sqlstate);
  std::string out;
  wire::put_error(out, wire::Severity::kError, sqlstate, text, detail);
  send(out);
  refusing = true;
  context.engine.resume(conn, net::kPauseWaiting);
}

// Everything up to the end of the refused batch is dropped; then ReadyForQuery.
net::Taken Client::refusing_on_bytes(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    if (forward_left > 0) {
      const uint64_t part = std::min<uint64_t>(forward_left, bytes.size() - at);
      forward_left -= part;
      at += part;
      continue;
    }
    dropping = false;
    if (!refusing) break;
    if (bytes.size() - at < wire::kHeaderSize) return {at, wire::kHeaderSize};
    const wire::Head head =
        wire::read_head(bytes.data() + at, static_cast<uint64_t>(context.options().max_packet_size));
    if (!head.valid) {
      fatal(ClientEnd::kProtocolViolation, "08P01", "invalid message length");
      return {bytes.size(), 0};
    }
    if (head.tag == wire::kTerminate) {
      close(ClientEnd::kRequest);
      return {bytes.size(), 0};
    }
    forward_left = head.size;
    dropping = true;
    if (head.tag == wire::kQuery || head.tag == wire::kFunctionCall || head.tag == wire::kSync) {
      refusing = false;
      in_batch = false;
      std::string out;
      wire::put_ready(out, 'I');
      send(out);
    }
  }
  if (at == bytes.size()) return {at, 0};
  net::Taken taken = relay_on_bytes(bytes.substr(at));
  taken.consumed += at;
  return taken;
}

}  // namespace berth::session
