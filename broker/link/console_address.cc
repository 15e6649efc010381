#include "link/console_address.h"

#include <fmt/format.h>

#include "config/entries.h"
#include "net/resolver.h"

namespace berth::link {

namespace {

bool is_loopback(const net::Address& address) {
  const std::string host = address.host();
  return host == "::1" || host.starts_with("127.");
}

bool is_any(const net::Address& address) {
  const std::string host = address.host();
  return host == "0.0.0.0" || host == "::";
}

bool same_family(const net::Address& a, const net::Address& b) {
  return a.storage.ss_family == b.storage.ss_family;
}

std::string tcp(const std::string& host, int port) {
  return fmt::format("host={} port={}", host, port);
}

std::string unix_or_empty(const ConsolePlace& place) {
  if (place.directory.empty()) return {};
  for (const net::Address& listener : place.listeners) {
    if (!listener.is_unix()) continue;
    const std::string path = listener.text();
    return fmt::format("host={} port={}", quoted(place.directory), path.substr(path.rfind('.') + 1));
  }
  return {};
}

std::string by_tcp(const ConsolePlace& place, bool same_machine) {
  if (place.own.valid() && !place.own.is_unix()) {
    for (const net::Address& listener : place.listeners) {
      if (listener.is_unix()) continue;
      const bool all = is_any(listener) && same_family(listener, place.own);
      if (all || listener.host() == place.own.host()) return tcp(place.own.host(), listener.port());
    }
  }
  for (const net::Address& listener : place.listeners) {
    if (listener.is_unix()) continue;
    if (same_machine && is_any(listener)) {
      return tcp(listener.storage.ss_family == AF_INET6 ? "::1" : "127.0.0.1", listener.port());
    }
    if (!is_any(listener) && (same_machine || !is_loopback(listener))) return tcp(listener.host(), listener.port());
  }
  return {};
}

}  // namespace

std::string quoted(std::string_view value) {
  if (!value.empty() && value.find_first_of(" \t\n\r\f\v'\\") == std::string_view::npos) return std::string(value);
  std::string out = "'";
  for (const char letter : value) {
    if (letter == '\'' || letter == '\\') out += '\\';
    out += letter;
  }
  return out + "'";
}

std::string host_to_look_up(std::string_view conninfo) {
  const Result<std::vector<config::Pair>> pairs = config::parse_pairs(conninfo);
  if (!pairs) return {};
  std::string host;
  for (const config::Pair& pair : pairs.value()) {
    if (pair.key == "hostaddr" && !pair.value.empty()) return {};
    if (pair.key == "host") host = pair.value;
  }
  return host.empty() || net::Resolver::literal(host, 1) ? std::string() : host;
}

std::string console_address(const config::Config& config, const ConsolePlace& place) {
  const bool same_machine =
      place.own.valid() && (place.own.is_unix() || is_loopback(place.own) || place.own.host() == place.server.host());
  std::string where = config.options.link_console;
  if (where.empty() && same_machine) where = unix_or_empty(place);
  if (where.empty()) where = by_tcp(place, same_machine);
  if (where.empty()) return {};
  // A configured database of that name wins over the console's second name.
  const std::string_view database = config.find_own_database("pgberth") ? "pgbouncer" : "pgberth";
  return fmt::format("{} dbname={} user={}", where, database, config::kLinkUser);
}

}  // namespace berth::link
