// A Config's entries as the lines of an ini file that say the same.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "config/config.h"
#include "fuzz/input.h"

namespace berth::config {

using fuzz::in_quotes;

struct Line {
  std::string text;
  void add(std::string_view key, std::string_view value) {
    if (!value.empty()) text += fmt::format(" {}={}", key, in_quotes(value, '\''));
  }
  void add(std::string_view key, std::optional<int64_t> value) {
    if (value && *value >= 0) add(key, std::to_string(*value));
  }
  void add_time(std::string_view key, std::optional<Micros> time) {
    if (time) add(key, fmt::format("{}.{:06}", *time / kSecond, *time % kSecond));
  }
  void add(std::optional<PoolMode> mode) {
    if (mode) add("pool_mode", to_string(*mode));
  }
};

inline std::string written(const DatabaseEntry& entry) {
  Line line{in_quotes(entry.name, '"') + " ="};
  std::string hosts;
  for (const std::string& host : entry.hosts) hosts += (hosts.empty() ? "" : ",") + host;
  line.add("dbname", entry.dbname);
  line.add("host", hosts);
  line.add("port", entry.port);
  line.add("user", entry.user);
  line.add("password", entry.password.view());
  line.add("pool_size", entry.pool_size);
  line.add("min_pool_size", entry.min_pool_size);
  line.add("reserve_pool_size", entry.reserve_pool_size);
  line.add("max_db_connections", entry.max_db_connections);
  line.add("max_db_client_connections", entry.max_db_client_connections);
  line.add("connect_query", entry.connect_query);
  line.add(entry.pool_mode);
  line.add_time("server_lifetime", entry.server_lifetime);
  line.add_time("query_wait_timeout", entry.query_wait_timeout);
  line.add("client_encoding", entry.client_encoding);
  line.add("datestyle", entry.datestyle);
  line.add("timezone", entry.timezone);
  if (entry.load_balance_hosts == LoadBalance::kDisable) line.add("load_balance_hosts", "disable");
  line.add("auth_user", entry.auth_user);
  line.add("auth_query", entry.auth_query);
  line.add("auth_dbname", entry.auth_dbname);
  return line.text + "\n";
}

inline std::string written(const UserEntry& entry) {
  Line line{in_quotes(entry.name, '"') + " ="};
  line.add("pool_size", entry.pool_size);
  line.add("reserve_pool_size", entry.reserve_pool_size);
  line.add(entry.pool_mode);
  line.add("max_user_connections", entry.max_user_connections);
  line.add("max_user_client_connections", entry.max_user_client_connections);
  line.add_time("query_timeout", entry.query_timeout);
  line.add_time("idle_transaction_timeout", entry.idle_transaction_timeout);
  line.add_time("transaction_timeout", entry.transaction_timeout);
  line.add_time("client_idle_timeout", entry.client_idle_timeout);
  line.add_time("query_wait_timeout", entry.query_wait_timeout);
  return line.text + "\n";
}

}  // namespace berth::config
