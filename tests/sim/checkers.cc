// What must hold at every step, and at the end.
#include "pool/statements.h"
#include "session/client.h"
#include "session/server.h"
#include "sim/world.h"

namespace berth::sim {

using C = pool::ClientState;
using S = pool::ServerState;

static const char* name_of(C state) {
  static const char* const kNames[] = {"Startup", "Auth",   "LoginWait", "Idle",
                                       "Waiting", "Linked", "Console",   "Closing"};
  return kNames[static_cast<int>(state)];
}
static const char* name_of(S state) {
  static const char* const kNames[] = {"Connecting", "Login",    "Setup",      "Idle",   "Linked",
                                       "Cleaning",   "Checking", "Travelling", "Closing"};
  return kNames[static_cast<int>(state)];
}

// ---- states and events

void World::before(net::Handler* handler, const char* event, std::string_view bytes) {
  if (auto* client = dynamic_cast<session::Client*>(handler)) {
    subject_ = fmt::format("client {}", name_of(client->state));
    trace("  C{} {} {} {}", client->serial, name_of(client->state), event, printable(bytes));
  } else if (auto* server = dynamic_cast<session::Server*>(handler)) {
    subject_ = fmt::format("server {}", name_of(server->state));
    trace("  S{} {} {} {}", server->serial, name_of(server->state), event, printable(bytes));
  } else {
    subject_ = "cancel";
    trace("  cancel {}", event);
  }
  coverage().hit(subject_ + " on " + event);
}

void World::after() {
  for (size_t i = 0; i < workers_.size(); ++i) watch_states(i);
}

// Finds a way over at most two states between, as one handler may take several steps.
template <typename State>
static bool way(State from, State to, int count, const char* kind) {
  if (pool::may_move(from, to)) {
    coverage().hit(fmt::format("{} {} -> {}", kind, name_of(from), name_of(to)));
    return true;
  }
  for (int i = 0; i < count; ++i) {
    const auto by = static_cast<State>(i);
    if (!pool::may_move(from, by) || by == from || by == to) continue;
    if (pool::may_move(by, to)) {
      coverage().hit(fmt::format("{} {} -> {}", kind, name_of(from), name_of(by)));
      coverage().hit(fmt::format("{} {} -> {}", kind, name_of(by), name_of(to)));
      return true;
    }
  }
  return false;
}

void World::watch_states(size_t index) {
  session::Context& context = *workers_[index].context;
  const auto client = [this](session::Client* c) {
    auto [at, fresh] = client_states_.try_emplace(c->serial, static_cast<int>(c->state));
    if (fresh || at->second == static_cast<int>(c->state)) return;
    const auto from = static_cast<C>(at->second);
    at->second = static_cast<int>(c->state);
    trace("  C{} {} -> {}", c->serial, name_of(from), name_of(c->state));
    way(from, c->state, pool::kClientStates, "client");
  };
  const auto server = [this](session::Server* s) {
    auto [at, fresh] = server_states_.try_emplace(s->serial, static_cast<int>(s->state));
    if (fresh || at->second == static_cast<int>(s->state)) return;
    const auto from = static_cast<S>(at->second);
    at->second = static_cast<int>(s->state);
    trace("  S{} {} -> {}", s->serial, name_of(from), name_of(s->state));
    way(from, s->state, pool::kServerStates, "server");
  };
  const auto clients = [&](const pool::ClientList& list) {
    for (auto* node = list.front(); node; node = list.next(node)) client(static_cast<session::Client*>(node));
  };
  clients(context.startup_clients);
  clients(context.console_clients);
  clients(context.closing_clients);
  for (auto& [key, slice] : context.slices) {
    for (int i = 0; i < pool::kClientStates; ++i) clients(slice->pool.clients(static_cast<C>(i)));
    clients(slice->pool.session_waiting());
    for (int i = 0; i < pool::kServerStates; ++i) {
      const pool::ServerList& list = slice->pool.servers(static_cast<S>(i));
      for (auto* node = list.front(); node; node = list.next(node)) server(static_cast<session::Server*>(node));
    }
  }
}

// ---- what always holds

void World::check() {
  for (size_t i = 0; i < workers_.size(); ++i) check_lists(i);
  check_limits();
}

// Each client and server stands on the list of its state, and on no other.
void World::check_lists(size_t index) {
  session::Context& context = *workers_[index].context;
  size_t clients = context.startup_clients.size() + context.console_clients.size() + context.closing_clients.size();
  for (auto& [key, slice] : context.slices) {
    const pool::Pool& pool = slice->pool;
    for (int i = 0; i < pool::kClientStates; ++i) {
      const auto state = static_cast<C>(i);
      const pool::ClientList& list = pool.clients(state);
      clients += list.size();
      for (auto* node = list.front(); node; node = list.next(node)) {
        const auto* client = static_cast<session::Client*>(node);
        if (client->state != state) return violation("a client stands on the list of another state");
        if ((client->server != nullptr) != (state == C::kLinked))
          return violation("a client's server does not fit its state");
        if (client->server && client->server->client != client)
          return violation("a server is linked to another client");
        if (state == C::kWaiting && client->session_mode)
          return violation("a session client waits in the transaction clients' list");
      }
    }
    clients += pool.session_waiting().size();
    for (int i = 0; i < pool::kServerStates; ++i) {
      const auto state = static_cast<S>(i);
      const pool::ServerList& list = pool.servers(state);
      for (auto* node = list.front(); node; node = list.next(node)) {
        const auto* server = static_cast<session::Server*>(node);
        if (server->state != state) return violation("a server stands on the list of another state");
        if ((server->client != nullptr) != (state == S::kLinked)) {
          return violation(std::string("a server's client does not fit its state ") + name_of(state));
        }
        if (state == S::kIdle &&
            (!server->requests.empty() || server->status != 'I' || server->copy_in || server->unsynced)) {
          return violation("a server is free in the middle of something");
        }
      }
    }
  }
  size_t known = 0;
  for (const session::Client* client : context.client_by_index) known += client != nullptr;
  if (known != clients) violation(fmt::format("{} clients exist, {} stand on lists", known, clients));
}

void World::check_limits() {
  std::map<pool::SharedPool*, int64_t> counted;
  std::map<pool::SharedDatabase*, int64_t> of_database;
  std::map<pool::SharedPool*, int64_t> limit, sessions;
  for (Worker& worker : workers_) {
    for (auto& [key, slice] : worker.context->slices) {
      pool::SharedPool* shared = slice->pool.shared();
      counted[shared] += static_cast<int64_t>(slice->pool.server_count());
      limit[shared] = slice->pool.limits().pool_size + slice->pool.limits().reserve_pool_size;
      const pool::ServerList& linked = slice->pool.servers(S::kLinked);
      for (auto* node = linked.front(); node; node = linked.next(node)) sessions[shared] += node->held_by_session;
    }
  }
  for (const auto& [pair, queue] : mail_) {
    for (const Mail& mail : queue) {
      if (mail.server_of) ++counted[mail.server_of];
    }
  }
  for (const auto& [shared, count] : counted) {
    of_database[shared->of_database] += count;
    if (shared->servers.used != count)
      return violation(fmt::format("the budget says {} servers, there are {}", shared->servers.used.load(), count));
    if (count > limit[shared] && !limits_changed_)
      return violation(fmt::format("{} servers, the limit is {} (I8)", count, limit[shared]));
    if (shared->session_held != sessions[shared]) return violation("session_held is wrong");
  }
  for (const auto& [database, count] : of_database) {
    const int64_t most = database->servers.limit;
    if (database->servers.used != count) return violation("the database's budget is wrong");
    if (most > 0 && count > most && !limits_changed_)
      return violation(fmt::format("{} servers of a database, the limit is {} (I8)", count, most));
  }
}

// Nobody waits while a server that fits is free.
void World::check_waiters(size_t index) {
  for (auto& [key, slice] : workers_[index].context->slices) {
    pool::Pool& pool = slice->pool;
    if (pool.paused() || pool.servers(S::kIdle).empty() || pool.clients(C::kWaiting).empty()) continue;
    violation("a client waits while a server is free (lost wake-up)");
  }
}

void World::check_end() {
  for (Worker& worker : workers_) {
    for (const session::Client* client : worker.context->client_by_index) {
      if (client) return violation("a client was not freed");
    }
    for (auto& [key, slice] : worker.context->slices) {
      if (slice->pool.server_count() != 0) return violation("a server was not freed");
    }
  }
  check_limits();
  globals_.registry.each_database([this](pool::SharedDatabase& database) {
    if (database.servers.used != 0) violation("places of servers were not given back to the database");
    if (database.clients.used != 0) violation("places of clients were not given back to the database");
  });
  globals_.registry.each_user([this](pool::SharedUser& user) {
    if (user.servers.used != 0) violation("places of servers were not given back to the user");
    if (user.clients.used != 0) violation("places of clients were not given back to the user");
  });
  if (globals_.clients.used != 0) violation("places of clients were not given back");
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (globals_.worker_clients[i] != 0) violation("a worker's count of clients is wrong");
  }
  if (network_.adrift() != 0) violation("a descriptor was lost");
  for (Worker& worker : workers_) worker.context->statements.clear();
  if (const size_t left = pool::statements_known(); left > statements_before_)
    violation(fmt::format("{} statements were not forgotten", left));
}

}  // namespace berth::sim
