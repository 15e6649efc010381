// The lists: every event that can come to a client, a server or a cancel connection, with the states in which it can
// come; and the exceptions, each with its reason. Steps between states come from the tables in pool/node.h.
#include "sim/coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "pool/watch.h"

namespace berth::sim {

using C = pool::ClientState;
using S = pool::ServerState;

namespace {

// An event, and the states (their names, separated by spaces) that it can come in.
struct Row {
  const char* event;
  const char* states;
};

constexpr const char* kAllClients = "Startup Auth LoginWait Idle Waiting Linked Console Closing";
constexpr const char* kOpenClients = "Startup Auth LoginWait Idle Waiting Linked Console";
constexpr const char* kAllServers = "Connecting Login Setup Idle Linked Cleaning Checking Travelling Closing";

const Row kClientEvents[] = {
    // ---- what the engine tells
    {"bytes", "Startup Auth Idle Linked Console"},
    {"handshake", "Startup"},
    {"handshake failed", "Startup"},
    {"eof", kOpenClients},
    {"broken", kOpenClients},
    {"drained", kOpenClients},
    {"closed", "Closing"},
    // ---- what a helper thread has done for its login; Closing: which has ended meanwhile
    {"work done", "Auth Closing"},
    // ---- a cancel request with its key, a command that visits its worker
    {"cancel", "Idle Waiting Linked Console"},
    {"PAUSE", kAllClients},
    {"RESUME", kAllClients},
    {"RECONNECT", kAllClients},
    {"RELOAD", kAllClients},
    {"SET", kAllClients},
    {"SHOW", kAllClients},
    {"WAIT_CLOSE", kAllClients},
    {"KILL", kAllClients},
    {"KILL_CLIENT", kAllClients},
    // ---- refused, and stays
    {"cancelled while waiting", "Waiting"},
    {"server cannot be had", "Waiting"},
    // ---- why it is closed: stats/disconnects.def
    {"client_close_request", "Idle Linked Console"},
    {"client_unexpected_eof", "Auth LoginWait Idle Waiting Linked Console"},
    {"client_connection_lost", kOpenClients},
    {"client_closed_before_login", "Startup"},
    {"client_left_during_login", "Auth"},
    {"cancel_request", "Startup"},
    {"client_startup_timeout", "Startup"},
    {"client_login_timeout", "Startup Auth LoginWait"},
    {"client_idle_timeout", "Idle Linked"},
    {"idle_transaction_timeout", "Linked"},
    {"transaction_timeout", "Linked"},
    {"query_timeout", "Linked"},
    {"query_wait_timeout", "LoginWait Waiting"},
    {"max_client_conn", "Auth"},
    {"max_client_conn_per_address", "Auth"},
    {"max_unauthenticated_connections", "Startup"},
    {"max_unauthenticated_per_address", "Startup"},
    {"made_room_before_login", "Startup Auth"},
    {"max_db_client_connections", "Auth"},
    {"max_user_client_connections", "Auth"},
    {"too_many_logins_wait", "Auth"},
    {"too_many_databases_looked_up", "Auth"},
    {"authentication_failed", "Auth"},
    {"too_many_failed_logins", "Auth"},
    {"auth_query_failed", "Auth"},
    {"not_allowed", "Auth"},
    {"refused_by_hba", "Auth"},
    {"no_such_database", "Auth"},
    {"database_disabled", "Auth"},
    {"invalid_startup_packet", "Startup"},
    {"tls_handshake_failed", "Startup"},
    {"tls_required", "Startup"},
    {"unencrypted_after_ssl_request", "Startup"},
    {"needs_another_pool_mode", "Auth"},
    {"transaction_in_statement_mode", "Linked"},
    {"server_refused_settings", "Linked"},
    {"client_protocol_violation", "Auth Idle Linked Console"},
    {"message_too_long", "Linked"},
    {"server_login_failed", "LoginWait"},
    {"server_crashed", "Idle"},  // it has been unlinked
    {"server_closed", "Idle"},
    {"server_lost_in_message", "Idle"},
    {"server_protocol_violation", "Idle"},
    {"admin_forced_disconnect", kOpenClients},
    {"database_killed", "LoginWait Idle Waiting Linked"},
    {"shutdown", kOpenClients},
};

const Row kServerEvents[] = {
    {"connected", "Connecting"},
    {"connect failed", "Connecting"},
    {"bytes", "Login Setup Idle Linked Cleaning Checking"},
    {"handshake", "Login"},
    {"handshake failed", "Login"},
    {"eof", "Login Setup Idle Linked Cleaning Checking"},
    {"broken", "Login Setup Idle Linked Cleaning Checking"},
    {"drained", "Login Setup Linked Cleaning Checking"},
    {"detached", "Travelling"},
    {"work done", "Login Closing"},
    {"closed", "Closing"},
    // ---- commands
    {"PAUSE", kAllServers},
    {"RESUME", kAllServers},
    {"RECONNECT", kAllServers},
    {"RELOAD", kAllServers},
    {"SET", kAllServers},
    {"SHOW", kAllServers},
    {"WAIT_CLOSE", kAllServers},
    {"KILL", kAllServers},
    {"KILL_CLIENT", kAllServers},
    // ---- why it is closed: stats/disconnects.def
    {"connect_failed", "Connecting Login Setup"},
    {"server_full", "Login"},
    {"connect_query_failed", "Setup"},
    {"server_lifetime", "Idle Linked"},
    {"server_idle_timeout", "Idle"},
    {"evicted_max_db_connections", "Idle"},
    {"evicted_max_user_connections", "Idle"},
    {"evicted_pool_size", "Idle"},
    {"reserve_not_needed", "Idle"},
    {"configuration_changed", "Idle Linked Cleaning"},
    {"pause", "Connecting Idle Checking"},
    {"database_killed", "Connecting Login Setup Idle Cleaning Checking"},
    {"shutdown", "Connecting Login Setup Idle Cleaning Checking Travelling"},
    {"health_check_failed", "Checking"},
    {"health_check_timeout", "Checking"},
    {"cleaning_timeout", "Cleaning"},
    {"reset_failed", "Cleaning"},
    {"rollback_failed", "Cleaning"},
    {"client_left_in_message", "Linked"},
    {"replication", "Linked"},
    {"not_usable", "Linked"},
    {"fatal_while_idle", "Idle"},
    {"spoke_while_idle", "Travelling"},
    {"fatal", "Linked Cleaning Checking"},
    {"crashed", "Idle Linked Cleaning Checking"},
    {"bad_packet", "Setup Idle Linked Cleaning Checking"},
};

const Row kCancelEvents[] = {{"connected", ""}, {"connect failed", ""}, {"eof", ""},
                             {"broken", ""},    {"bytes", ""},          {"drained", ""},
                             {"closed", ""},    {"handshake", ""},      {"handshake failed", ""}};

// What a client is told when it is refused and stays, and the event that it is; the rest is PostgreSQL's own words.
struct Words {
  const char* text;
  const char* event;
};
const Words kWords[] = {
    {"canceling statement due to user request", "cancelled while waiting"},
    {"database is no longer configured", "server cannot be had"},
    {"database \"missing\" does not exist", "server cannot be had"},
    {"TLS handshake failed: ", "server cannot be had"},
    {"the server does not offer TLS", "server cannot be had"},
    {"the server sent unencrypted data", "server cannot be had"},
    {"the server's answer to the request for TLS", "server cannot be had"},
    {"the server answers the request for TLS", "server cannot be had"},
};

// What no world shows, and why.
struct Exception {
  const char* what;
  const char* why;
};
const Exception kExceptions[] = {
    {"client Auth: too_many_databases_looked_up", "no world has so many databases"},
    {"client Auth: too_many_failed_logins", "no world has kPairBurst failures at once"},
    {"server Linked: replication", "no client of the model asks for replication"},
    {"server Cleaning: rollback_failed", "ROLLBACK of the model never fails"},
};

std::string_view event_of(std::string_view text) {
  for (const Words& known : kWords) {
    if (text.starts_with(known.text)) return known.event;
  }
  return text;
}

// The names of all that there is to see.
std::vector<std::string> all_there_is() {
  std::vector<std::string> all;
  const auto steps = [&all]<typename State>(State, int count) {
    for (int i = 0; i < count * count; ++i) {
      const auto from = static_cast<State>(i / count), to = static_cast<State>(i % count);
      if (pool::may_move(from, to)) all.push_back(subject(from) + " -> " + name_of(to));
    }
  };
  steps(C::kIdle, pool::kClientStates);
  steps(S::kIdle, pool::kServerStates);
  const auto events = [&all](const char* kind, std::span<const Row> rows) {
    for (const Row& row : rows) {
      std::string_view states = row.states;
      if (states.empty()) all.push_back(fmt::format("{}: {}", kind, row.event));
      while (!states.empty()) {
        const size_t end = std::min(states.find(' '), states.size());
        all.push_back(fmt::format("{} {}: {}", kind, states.substr(0, end), row.event));
        states.remove_prefix(std::min(end + 1, states.size()));
      }
    }
  };
  events("client", kClientEvents);
  events("server", kServerEvents);
  events("cancel", kCancelEvents);
  return all;
}

bool is_exception(const std::string& what) {
  return std::any_of(std::begin(kExceptions), std::end(kExceptions),
                     [&](const Exception& entry) { return what == entry.what; });
}

}  // namespace

const char* name_of(C state) {
  static const char* const kNames[] = {"Startup", "Auth",   "LoginWait", "Idle",
                                       "Waiting", "Linked", "Console",   "Closing"};
  return kNames[static_cast<int>(state)];
}

const char* name_of(S state) {
  static const char* const kNames[] = {"Connecting", "Login",    "Setup",      "Idle",   "Linked",
                                       "Cleaning",   "Checking", "Travelling", "Closing"};
  return kNames[static_cast<int>(state)];
}

std::string subject(C state) {
  return std::string("client ") + name_of(state);
}

std::string subject(S state) {
  return std::string("server ") + name_of(state);
}

Coverage& coverage() {
  static Coverage all;
  return all;
}

void Coverage::event(std::string_view of, std::string_view what) {
  hit(fmt::format("{}: {}", of, what));
}

size_t Coverage::known() const {
  return all_there_is().size();
}

std::vector<std::string> Coverage::missed() const {
  std::vector<std::string> out;
  for (const std::string& what : all_there_is()) {
    if (!seen_.contains(what) && !is_exception(what)) out.push_back(what);
  }
  return out;
}

std::vector<std::string> Coverage::unlisted() const {
  std::vector<std::string> all = all_there_is(), out;
  std::sort(all.begin(), all.end());
  for (const auto& [what, count] : seen_) {
    if (!std::binary_search(all.begin(), all.end(), what)) out.push_back(what);
  }
  return out;
}

std::vector<std::string> Coverage::overtaken() const {
  std::vector<std::string> out;
  for (const Exception& entry : kExceptions) {
    if (seen_.contains(entry.what)) out.emplace_back(entry.what);
  }
  return out;
}

std::string Coverage::report() const {
  std::string out;
  for (const std::string& what : all_there_is()) {
    const auto at = seen_.find(what);
    out += fmt::format("{:>10}  {}", at == seen_.end() ? 0 : at->second, what);
    if (at == seen_.end()) out += is_exception(what) ? "  (exception)" : "  MISSED";
    out += '\n';
  }
  return out;
}

}  // namespace berth::sim

// ---- the seam of pool/watch.h

namespace berth::pool {

template <typename State>
static void see_step(State from, State to) {
  const std::string what = sim::subject(from) + " -> " + sim::name_of(to);
  if (!may_move(from, to)) sim::coverage().forbidden = what;
  sim::coverage().hit(what);
}

void watch_step(ClientState from, ClientState to) {
  see_step(from, to);
}

void watch_step(ServerState from, ServerState to) {
  see_step(from, to);
}

void watch_event(ClientState state, std::string_view what) {
  sim::coverage().event(sim::subject(state), sim::event_of(what));
}

void watch_event(ServerState state, std::string_view what) {
  sim::coverage().event(sim::subject(state), what);
}

}  // namespace berth::pool
