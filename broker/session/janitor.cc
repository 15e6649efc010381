// Every kJanitorEvery: what time decides. Timeouts of clients, deadlines of servers, the pools' own upkeep; and a new
// configuration's arrival.
#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/server.h"

namespace berth::session {

static bool over(Micros since, Micros limit, Micros now) {
  return limit > 0 && now - since >= limit;
}

static void sweep_logins(Context& context) {
  for (pool::ClientNode* node = context.startup_clients.front(); node;) {
    auto* client = static_cast<Client*>(node);
    node = context.startup_clients.next(node);
    client->newcomer_on_tick();
  }
  if (context.now() < context.refusals_told_at + kRefusalsToldEvery) return;
  if (const uint64_t more = context.refusals.take_left_out()) {
    context.refusals_told_at = context.now();
    LOG_WARNING("{} more connections were refused before they had logged in: SHOW DISCONNECTS counts them by reason",
                more);
  }
}

static void sweep_linked(Context& context, Slice& slice, const config::UserEntry* user) {
  const config::Config& config = *context.config;
  const Micros now = context.now();
  const Micros query = config.query_timeout(user), idle = config.idle_transaction_timeout(user),
               transaction = config.transaction_timeout(user), silent = config.client_idle_timeout(user);
  if (!query && !idle && !transaction && !silent) return;
  const pool::ClientList& linked = slice.pool.clients(pool::ClientState::kLinked);
  for (pool::ClientNode* node = linked.front(); node;) {
    auto* client = static_cast<Client*>(node);
    node = linked.next(node);
    const Server& server = *client->server;
    const bool busy = !server.requests.empty();
    if (busy && over(client->query_at, query, now)) {
      client->fatal(ClientEnd::kQueryTimeout, "57014");
    } else if (!busy && server.status != 'I' && over(server.idle_in_transaction_since, idle, now)) {
      client->fatal(ClientEnd::kIdleTransactionTimeout, "25P03");
    } else if (client->in_transaction && over(client->request_at, transaction, now)) {
      client->fatal(ClientEnd::kTransactionTimeout, "25P04");
    } else if (!busy && server.status == 'I' && over(server.idle_in_transaction_since, silent, now)) {
      client->fatal(ClientEnd::kIdleTimeout, "57P05");
    }
  }
}

static void sweep_idle(Context& context, Slice& slice, const config::UserEntry* user) {
  const Micros limit = context.config->client_idle_timeout(user), now = context.now();
  if (!limit) return;
  const pool::ClientList& idle = slice.pool.clients(pool::ClientState::kIdle);
  for (pool::ClientNode* node = idle.front(); node;) {
    auto* client = static_cast<Client*>(node);
    node = idle.next(node);
    if (over(std::max(client->query_at, client->connected_at), limit, now))
      client->fatal(ClientEnd::kIdleTimeout, "57P05");
  }
}

static void sweep_waiting(Context& context, Slice& slice, const config::UserEntry* user) {
  const Micros limit = slice.entry ? context.config->query_wait_timeout(*slice.entry, user) : kSecond;
  const Micros notify = context.options().query_wait_notify, now = context.now();
  for (const pool::ClientList* list :
       {&slice.pool.clients(pool::ClientState::kWaiting), &slice.pool.session_waiting(),
        &slice.pool.clients(pool::ClientState::kLoginWait)}) {
    for (pool::ClientNode* node = list->front(); node;) {
      auto* client = static_cast<Client*>(node);
      node = list->next(node);
      if (over(client->wait_since, limit, now)) {
        client->refuse("53300", "query_wait_timeout", slice.last_error);
      } else if (!client->wait_told && client->state == pool::ClientState::kWaiting &&
                 over(client->wait_since, notify, now)) {
        client->wait_told = true;
        client->notice(
            fmt::format("No server connection available in {} pool \"{}\" for user \"{}\", client being queued",
                        config::to_string(client->mode), slice.database, slice.user));
      } else if (client->state == pool::ClientState::kLoginWait &&
                 over(client->connected_at, context.options().client_login_timeout, now)) {
        client->fatal(ClientEnd::kLoginTimeout, "57014", {}, slice.last_error);
      }
    }
  }
}

static void sweep_servers(Context& context, Slice& slice) {
  using S = pool::ServerState;
  const Micros now = context.now();
  for (S state : {S::kConnecting, S::kLogin, S::kSetup, S::kChecking, S::kCleaning}) {
    const pool::ServerList& servers = slice.pool.servers(state);
    for (pool::ServerNode* node = servers.front(); node;) {
      auto* server = static_cast<Server*>(node);
      node = servers.next(node);
      if (state == S::kCleaning) server->cancel_again();
      if (server->deadline == 0 || now < server->deadline) continue;
      if (state == S::kConnecting || state == S::kLogin || state == S::kSetup) {
        server->timed_out();
      } else {
        server->close(state == S::kChecking ? ServerEnd::kCheckTimeout : ServerEnd::kCleaningTimeout);
      }
    }
  }
}

void janitor(Context& context) {
  sweep_logins(context);
  const Shutdown shutdown = context.globals.shutdown.load(std::memory_order_relaxed);
  for (auto& [key, slice] : context.slices) {
    const config::UserEntry* user = context.config->find_user(slice->user);
    const bool paused = context.globals.paused.load(std::memory_order_relaxed);
    slice->pool.set_paused(paused);
    if (!slice->pool.clients(pool::ClientState::kLoginWait).empty()) welcome_waiting(context, slice->pool.shared());
    sweep_linked(context, *slice, user);
    sweep_idle(context, *slice, user);
    sweep_waiting(context, *slice, user);
    sweep_servers(context, *slice);
    if (shutdown == Shutdown::kNo)
      tick_slice(context, *slice);
    else
      run_slice(context, *slice);
  }
  forget_slices(context);
  for (size_t i = context.cancels.size(); i-- > 0;) {
    if (context.now() >= context.cancels[i]->deadline()) context.cancels[i]->finish();
  }
}

// The pools of entries with a forced user can be filled before anybody comes.
static void make_slices(Context& context) {
  for (const config::DatabaseEntry& entry : context.config->databases) {
    if (entry.is_fallback || entry.user.empty()) continue;
    if (context.config->min_pool_size(entry, context.config->find_user(entry.user)) > 0) {
      find_slice(context, entry.name, entry.user, "");
    }
  }
}

static auth::MockProfile profile_of(const config::Config& config) {
  std::vector<auth::Secret> secrets;
  for (const auto& [user, text] : config.secrets) secrets.push_back(auth::parse_secret(text.view()));
  std::vector<const auth::Secret*> pointers;
  for (const auth::Secret& secret : secrets) pointers.push_back(&secret);
  return auth::most_common_profile(pointers);
}

void reconfigure(Context& context, std::shared_ptr<const config::Config> next) {
  // Old servers of an entry that now leads elsewhere are not used again.
  // Nor are servers that were opened under other TLS settings (T32).
  const uint32_t tls = context.globals.tls.servers_changed.load(std::memory_order_acquire);
  const bool other_binding =
      context.config && context.options().server_channel_binding != next->options.server_channel_binding;
  const bool other_tls = std::exchange(context.tls_servers_seen, tls) != tls || other_binding;
  for (auto& [key, slice] : context.slices) {
    const config::DatabaseEntry* before = slice->entry;
    const config::DatabaseEntry* after = next->find_database(slice->database);
    const bool moved = before && after &&
                       (before->hosts != after->hosts || before->port != after->port ||
                        before->dbname != after->dbname || before->user != after->user ||
                        before->connect_query != after->connect_query || before->password != after->password);
    if ((moved || (other_tls && !FAULT(clear_servers_kept)) || !after) && !FAULT(moved_entry_kept))
      slice->pool.reconnect();
  }
  const std::shared_ptr<const config::Config> old =
      context.config;  // entries point into it until the loop below is done
  context.config = std::move(next);
  const config::Options& options = context.options();
  context.globals.clients.limit = options.max_client_conn;
  context.globals.door.set_limits(options.max_unauthenticated_connections, options.max_unauthenticated_per_address,
                                  options.max_client_conn_per_address);
  context.globals.throttle.configure(options.failed_login_threshold, options.failed_login_delay_max);
  for (auto& [key, slice] : context.slices) {
    configure_slice(context, *slice);
    run_slice(context, *slice);
  }
  for (const config::UserEntry& user : context.config->users) {
    context.globals.registry.user(user.name)->clients.limit = context.config->max_user_client_connections(&user);
  }
  context.globals.registry.each_user([&](pool::SharedUser& user) {
    user.clients.limit = context.config->max_user_client_connections(context.config->find_user(user.name));
  });
  context.mock_profile = profile_of(*context.config);
  make_slices(context);
}

}  // namespace berth::session
