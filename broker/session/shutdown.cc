// The end of a worker: what it waits for, then every session is told and closed.
#include "session/cancel.h"
#include "session/client.h"
#include "session/server.h"

namespace berth::session {

bool nothing_left(const Context& context) {
  using C = pool::ClientState;
  const bool for_clients = context.globals.shutdown.load(std::memory_order_relaxed) == Shutdown::kWaitForClients;
  if (for_clients && !context.startup_clients.empty()) return false;
  for (const auto& [key, slice] : context.slices) {
    if (!slice->pool.servers(pool::ServerState::kLinked).empty()) return false;
    if (!for_clients) continue;
    for (C state : {C::kLoginWait, C::kIdle, C::kLinked}) {
      if (!slice->pool.clients(state).empty()) return false;
    }
    if (slice->pool.waiting_count() > 0) return false;
  }
  return true;
}

void close_everything(Context& context) {
  using C = pool::ClientState;
  using S = pool::ServerState;
  context.stopping = true;
  for (auto& [key, slice] : context.slices) {
    pool::Pool& pool = slice->pool;
    for (const pool::ClientList* list :
         {&pool.clients(C::kLoginWait), &pool.clients(C::kIdle), &pool.clients(C::kWaiting), &pool.session_waiting(),
          &pool.clients(C::kLinked)}) {
      while (auto* client = static_cast<Client*>(list->front())) client->fatal(ClientEnd::kShutdown, "57P01");
    }
    for (S state : {S::kConnecting, S::kLogin, S::kSetup, S::kIdle, S::kLinked, S::kCleaning, S::kChecking}) {
      while (auto* server = static_cast<Server*>(pool.servers(state).front())) server->close(ServerEnd::kShutdown);
    }
  }
  for (const pool::ClientList* list : {&context.startup_clients, &context.console_clients}) {
    while (auto* client = static_cast<Client*>(list->front())) client->fatal(ClientEnd::kShutdown, "57P01");
  }
  for (size_t i = context.cancels.size(); i-- > 0;) context.cancels[i]->finish();
}

bool anything_open(const Context& context) {
  if (!context.startup_clients.empty() || !context.console_clients.empty() || !context.closing_clients.empty())
    return true;
  if (!context.cancels.empty()) return true;
  for (const auto& [key, slice] : context.slices) {
    if (!slice->pool.empty()) return true;
  }
  return false;
}

}  // namespace berth::session
