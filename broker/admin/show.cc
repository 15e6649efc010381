#include "admin/show.h"

#include "admin/drivers.h"
#include "base/assert.h"

namespace berth::admin {

namespace {

constexpr Column kSelectOne[] = {{"?column?", ColumnType::kInt4}};
constexpr Column kSelectVersion[] = {{"version"}};

enum class Family {
  kNone,
  kSockets,
  kPools,
  kDatabases,
  kStats,
  kLatency,
  kOwners,
  kBroker,
  kFacts,
  kLimits,
  kTls,
  kConfig
};

Family family_of(ShowKind kind) {
  switch (kind) {
    case ShowKind::kClients:
    case ShowKind::kServers:
    case ShowKind::kSockets:
    case ShowKind::kActiveSockets: return Family::kSockets;
    case ShowKind::kPools:
    case ShowKind::kPeerPools:
    case ShowKind::kPeers:
    case ShowKind::kLists:
    case ShowKind::kMem: return Family::kPools;
    case ShowKind::kDatabases:
    case ShowKind::kUsers:
    case ShowKind::kDnsHosts:
    case ShowKind::kDnsZones: return Family::kDatabases;
    case ShowKind::kStats:
    case ShowKind::kStatsTotals:
    case ShowKind::kStatsAverages:
    case ShowKind::kDisconnects:
    case ShowKind::kTotals: return Family::kStats;
    case ShowKind::kLatency:
    case ShowKind::kErrors: return Family::kLatency;
    case ShowKind::kBroker: return Family::kBroker;
    case ShowKind::kAdviceFacts: return Family::kFacts;
    case ShowKind::kTls: return Family::kTls;
    case ShowKind::kLimits:
    case ShowKind::kThrottle: return Family::kLimits;
    case ShowKind::kServerHistory:
    case ShowKind::kClientCounters:
    case ShowKind::kQueue: return Family::kOwners;
    case ShowKind::kConfig:
    case ShowKind::kState:
    case ShowKind::kVersion:
    case ShowKind::kLinks:
    case ShowKind::kHelpers:
    case ShowKind::kAuthQuery:
    case ShowKind::kBerthVersion: return Family::kConfig;
    case ShowKind::kHelp: break;
  }
  return Family::kNone;
}

}  // namespace

std::span<const Column> columns_of(ShowKind kind) {
  switch (family_of(kind)) {
    case Family::kSockets: return columns_of_sockets(kind);
    case Family::kPools: return columns_of_pools(kind);
    case Family::kDatabases: return columns_of_databases(kind);
    case Family::kStats: return columns_of_stats(kind);
    case Family::kLatency: return columns_of_latency(kind);
    case Family::kOwners: return columns_of_owners(kind);
    case Family::kBroker: return columns_of_broker();
    case Family::kFacts: return columns_of_facts();
    case Family::kTls: return columns_of_tls();
    case Family::kLimits: return columns_of_limits(kind);
    case Family::kConfig: return columns_of_config(kind);
    case Family::kNone: break;
  }
  return {};
}

std::shared_ptr<Show> make_show(ShowKind kind) {
  switch (family_of(kind)) {
    case Family::kSockets: return make_show_sockets(kind);
    case Family::kPools: return make_show_pools(kind);
    case Family::kDatabases: return make_show_databases(kind);
    case Family::kStats: return make_show_stats(kind);
    case Family::kLatency: return make_show_latency(kind);
    case Family::kOwners: return make_show_owners(kind);
    case Family::kBroker: return make_show_broker();
    case Family::kFacts: return make_show_facts();
    case Family::kTls: return make_show_tls();
    case Family::kLimits: return make_show_limits(kind);
    case Family::kConfig: return make_show_config(kind);
    case Family::kNone: break;
  }
  ASSERT(false);
  return nullptr;
}

std::span<const Column> columns_of_command(const Command& command) {
  switch (command.verb) {
    case Verb::kShow: return columns_of(command.show);
    case Verb::kShowDriver: return driver_columns(command.key);
    case Verb::kSelectOne: return kSelectOne;
    case Verb::kSelectVersion: return kSelectVersion;
    default: return {};
  }
}

bool visits_workers(ShowKind kind) {
  const Family family = family_of(kind);
  return family != Family::kConfig && family != Family::kTls && family != Family::kNone;
}

}  // namespace berth::admin
