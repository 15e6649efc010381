// The tables of SHOW. Each gathers on every worker in turn, then makes its rows on the worker of who asked: one
// object that travels, so nothing of it is shared.
#pragma once

#include <memory>
#include <span>

#include "admin/commands.h"
#include "admin/table.h"
#include "session/context.h"

namespace berth::admin {

class Show {
 public:
  virtual ~Show() = default;
  // On each worker's thread.
  virtual void visit(session::Context&) {}
  // On the asking worker's thread, after all visits.
  virtual void finish(session::Context& context, Table& table) = 0;
};

// Of all kinds save kHelp, which is a notice. Static storage.
std::span<const Column> columns_of(ShowKind kind);
std::shared_ptr<Show> make_show(ShowKind kind);
// Of any command; none: it answers without rows.
std::span<const Column> columns_of_command(const Command& command);
// Whether its rows depend on what other workers know.
bool visits_workers(ShowKind kind);

// By file: what make_show() calls. The columns stand beside the code that fills them.
std::shared_ptr<Show> make_show_sockets(ShowKind kind);  // show_sockets.cc: CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS
std::span<const Column> columns_of_sockets(ShowKind kind);
std::shared_ptr<Show> make_show_pools(ShowKind kind);  // show_pools.cc: POOLS, PEER_POOLS, PEERS, LISTS, MEM
std::span<const Column> columns_of_pools(ShowKind kind);
std::shared_ptr<Show> make_show_databases(
    ShowKind kind);  // show_databases.cc: DATABASES, USERS, DNS_HOSTS, DNS_ZONES
std::span<const Column> columns_of_databases(ShowKind kind);
std::shared_ptr<Show> make_show_stats(
    ShowKind kind);  // show_stats.cc: STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS, DISCONNECTS
std::span<const Column> columns_of_stats(ShowKind kind);
std::shared_ptr<Show> make_show_config(
    ShowKind kind);  // show_config.cc: CONFIG, STATE, VERSION, BERTH VERSION, LINKS, AUTH_QUERY
std::span<const Column> columns_of_config(ShowKind kind);

std::shared_ptr<Show> make_show_latency(ShowKind kind);  // show_latency.cc: LATENCY, ERRORS
std::span<const Column> columns_of_latency(ShowKind kind);
std::shared_ptr<Show> make_show_owners(ShowKind kind);  // show_owners.cc: SERVER_HISTORY, CLIENT_COUNTERS, QUEUE
std::span<const Column> columns_of_owners(ShowKind kind);
std::shared_ptr<Show> make_show_limits(ShowKind kind);  // show_limits.cc: LIMITS, THROTTLE
std::span<const Column> columns_of_limits(ShowKind kind);
std::shared_ptr<Show> make_show_facts();  // show_facts.cc: ADVICE_FACTS
std::span<const Column> columns_of_facts();
std::shared_ptr<Show> make_show_tls();  // show_tls.cc: TLS
std::span<const Column> columns_of_tls();
std::shared_ptr<Show> make_show_broker();  // show_broker.cc: BROKER
std::span<const Column> columns_of_broker();

// The console's own database and user, which are listed like any other.
inline constexpr std::string_view kConsoleName = "pgbouncer";

}  // namespace berth::admin
