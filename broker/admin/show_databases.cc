// SHOW DATABASES, USERS, DNS_HOSTS and the empty DNS_ZONES.
#include <fmt/format.h>

#include <map>
#include <set>

#include "admin/servers.h"
#include "admin/show.h"

namespace berth::admin {

namespace {

constexpr ColumnType I = ColumnType::kInt4;

constexpr Column kDatabases[] = {{"name"},
                                 {"host"},
                                 {"port", I},
                                 {"database"},
                                 {"force_user"},
                                 {"pool_size", I},
                                 {"min_pool_size", I},
                                 {"reserve_pool_size", I},
                                 {"server_lifetime", I},
                                 {"pool_mode"},
                                 {"load_balance_hosts"},
                                 {"max_connections", I},
                                 {"current_connections", I},
                                 {"max_client_connections", I},
                                 {"current_client_connections", I},
                                 {"paused", I},
                                 {"disabled", I}};
// The sizes are text, as in PgBouncer: empty for a user without a setting of its own.
constexpr Column kUsers[] = {{"name"},
                             {"pool_size"},
                             {"reserve_pool_size"},
                             {"pool_mode"},
                             {"max_user_connections", I},
                             {"current_connections", I},
                             {"max_user_client_connections", I},
                             {"current_client_connections", I}};
constexpr Column kDnsHosts[] = {{"hostname"}, {"ttl", ColumnType::kInt8}, {"addrs"}};
constexpr Column kDnsZones[] = {{"zonename"}, {"serial", ColumnType::kInt8}, {"count", I}};

using session::Context;

// The numbers of a Shared...: what all workers use together.
struct Uses {
  int64_t servers = 0, clients = 0;
  bool paused = false, disabled = false;
};

void text_or_null(Table& table, std::string_view value) {
  if (value.empty()) {
    table.null();
  } else {
    table.text(value);
  }
}

class ShowDatabases final : public Show {
 public:
  void visit(Context& context) override {
    console_clients_ += static_cast<int64_t>(context.console_clients.size());
    for (const auto& [key, slice] : context.slices) {
      if (slice->entry && slice->entry->is_fallback) fallback_.insert(slice->database);
    }
  }
  void finish(Context& context, Table& table) override {
    const config::Config& config = *context.config;
    std::map<std::string, const config::DatabaseEntry*> entries;
    for (const config::DatabaseEntry& entry : config.databases) {
      if (!entry.is_fallback) entries[entry.name] = &entry;
    }
    for (const std::string& name : fallback_) entries.emplace(name, config.find_database(name));
    entries[std::string(kConsoleName)] = nullptr;
    std::map<std::string, Uses> uses;
    context.globals.registry.each_database([&](pool::SharedDatabase& shared) {
      uses[shared.name] = {shared.servers.used.load(), shared.clients.used.load(), shared.paused.load(),
                           shared.disabled.load()};
    });
    for (const auto& [name, entry] : entries) {
      if (name == kConsoleName) {
        console(config, table);
      } else if (entry) {
        database(config, *entry, name, uses[name], table);
      }
    }
  }

 private:
  static void database(const config::Config& config, const config::DatabaseEntry& entry, const std::string& name,
                       const Uses& uses, Table& table) {
    std::string hosts;
    for (const std::string& host : entry.hosts) hosts += (hosts.empty() ? "" : ",") + host;
    table.text(name);
    text_or_null(table, hosts);
    table.number(entry.port).text(entry.dbname.empty() ? name : entry.dbname);
    text_or_null(table, entry.user);
    table.number(config.pool_size(entry, nullptr)).number(config.min_pool_size(entry, nullptr));
    table.number(config.reserve_pool_size(entry, nullptr)).number(config.server_lifetime(entry) / kSecond);
    text_or_null(table, entry.pool_mode ? config::to_string(*entry.pool_mode) : std::string_view());
    const bool balances = entry.load_balance_hosts != config::LoadBalance::kDisable;
    text_or_null(table, entry.hosts.size() < 2 ? "" : balances ? "round-robin" : "disable");
    table.number(config.max_db_connections(entry)).number(uses.servers);
    table.number(config.max_db_client_connections(entry)).number(uses.clients);
    table.number(uses.paused).number(uses.disabled).end_row();
  }

  void console(const config::Config& config, Table& table) const {
    table.text(kConsoleName).null().number(config.options.listen_port).text(kConsoleName).text(kConsoleName);
    table.number(2).number(0).number(0).number(config.options.server_lifetime / kSecond);
    table.text("statement")
        .null()
        .number(0)
        .number(0)
        .number(0)
        .number(console_clients_)
        .number(0)
        .number(0)
        .end_row();
  }

  std::set<std::string> fallback_;  // names that came through the entry "*"
  int64_t console_clients_ = 0;
};

class ShowUsers final : public Show {
 public:
  void finish(Context& context, Table& table) override {
    const config::Config& config = *context.config;
    std::map<std::string, Uses> users;
    context.globals.registry.each_user([&](pool::SharedUser& shared) {
      users[shared.name] = {.servers = shared.servers.used.load(), .clients = shared.clients.used.load()};
    });
    for (const auto& [name, secret] : config.secrets) users[name];
    for (const config::UserEntry& entry : config.users) users[entry.name];
    users[std::string(kConsoleName)];
    for (const auto& [name, uses] : users) {
      const config::UserEntry* entry = config.find_user(name);
      const auto size = [](const std::optional<int64_t>& value) {
        return value ? fmt::format("{:9}", *value) : std::string();
      };
      table.text(name).text(entry ? size(entry->pool_size) : "").text(entry ? size(entry->reserve_pool_size) : "");
      text_or_null(table, entry && entry->pool_mode ? config::to_string(*entry->pool_mode) : std::string_view());
      table.number(config.max_user_connections(entry)).number(uses.servers);
      table.number(config.max_user_client_connections(entry)).number(uses.clients).end_row();
    }
  }
};

// What the resolver remembers; a name that could not be resolved has no address.
class ShowHosts final : public Show {
 public:
  void finish(Context& context, Table& table) override {
    std::map<std::string, net::Resolver::Known> names;
    for (net::Resolver::Known& name : context.fleet.known_names()) {
      std::string host = name.host;
      names.emplace(std::move(host), std::move(name));
    }
    for (const auto& [host, name] : names) {
      std::string addresses;
      for (const net::Address& address : name.addresses) addresses += (addresses.empty() ? "" : ",") + address.host();
      table.text(host)
          .number(std::max<int64_t>(0, (name.expires - context.now()) / kSecond))
          .text(addresses)
          .end_row();
    }
  }
};

class ShowZones final : public Show {
  void finish(Context&, Table&) override {}
};

}  // namespace

std::shared_ptr<Show> make_show_databases(ShowKind kind) {
  if (kind == ShowKind::kDatabases) return std::make_shared<ShowDatabases>();
  if (kind == ShowKind::kUsers) return std::make_shared<ShowUsers>();
  if (kind == ShowKind::kDnsHosts) return std::make_shared<ShowHosts>();
  return std::make_shared<ShowZones>();
}

std::span<const Column> columns_of_databases(ShowKind kind) {
  if (kind == ShowKind::kDatabases) return kDatabases;
  if (kind == ShowKind::kUsers) return kUsers;
  return kind == ShowKind::kDnsHosts ? std::span<const Column>(kDnsHosts) : std::span<const Column>(kDnsZones);
}

}  // namespace berth::admin
