// SHOW POOLS, LISTS, MEM, and the empty PEERS and PEER_POOLS.
#include <algorithm>
#include <map>
#include <set>

#include "admin/servers.h"
#include "admin/show.h"
#include "base/block_pool.h"
#include "session/cancel.h"
#include "session/client.h"
#include "session/server.h"

namespace berth::admin {

namespace {

constexpr ColumnType I = ColumnType::kInt4;

constexpr Column kPools[] = {{"database"},
                             {"user"},
                             {"cl_active", I},
                             {"cl_waiting", I},
                             {"cl_active_cancel_req", I},
                             {"cl_waiting_cancel_req", I},
                             {"sv_active", I},
                             {"sv_active_cancel", I},
                             {"sv_being_canceled", I},
                             {"sv_idle", I},
                             {"sv_used", I},
                             {"sv_tested", I},
                             {"sv_login", I},
                             {"maxwait", I},
                             {"maxwait_us", I},
                             {"pool_mode"},
                             {"load_balance_hosts"}};
constexpr Column kPeerPools[] = {{"peer_id", I},
                                 {"cl_active_cancel_req", I},
                                 {"cl_waiting_cancel_req", I},
                                 {"sv_active_cancel", I},
                                 {"sv_login", I}};
constexpr Column kPeers[] = {{"peer_id", I}, {"host"}, {"port", I}, {"pool_size", I}};
constexpr Column kLists[] = {{"list"}, {"items", I}};
constexpr Column kMem[] = {{"name"}, {"size", I}, {"used", I}, {"free", I}, {"memtotal", I}};

using session::Client;
using session::Context;
using session::Server;
using session::Slice;
using C = pool::ClientState;
using S = pool::ServerState;

// One pool over all workers.
struct PoolRow {
  int64_t cl_active = 0, cl_waiting = 0, cancels = 0;
  int64_t servers[kServerShown] = {};
  Micros longest_wait = 0;
  config::PoolMode mode = config::PoolMode::kSession;
  std::string load_balance;  // empty: one host, nothing to balance
};

Micros wait_of(const pool::ClientList& list, Micros now) {
  const pool::ClientNode* oldest = list.front();
  return oldest ? std::max<Micros>(0, now - oldest->wait_since) : 0;
}

class ShowPools final : public Show {
 public:
  void visit(Context& context) override {
    for (const auto& [key, slice] : context.slices) add(context, *slice, row_of(*slice));
    for (const session::CancelConnection* cancel : context.cancels) {
      if (cancel->server()) row_of(*cancel->server()->slice).cancels++;
    }
    console_clients_ += static_cast<int64_t>(context.console_clients.size());
  }
  void finish(Context&, Table& table) override {
    PoolRow& console = pools_[{std::string(kConsoleName), std::string(kConsoleName)}];
    console.cl_active = console_clients_;
    console.mode = config::PoolMode::kStatement;
    for (const auto& [key, row] : pools_) put(table, key, row);
  }

 private:
  using Key = std::pair<std::string, std::string>;
  PoolRow& row_of(const Slice& slice) { return pools_[{slice.database, slice.user}]; }

  static void add(Context& context, const Slice& slice, PoolRow& row) {
    const pool::Pool& pool = slice.pool;
    row.mode = slice.mode;
    if (slice.entry && slice.entry->hosts.size() > 1) {
      row.load_balance = slice.entry->load_balance_hosts == config::LoadBalance::kDisable ? "disable" : "round-robin";
    }
    row.cl_active += static_cast<int64_t>(pool.clients(C::kIdle).size() + pool.clients(C::kLinked).size());
    row.cl_waiting += static_cast<int64_t>(pool.waiting_count() + pool.clients(C::kLoginWait).size());
    for (const pool::ClientList* list :
         {&pool.clients(C::kWaiting), &pool.session_waiting(), &pool.clients(C::kLoginWait)}) {
      row.longest_wait = std::max(row.longest_wait, wait_of(*list, context.now()));
    }
    each_server(slice,
                [&](const Server& server) { row.servers[static_cast<int>(shown_state(server, context.now()))]++; });
  }

  static void put(Table& table, const Key& key, const PoolRow& row) {
    const auto servers = [&](ServerShown state) { return row.servers[static_cast<int>(state)]; };
    table.text(key.first).text(key.second).number(row.cl_active).number(row.cl_waiting);
    table.number(row.cancels).number(0);  // a cancel request never waits: it goes out at once or not at all
    table.number(servers(ServerShown::kActive)).number(row.cancels).number(servers(ServerShown::kBeingCanceled));
    table.number(servers(ServerShown::kIdle))
        .number(servers(ServerShown::kUsed))
        .number(servers(ServerShown::kTested));
    table.number(servers(ServerShown::kNew));
    table.number(row.longest_wait / kSecond).number(row.longest_wait % kSecond);
    table.text(config::to_string(row.mode));
    if (row.load_balance.empty()) {
      table.null();
    } else {
      table.text(row.load_balance);
    }
    table.end_row();
  }

  std::map<Key, PoolRow> pools_;
  int64_t console_clients_ = 0;
};

class ShowLists final : public Show {
 public:
  explicit ShowLists(ShowKind kind) : kind_(kind) {}
  void visit(Context& context) override {
    add(context.engine.memory());
    login_ += static_cast<int64_t>(context.startup_clients.size());
    clients_ += static_cast<int64_t>(context.startup_clients.size() + context.console_clients.size());
    for (const auto& [key, slice] : context.slices) {
      pools_.insert({slice->database, slice->user});
      databases_.insert(slice->database);
      users_.insert(slice->user);
      ++slices_;
      const pool::Pool& pool = slice->pool;
      for (C state : {C::kLoginWait, C::kIdle, C::kLinked})
        clients_ += static_cast<int64_t>(pool.clients(state).size());
      clients_ += static_cast<int64_t>(pool.waiting_count());
      each_server(*slice, [&](const Server&) { ++servers_; });
    }
  }
  void finish(Context& context, Table& table) override {
    for (const config::DatabaseEntry& entry : context.config->databases) {
      if (!entry.is_fallback) databases_.insert(entry.name);
    }
    for (const auto& [user, secret] : context.config->secrets) users_.insert(user);
    for (const config::UserEntry& user : context.config->users) users_.insert(user.name);
    databases_.insert(std::string(kConsoleName));
    users_.insert(std::string(kConsoleName));
    names_ = static_cast<int64_t>(context.fleet.known_names().size());
    kind_ == ShowKind::kLists ? lists(table) : memory(table);
  }

 private:
  void add(const net::EngineMemory& engine) {
    engines_.conn_size = engine.conn_size;
    engines_.conns += engine.conns;
    engines_.conn_bytes += engine.conn_bytes;
    engines_.blocks += engine.blocks;
    engines_.block_bytes += engine.block_bytes;
    engines_.pooled_blocks += engine.pooled_blocks;
    engines_.pooled_bytes += engine.pooled_bytes;
  }
  void lists(Table& table) const {
    const auto row = [&](std::string_view name, int64_t items) { table.text(name).number(items).end_row(); };
    row("databases", static_cast<int64_t>(databases_.size()));
    row("users", static_cast<int64_t>(users_.size()));
    row("peers", 0);
    row("pools", static_cast<int64_t>(pools_.size()) + 1);  // and the console's
    row("peer_pools", 0);
    row("free_clients", 0);  // what is not in use is given back
    row("used_clients", clients_);
    row("login_clients", login_);
    row("free_servers", 0);
    row("used_servers", servers_);
    row("dns_names", names_);
    row("dns_zones", 0);
    row("dns_queries", 0);
    row("dns_pending", 0);
  }
  void memory(Table& table) const {
    const auto pooled = [&](std::string_view name, size_t size, size_t used, size_t free, size_t bytes) {
      table.text(name).number(static_cast<int64_t>(size)).number(static_cast<int64_t>(used));
      table.number(static_cast<int64_t>(free));
      table.number(static_cast<int64_t>(std::min<size_t>(bytes, INT32_MAX))).end_row();  // the column is an int4
    };
    const auto row = [&](std::string_view name, size_t size,
                         int64_t used) {  // what is not used is given back at once
      pooled(name, size, static_cast<size_t>(used), 0, size * static_cast<size_t>(used));
    };
    row("user_cache", sizeof(pool::SharedUser), static_cast<int64_t>(users_.size()));
    row("db_cache", sizeof(pool::SharedDatabase), static_cast<int64_t>(databases_.size()));
    row("pool_cache", sizeof(Slice), slices_);
    row("server_cache", sizeof(Server), servers_);
    row("client_cache", sizeof(Client), clients_);
    row("prepared_statement_cache", sizeof(pool::StatementData), static_cast<int64_t>(pool::statements_known()));
    const size_t records = engines_.conn_size > 0 ? engines_.conn_bytes / engines_.conn_size : 0;
    pooled("conn_cache", engines_.conn_size, engines_.conns, records - engines_.conns, engines_.conn_bytes);
    pooled("iobuf_cache", BlockPool::kSmall, engines_.blocks, engines_.pooled_blocks,
           engines_.block_bytes + engines_.pooled_bytes);
  }

  ShowKind kind_;
  net::EngineMemory engines_;  // of all workers
  std::set<std::pair<std::string, std::string>> pools_;
  std::set<std::string> databases_, users_;
  int64_t names_ = 0, slices_ = 0, clients_ = 0, login_ = 0, servers_ = 0;
};

class ShowNothing final : public Show {
  void finish(Context&, Table&) override {}
};

}  // namespace

std::shared_ptr<Show> make_show_pools(ShowKind kind) {
  if (kind == ShowKind::kPools) return std::make_shared<ShowPools>();
  if (kind == ShowKind::kPeers || kind == ShowKind::kPeerPools) return std::make_shared<ShowNothing>();
  return std::make_shared<ShowLists>(kind);
}

std::span<const Column> columns_of_pools(ShowKind kind) {
  if (kind == ShowKind::kPools) return kPools;
  if (kind == ShowKind::kPeerPools) return kPeerPools;
  if (kind == ShowKind::kPeers) return kPeers;
  return kind == ShowKind::kLists ? std::span<const Column>(kLists) : std::span<const Column>(kMem);
}

}  // namespace berth::admin
