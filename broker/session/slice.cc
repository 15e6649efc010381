// A pool's slice at work: makes slices, and carries out what pool::Pool decides.
#include <algorithm>

#include "base/log.h"
#include "session/client.h"
#include "session/server.h"

namespace berth::session {

Slice* find_slice(Context& context, std::string_view database, std::string_view user, std::string_view replication) {
  // Replication connections are a set of their own: a backend is one or the other from its start.
  auto& slice = context.slices[pool::PoolKey(database, user, replication)];
  if (slice) {
    slice->pool.shared()->used_at.store(context.now(), std::memory_order_relaxed);
    return slice.get();
  }
  pool::SharedPool* shared = context.globals.registry.pool(database, user, replication);
  slice = std::make_unique<Slice>(shared, context.worker, context.workers, context.random.next());
  shared->used_at.store(context.now(), std::memory_order_relaxed);
  slice->pool.watch_pause(&context.globals.paused);
  slice->database = database;
  slice->user = user;
  slice->replication = replication;
  configure_slice(context, *slice);
  return slice.get();
}

void configure_slice(Context& context, Slice& slice) {
  const config::Config& config = *context.config;
  slice.entry = config.find_database(slice.database);
  if (!slice.entry) return;
  const config::UserEntry* user = config.find_user(slice.user);
  const config::Options& options = config.options;
  pool::Limits limits;
  limits.pool_size = config.pool_size(*slice.entry, user);
  limits.min_pool_size = slice.replication.empty() ? config.min_pool_size(*slice.entry, user) : 0;
  limits.reserve_pool_size = config.reserve_pool_size(*slice.entry, user);
  limits.reserve_pool_timeout = options.reserve_pool_timeout;
  // Only where both kinds of client can come is something set aside for one of them.
  const bool both = options.transaction_port > 0 && options.session_port > 0;
  limits.transaction_reserve =
      both && slice.replication.empty() ? std::min(options.transaction_reserve, limits.pool_size - 1) : 0;
  limits.check_delay = options.server_check_delay;
  limits.idle_timeout = options.server_idle_timeout;
  limits.login_retry = options.server_login_retry;
  limits.round_robin = options.server_round_robin;
  limits.fill = limits.min_pool_size > 0;
  slice.mode = config.pool_mode(*slice.entry, user);
  slice.pool.set_limits(limits);
  slice.pool.shared()->of_database->servers.limit = config.max_db_connections(*slice.entry);
  slice.pool.shared()->of_database->clients.limit = config.max_db_client_connections(*slice.entry);
  slice.pool.shared()->of_user->servers.limit = config.max_user_connections(user);
  slice.pool.set_paused(context.globals.paused.load(std::memory_order_relaxed));
}

net::TcpOptions tcp_options(const config::Options& options) {
  net::TcpOptions tcp;
  tcp.keepalive = options.tcp_keepalive;
  tcp.keepalive_idle = static_cast<int>(options.tcp_keepidle);
  tcp.keepalive_interval = static_cast<int>(options.tcp_keepintvl);
  tcp.keepalive_count = static_cast<int>(options.tcp_keepcnt);
  tcp.user_timeout = static_cast<int>(options.tcp_user_timeout);
  tcp.buffer = static_cast<int>(options.tcp_socket_buffer);
  return tcp;
}

static ServerEnd end_of(pool::CloseReason why) {
  switch (why) {
    case pool::CloseReason::kNone: break;
    case pool::CloseReason::kLifetime: return ServerEnd::kLifetime;
    case pool::CloseReason::kIdleTimeout: return ServerEnd::kIdleTimeout;
    case pool::CloseReason::kEvictedDatabase: return ServerEnd::kEvictedDatabase;
    case pool::CloseReason::kEvictedUser: return ServerEnd::kEvictedUser;
    case pool::CloseReason::kPoolSize: return ServerEnd::kEvictedPool;
    case pool::CloseReason::kReconnect: return ServerEnd::kReconfigured;
    case pool::CloseReason::kReserve: return ServerEnd::kReserve;
  }
  ASSERT(false);
  return ServerEnd::kNotUsable;
}

static void carry_out(Context& context, Slice& slice, const pool::Decision& decision) {
  using Kind = pool::Decision::Kind;
  const Micros now = context.now();
  auto* server = static_cast<Server*>(decision.server);
  switch (decision.kind) {
    case Kind::kNone: return;
    case Kind::kAssign: {
      auto* client = static_cast<Client*>(decision.client);
      const Micros waited = now - client->wait_since;
      slice.counters.wait_time += waited;
      slice.recorded().wait.record(waited);
      client->counters.add_wait(waited);
      slice.pool.link(client, server, now);
      return server->prepare_for(client);
    }
    case Kind::kCheck: slice.pool.move(server, pool::ServerState::kChecking, now); return server->check_alive();
    case Kind::kOpen: {
      auto* opening = new Server(context, slice);  // frees itself when closed
      opening->in_reserve = slice.pool.opening_reserve();
      slice.pool.add_server(opening, pool::ServerState::kConnecting, now);
      return opening->open();
    }
    case Kind::kLend: return server->travel(decision.to);
    case Kind::kAsk: return context.fleet.ask_server(decision.to, slice.pool.shared());
    case Kind::kClose: return server->close(end_of(decision.why));
  }
}

void run_slice(Context& context, Slice& slice) {
  if (slice.running || context.stopping) return;  // called by what it carries out: the loop below goes on anyway
  slice.running = true;
  for (;;) {
    const pool::Decision decision = slice.pool.next(context.now());
    if (decision.kind == pool::Decision::Kind::kNone) break;
    carry_out(context, slice, decision);
  }
  slice.running = false;
}

void tick_slice(Context& context, Slice& slice) {
  if (slice.running || context.stopping) return;
  slice.running = true;
  for (;;) {
    const pool::Decision decision = slice.pool.tick(context.now());
    if (decision.kind == pool::Decision::Kind::kNone) break;
    carry_out(context, slice, decision);
  }
  slice.running = false;
}

void tell_waiting(Context& context, Slice& slice, int closing) {
  (void)context;
  const std::string sqlstate = slice.last_error_sqlstate, text = slice.last_error;
  while (auto* client = static_cast<Client*>(slice.pool.clients(pool::ClientState::kLoginWait).front())) {
    client->fatal(ClientEnd::kServerLoginFailed, sqlstate, text);
  }
  if (slice.pool.shared()->servers.used.load(std::memory_order_relaxed) > closing)
    return;  // others are open: those will serve
  for (const pool::ClientList* list :
       {&slice.pool.clients(pool::ClientState::kWaiting), &slice.pool.session_waiting()}) {
    while (auto* client = static_cast<Client*>(list->front())) client->refuse(sqlstate, text);
  }
}

static bool welcome_known(pool::SharedPool& shared) {
  const std::lock_guard<std::mutex> guard(shared.mutex);
  return static_cast<bool>(shared.welcome);
}

void welcome_waiting(Context& context, pool::SharedPool* shared) {
  for (auto& [key, slice] : context.slices) {
    if (slice->pool.shared() != shared || !welcome_known(*shared)) continue;
    while (auto* client = static_cast<Client*>(slice->pool.clients(pool::ClientState::kLoginWait).front())) {
      client->finish_login();
    }
  }
}

// ---- pools that nobody uses any more

// Is anybody here, or on the way?
static bool used(const Context& context, const Slice& slice) {
  if (slice.running || !slice.pool.empty()) return true;
  const pool::SharedPool& shared = *slice.pool.shared();
  return shared.slices[static_cast<size_t>(context.worker)].inbound.load(std::memory_order_relaxed) > 0;
}

// Clients that are closing are on no list of the pool, and may look at it.
static bool looked_at(const Context& context, const Slice& slice) {
  const pool::ClientList& closing = context.closing_clients;
  for (const pool::ClientNode* node = closing.front(); node; node = closing.next(node)) {
    if (static_cast<const Client*>(node)->slice == &slice) return true;
  }
  return false;
}

void forget_slices(Context& context) {
  const Micros timeout = context.options().autodb_idle_timeout, now = context.now();
  for (auto at = context.slices.begin(); at != context.slices.end();) {
    Slice& slice = *at->second;
    pool::SharedPool* shared = slice.pool.shared();
    const bool forgettable = !slice.entry || slice.entry->is_fallback;
    if (used(context, slice)) {
      shared->used_at.store(now, std::memory_order_relaxed);
    } else if (forgettable && timeout > 0 && now - shared->used_at.load(std::memory_order_relaxed) >= timeout &&
               !looked_at(context, slice)) {
      context.forgotten.add(slice.counters);
      if (slice.errors) context.errors.add(*slice.errors);
      at = context.slices.erase(at);
      context.globals.registry.leave(shared);
      continue;
    }
    ++at;
  }
}

// ---- between workers

static Slice* slice_of(Context& context, pool::SharedPool* shared) {
  for (auto& [key, slice] : context.slices) {
    if (slice->pool.shared() == shared) return slice.get();
  }
  return nullptr;
}

void arrive(Context& context, Server* server, int descriptor, pool::SharedPool* shared) {
  // It asked, so it had one.
  Slice* slice = find_slice(context, shared->database, shared->user, shared->replication);
  ASSERT(slice->pool.shared() == shared);  // its places are taken, so it has not been forgotten
  shared->slices[static_cast<size_t>(context.worker)].inbound.fetch_sub(1, std::memory_order_relaxed);
  server->context = &context;
  server->slice = slice;
  server->travel_to = -1;
  slice->pool.add_server(server, pool::ServerState::kTravelling, context.now());
  server->conn = context.engine.attach(descriptor, server);
  if (server->tls) context.engine.start_tls(server->conn, std::move(server->tls));
  if (context.stopping) return server->close(ServerEnd::kShutdown);
  if (server->close_after) return server->close(ServerEnd::kSpokeWhileIdle);
  slice->pool.checkin(server, context.now());
  run_slice(context, *slice);
}

void lend_asked(Context& context, pool::SharedPool* shared) {
  if (Slice* slice = slice_of(context, shared)) run_slice(context, *slice);
}

}  // namespace berth::session
