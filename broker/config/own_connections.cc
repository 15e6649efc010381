#include "config/own_connections.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "config/entries.h"

namespace berth::config {

namespace {

// Over TCP, and not to this machine.
bool is_remote(const std::string& host) {
  const bool here = host.empty() || host[0] == '/' || host[0] == '@' || host == "localhost" || host == "::1";
  return !here && !host.starts_with("127.");
}

// The first host over the network of who is asked about users; empty: there is none.
std::string remote_auth_query(const Config& config) {
  for (const DatabaseEntry& database : config.databases) {
    if (config.auth_user(&database).empty()) continue;
    const std::string& elsewhere = config.auth_dbname(&database);
    const DatabaseEntry* asked = elsewhere.empty() ? &database : config.find_database(elsewhere);
    if (!asked) continue;
    const auto found = std::find_if(asked->hosts.begin(), asked->hosts.end(), is_remote);
    if (found != asked->hosts.end()) return *found;
  }
  return {};
}

std::string remote_link_user(const Config& config) {
  for (const DatabaseEntry& database : config.databases) {
    const auto found = std::find_if(database.hosts.begin(), database.hosts.end(), is_remote);
    if (found != database.hosts.end()) return *found;
  }
  return {};
}

void add_link(const Config& config, std::vector<OwnConnection>& out) {
  const Options& options = config.options;
  if (options.link == "off") return;
  if (options.link == "auto") {
    const std::string host = options.link_user.empty() ? std::string() : remote_link_user(config);
    if (!host.empty())
      out.push_back({"link_user to " + host, "server_tls_sslmode", options.server_tls_sslmode, true});
    return;
  }
  const Result<std::vector<Pair>> pairs = parse_pairs(options.link);
  if (!pairs) return;
  const auto value = [&pairs](std::string_view key) {
    const auto found =
        std::find_if(pairs.value().rbegin(), pairs.value().rend(), [key](const Pair& p) { return p.key == key; });
    return found == pairs.value().rend() ? std::string() : found->value;
  };
  const std::string host = value("host"), mode = value("sslmode");
  if (!is_remote(host)) return;
  const bool own_mode = !mode.empty();
  out.push_back({"link to " + host, own_mode ? "link" : "server_tls_sslmode",
                 own_mode ? mode : options.server_tls_sslmode, true});
}

}  // namespace

std::vector<OwnConnection> remote_own_connections(const Config& config) {
  std::vector<OwnConnection> out;
  const std::string host = remote_auth_query(config);
  if (!host.empty()) {
    out.push_back({"auth_user to " + host, "server_tls_sslmode", config.options.server_tls_sslmode});
  }
  add_link(config, out);
  return out;
}

}  // namespace berth::config
