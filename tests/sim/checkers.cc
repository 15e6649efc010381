// What must hold at every step, and at the end; and what is noted of each step.
#include <algorithm>

#include "pool/statements.h"
#include "session/client.h"
#include "session/server.h"
#include "sim/world.h"

namespace berth::sim {

using C = pool::ClientState;
using S = pool::ServerState;

// ---- states and events

void World::saw(int state, const std::string& subject, const char* event) {
  if (choices_) {
    choices_->saw(state, event);
  } else {
    coverage().event(subject, event);
  }
}

void World::before(net::Handler* handler, const char* event, std::string_view bytes) {
  if (auto* client = dynamic_cast<session::Client*>(handler)) {
    saw(static_cast<int>(client->state), subject(client->state), event);
    trace("  C{} {} {} {}", client->serial, name_of(client->state), event, printable(bytes));
    if (client->state != C::kConsole) return;
    for (const auto& one : operators_) {
      if (one->logged_in() && one->pid() == client->pid) verb_ = one->verb();
    }
  } else if (auto* server = dynamic_cast<session::Server*>(handler)) {
    saw(100 + static_cast<int>(server->state), subject(server->state), event);
    trace("  S{} {} {} {}", server->serial, name_of(server->state), event, printable(bytes));
  } else {
    saw(200, "cancel", event);
    trace("  cancel {}", event);
  }
}

void World::after() {
  verb_.clear();
  if (!tracing_) return;
  for (size_t i = 0; i < workers_.size(); ++i) watch_states(i);
}

template <typename OnClient, typename OnServer>
void World::each_node(size_t index, OnClient&& on_client, OnServer&& on_server) {
  session::Context& context = *workers_[index].context;
  const auto clients = [&](const pool::ClientList& list) {
    for (auto* node = list.front(); node; node = list.next(node)) on_client(*static_cast<session::Client*>(node));
  };
  clients(context.startup_clients);
  clients(context.console_clients);
  clients(context.closing_clients);
  for (auto& [key, slice] : context.slices) {
    for (int i = 0; i < pool::kClientStates; ++i) clients(slice->pool.clients(static_cast<C>(i)));
    clients(slice->pool.session_waiting());
    for (int i = 0; i < pool::kServerStates; ++i) {
      const pool::ServerList& list = slice->pool.servers(static_cast<S>(i));
      for (auto* node = list.front(); node; node = list.next(node)) on_server(*static_cast<session::Server*>(node));
    }
  }
}

// For the trace.
void World::watch_states(size_t index) {
  const auto watch = [this](std::map<uint64_t, int>& known, const auto& node, char kind) {
    const int now = static_cast<int>(node.state);
    auto [at, fresh] = known.try_emplace(node.serial, now);
    if (at->second == now) return;
    trace("  {}{} {} -> {}", kind, node.serial, name_of(static_cast<decltype(node.state)>(at->second)),
          name_of(node.state));
    at->second = now;
  };
  each_node(
      index, [&](const session::Client& client) { watch(client_states_, client, 'C'); },
      [&](const session::Server& server) { watch(server_states_, server, 'S'); });
}

// Some worlds end while a server travels, if one does soon: the moment is short.
bool World::at_a_rare_moment() {
  if (scenario_.workers == 1 || seed_ % 2 == 0 || end_waits_ == 0) return true;
  --end_waits_;
  bool travels = false;
  for (size_t i = 0; i < workers_.size(); ++i) {
    each_node(
        i, [](const session::Client&) {},
        [&travels](const session::Server& server) { travels |= server.state == pool::ServerState::kTravelling; });
  }
  return travels;
}

// A command comes to everybody on this worker.
void World::note_visit(int worker, const std::string& verb) {
  if (verb.empty()) return;
  each_node(
      static_cast<size_t>(worker),
      [&](const session::Client& client) { coverage().event(subject(client.state), verb); },
      [&](const session::Server& server) { coverage().event(subject(server.state), verb); });
}

uint64_t World::some_client(Dice& dice) const {
  std::vector<uint64_t> all;
  for (const Worker& worker : workers_) {
    for (const session::Client* client : worker.context->client_by_index) {
      if (client) all.push_back(client->serial);
    }
  }
  return all.empty() ? 1 : all[dice.below(all.size())];
}

void World::check_paused(const std::string& database) {
  if (scenario_.operators != 1) return;  // another may have said RESUME meanwhile
  for (const Worker& worker : workers_) {
    for (const auto& [key, slice] : worker.context->slices) {
      if (!database.empty() && slice->database != database) continue;
      if (!slice->pool.servers(S::kLinked).empty()) violation("PAUSE was answered while a client has a server");
    }
  }
}

// ---- what always holds

void World::check() {
  for (size_t i = 0; i < workers_.size(); ++i) check_lists(i);
  for (size_t i = 0; tls_ && i < workers_.size(); ++i) check_tls(i);
  check_limits();
  check_door();
}

// Who is further than the first packet has come as client_tls_sslmode demands, and no server serves whom
// server_tls_sslmode would not trust today (T32).
void World::check_tls(size_t index) {
  const Worker& worker = workers_[index];
  const auto secured = [&](const net::Conn* conn) {
    const net::TlsSession* session = conn ? worker.engine->tls(conn) : nullptr;
    return session && session->state() != net::TlsSession::State::kHandshake;
  };
  const session::Context& context = *worker.context;
  const bool clients_must = tls_->clients() >= net::TlsMode::kRequire;
  const std::shared_ptr<const net::TlsContext> newest = globals_.tls.servers.context();
  const bool servers_must =
      newest->mode() >= net::TlsMode::kRequire && context.tls_servers_seen == globals_.tls.servers_changed.load();
  each_node(
      index,
      [&](const session::Client& client) {
        if (client.state == C::kStartup || client.state == C::kClosing) return;
        if (client.encrypted != secured(client.conn)) violation("a client's TLS is not what it thinks");
        if (clients_must && !client.unix_socket && !client.encrypted)
          violation(fmt::format("a client in clear words got to {}", name_of(client.state)));
      },
      [&](const session::Server& server) {
        const bool serves = server.state == S::kSetup || server.state == S::kIdle || server.state == S::kLinked ||
                            server.state == S::kCleaning || server.state == S::kChecking;
        if (!serves || !servers_must || server.slice->pool.stale(&server)) return;
        if (!secured(server.conn))
          violation(fmt::format("a server in clear words is {} (T32)", name_of(server.state)));
      });
}

// Whoever has not proved who it is has a place at the door, and nobody else has; and the counts are those of the
// addresses.
void World::check_door() {
  std::map<std::pair<uint64_t, net::ShortAddress::Kind>, session::Door::Counts> of;
  int64_t newcomers = 0;
  for (size_t i = 0; i < workers_.size(); ++i) {
    each_node(
        i,
        [&](const session::Client& client) {
          const bool early = client.state == C::kStartup || client.state == C::kAuth;
          if (client.newcomer != early)
            violation(fmt::format("a client in {} is no newcomer", name_of(client.state)));
          newcomers += client.newcomer;
          const session::AddressKey who = session::key_of(client.peer);
          if (!who.counts()) return;
          session::Door::Counts& counts = of[{who.prefix, who.kind}];
          counts.newcomers += client.newcomer;
          counts.clients += client.counted_address;
        },
        [](const session::Server&) {});
  }
  const config::Options& options = running->options;
  // Some more while another worker makes room.
  const auto most_of = [this](int64_t limit) {
    return limit > 0 && workers_.size() > 1 ? limit + session::Door::extra_of(limit) : limit;
  };
  const int64_t most = most_of(options.max_unauthenticated_connections);
  if (globals_.door.newcomers() != newcomers) return violation("the door's count is wrong");
  if (most > 0 && newcomers > most) violation(fmt::format("{} newcomers, the limit is {} (I8)", newcomers, most));
  size_t addresses = 0;
  for (const auto& [address, counts] : of) {
    session::AddressKey who;
    who.prefix = address.first;
    who.kind = address.second;
    if (!(globals_.door.of(who) == counts)) violation("the door's count of an address is wrong");
    const int64_t newcomers_most = most_of(options.max_unauthenticated_per_address);
    const int64_t clients_most = options.max_client_conn_per_address;
    if (newcomers_most > 0 && counts.newcomers > newcomers_most) violation("too many newcomers of an address (I8)");
    if (clients_most > 0 && counts.clients > clients_most) violation("too many clients of an address (I8)");
    addresses += !(counts == session::Door::Counts{});
  }
  if (globals_.door.addresses() != addresses) violation("the door knows somebody who is not there");
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
        server->owners.each([&](const session::Owner& owner) {
          const bool latest = server->client && owner.client == server->client->serial && owner.released_at == 0;
          if (!latest && owner.released_at < owner.linked_at) violation("a server's owner was never released");
        });
        if (server->client && server->owners.latest().client != server->client->serial)
          return violation("a server's owner is another than its client");
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

// A count may stand above its limit only where the limit has been lowered, and then it may not grow.
static bool grew(std::map<const void*, int64_t>& counts, std::map<const void*, int64_t>& limits, const void* of,
                 int64_t count, int64_t limit) {
  const auto before = counts.find(of);
  const int64_t count_before = before == counts.end() ? 0 : before->second;
  const auto known = limits.find(of);
  const int64_t allowed = known == limits.end() ? limit : std::max(limit, known->second);
  counts[of] = count;
  limits[of] = limit;
  return count > allowed && count > count_before;
}

void World::check_limits() {
  struct Sum {
    int64_t count = 0, limit = 0, sessions = 0, sessions_most = 0;
  };
  std::map<pool::SharedPool*, Sum> sums;
  for (Worker& worker : workers_) {
    for (auto& [key, slice] : worker.context->slices) {
      const pool::Limits& limits = slice->pool.limits();
      Sum& sum = sums[slice->pool.shared()];
      sum.count += static_cast<int64_t>(slice->pool.server_count());
      sum.limit = std::max(sum.limit, limits.pool_size + limits.reserve_pool_size);  // a reload comes to one by one
      const int64_t most = limits.transaction_reserve <= 0
                               ? int64_t{1000000}
                               : std::max<int64_t>(1, limits.pool_size - limits.transaction_reserve);
      sum.sessions_most = std::max(sum.sessions_most, most);
      const pool::ServerList& linked = slice->pool.servers(S::kLinked);
      for (auto* node = linked.front(); node; node = linked.next(node)) sum.sessions += node->held_by_session;
    }
  }
  for (const auto& [pair, queue] : mail_) {
    for (const Mail& mail : queue) {
      if (mail.server_of) ++sums[mail.server_of].count;
    }
  }
  std::map<pool::SharedDatabase*, int64_t> of_database;
  std::map<pool::SharedUser*, int64_t> of_user;
  for (const auto& [shared, sum] : sums) {
    of_database[shared->of_database] += sum.count;
    of_user[shared->of_user] += sum.count;
    if (shared->servers.used != sum.count) {
      return violation(
          fmt::format("the budget says {} servers, there are {}", shared->servers.used.load(), sum.count));
    }
    if (grew(counted_, limits_, shared, sum.count, sum.limit))
      return violation(fmt::format("{} servers, the limit is {} (I8)", sum.count, sum.limit));
    if (shared->session_held != sum.sessions) return violation("session_held is wrong");
    if (grew(sessions_, session_limits_, shared, sum.sessions, sum.sessions_most)) {
      return violation(
          fmt::format("{} sessions hold a server, {} may: transaction_reserve", sum.sessions, sum.sessions_most));
    }
  }
  const auto gate = [this](const pool::Gate& servers, int64_t count, const char* what) {
    const int64_t limit = servers.limit > 0 ? servers.limit.load() : 1000000;
    if (servers.used != count) return violation(fmt::format("the {}'s budget is wrong", what));
    if (grew(counted_, limits_, &servers, count, limit))
      violation(fmt::format("{} servers of a {}, the limit is {} (I8)", count, what, limit));
  };
  for (const auto& [database, count] : of_database) gate(database->servers, count, "database");
  for (const auto& [user, count] : of_user) gate(user->servers, count, "user");
}

// What a lowered limit has left too many of, has gone once nobody uses it.
void World::check_trimmed() {
  std::map<pool::SharedPool*, int64_t> limits;
  for (Worker& worker : workers_) {
    for (auto& [key, slice] : worker.context->slices) {
      const pool::Limits& of = slice->pool.limits();
      limits[slice->pool.shared()] = of.pool_size + of.reserve_pool_size;
    }
  }
  for (const auto& [shared, limit] : limits) {
    if (shared->servers.used > limit)
      violation(fmt::format("{} servers are left, the limit is {}", shared->servers.used.load(), limit));
  }
}

// Nobody waits while a server that fits is free; after a RESUME, once that has come to all workers.
void World::check_waiters(size_t index) {
  if (resumes_ > 0) return;
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
      const stats::Counters& counters = slice->counters;
      const auto agree = [](uint64_t recorded, int64_t counted) { return static_cast<int64_t>(recorded) == counted; };
      if (!agree(slice->recorded().query.count(), counters.query_count) ||
          !agree(slice->recorded().transaction.count(), counters.xact_count) ||
          static_cast<int64_t>(slice->recorded().wait.count()) > counters.server_assignment_count)
        return violation("the histograms count otherwise than the counters");
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
  check_door();
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
