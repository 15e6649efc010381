// The commands that change something, save those that wait (waits.cc). Rights were checked in ConsoleImpl::start().
#include <charconv>

#include "admin/console.h"
#include "admin/show.h"
#include "base/log.h"
#include "config/ldap_options.h"
#include "config/options.h"
#include "session/server.h"
#include "wire/encode.h"

namespace berth::admin {

namespace {

using C = pool::ClientState;
using S = pool::ServerState;

// Everybody of a slice is told and closed, then its servers. Servers that are on their way to another worker arrive
// there stale, and are closed.
void kill_slice(session::Slice& slice) {
  for (const C state : {C::kLinked, C::kIdle, C::kWaiting, C::kLoginWait}) {
    while (pool::ClientNode* node = slice.pool.clients(state).front())
      static_cast<Client*>(node)->fatal(session::ClientEnd::kKilled, "57P01");
  }
  while (pool::ClientNode* node = slice.pool.session_waiting().front())
    static_cast<Client*>(node)->fatal(session::ClientEnd::kKilled, "57P01");
  slice.pool.reconnect();
  for (const S state : {S::kIdle, S::kChecking, S::kCleaning, S::kSetup, S::kLogin, S::kConnecting}) {
    while (pool::ServerNode* node = slice.pool.servers(state).front())
      static_cast<session::Server*>(node)->close(session::ServerEnd::kKilled);
  }
}

bool concerns(const session::Slice& slice, const std::string& database) {
  return database.empty() || slice.database == database;
}

Client* find_client(Context& context, uint64_t serial) {
  for (Client* client : context.client_by_index) {
    if (client && client->serial == serial && !client->closing()) return client;
  }
  return nullptr;
}

}  // namespace

void ConsoleImpl::control(Session& session, const Command& command) {
  switch (command.verb) {
    case Verb::kSet: return set(session, command);
    case Verb::kReload: return reload(session, command);
    case Verb::kPause: return pause(session, command);
    case Verb::kResume: return resume(session, command);
    case Verb::kDisable: return disable(session, command, true);
    case Verb::kEnable: return disable(session, command, false);
    case Verb::kReconnect: return reconnect(session, command);
    case Verb::kKill: return kill(session, command);
    case Verb::kKillClient: return kill_client(session, command);
    case Verb::kResetThrottle:
      LOG_INFO("{} RESET_THROTTLE command issued", session.client->label());
      context_.globals.throttle.forget();
      return done(session, command);
    case Verb::kWaitClose: return wait_close(session, command);
    case Verb::kShutdown: return shut_down(session, command);
    case Verb::kSuspend:
      return fail(session, "SUSPEND is not supported", "0A000",
                  "PgBouncer has removed it in 1.26. PAUSE stops the traffic.");
    default: ASSERT(false);
  }
}

// The database of the argument is there and is not the console. False: the client has been told.
bool ConsoleImpl::check_database(Session& session, const Command& command, std::string_view what) {
  const config::Config& config = *context_.config;
  const std::string& name = command.argument;
  const bool console = name == kConsoleName || (name == "pgberth" && !config.find_own_database(name));
  if (console) {
    fail(session, fmt::format("cannot {} admin db: {}", what, name));
    return false;
  }
  bool known = config.find_database(name) != nullptr;
  context_.globals.registry.each_database(
      [&](const pool::SharedDatabase& shared) { known = known || shared.name == name; });
  if (!known) fail(session, fmt::format("no such database: {}", name));
  return known;
}

void ConsoleImpl::reload(Session& session, const Command& command) {
  LOG_INFO("{} RELOAD command issued", session.client->label());
  const uint64_t serial = session.client->serial;
  dispatcher_.reload(context_.worker, [this, serial, command](Context&, std::string error) {
    Session* of = find(serial);
    if (!of) return;
    if (error.empty()) return done(*of, command);
    fail(*of, "RELOAD failed, see logs for additional details", "F0000", error);
  });
}

void ConsoleImpl::set(Session& session, const Command& command) {
  std::string value = command.value;
  if (has_secret(value)) {
    value = config::without_ldap_secrets(value);
    if (value == command.value) value = "***";  // not as the configuration spells it
  }
  LOG_INFO("{} SET {}={}", session.client->label(), command.key, one_line(value));
  const uint64_t serial = session.client->serial;
  dispatcher_.set_option(context_.worker, command.key, command.value,
                         [this, serial, command](Context&, std::string error) {
                           Session* of = find(serial);
                           if (!of) return;
                           if (!error.empty()) return fail(*of, "SET failed", "08P01", error);
                           Reply reply{.tag = command_tag(command)};
                           const config::OptionInfo* info = config::find_option(command.key);
                           if (info->effect == config::OptionClass::kNoEffect) {
                             wire::put_error(reply.notices, wire::Severity::kWarning, "01000",
                                             fmt::format("\"{}\" has no effect here: {}", command.key, info->doc));
                           }
                           finish(*of, std::move(reply));
                         });
}

void ConsoleImpl::disable(Session& session, const Command& command, bool disabled) {
  if (command.argument.empty()) return fail(session, "a database is required");
  if (!check_database(session, command, disabled ? "disable" : "enable")) return;
  LOG_INFO("{} {} '{}' command issued", session.client->label(), disabled ? "DISABLE" : "ENABLE",
           one_line(command.argument));
  context_.globals.registry.database(command.argument)->disabled.store(disabled, std::memory_order_relaxed);
  done(session, command);
}

void ConsoleImpl::reconnect(Session& session, const Command& command) {
  if (!command.argument.empty() && !check_database(session, command, "reconnect")) return;
  LOG_INFO("{} RECONNECT '{}' command issued", session.client->label(), one_line(command.argument));
  visit_all(
      session,
      [database = command.argument](Context& context) {
        for (auto& [key, slice] : context.slices) {
          if (!concerns(*slice, database)) continue;
          slice->pool.reconnect();
          session::tick_slice(context, *slice);
        }
      },
      [this, command](Session& of) { done(of, command); });
}

void ConsoleImpl::kill(Session& session, const Command& command) {
  if (command.argument.empty()) {
    if (context_.globals.paused.exchange(true)) return fail(session, "already suspended/paused");
    context_.globals.paused_until.store(0, std::memory_order_relaxed);
  } else {
    if (!check_database(session, command, "kill")) return;
    pool::SharedDatabase* database = context_.globals.registry.database(command.argument);
    database->paused.store(true, std::memory_order_relaxed);
    database->paused_until.store(0, std::memory_order_relaxed);
  }
  LOG_INFO("{} KILL '{}' command issued", session.client->label(), one_line(command.argument));
  visit_all(
      session,
      [database = command.argument](Context& context) {
        const bool paused = context.globals.paused.load(std::memory_order_relaxed);
        for (auto& [key, slice] : context.slices) {
          if (!concerns(*slice, database)) continue;
          slice->pool.set_paused(paused);
          kill_slice(*slice);
        }
      },
      [this, command](Session& of) { done(of, command); });
}

void ConsoleImpl::kill_client(Session& session, const Command& command) {
  if (command.argument.empty()) return fail(session, "a client id is required");
  uint64_t serial = 0;
  const char* end = command.argument.data() + command.argument.size();
  const auto [stop, error] = std::from_chars(command.argument.data(), end, serial);
  if (error != std::errc() || stop != end) return fail(session, "invalid client id supplied");
  LOG_INFO("{} KILL_CLIENT {} command issued", session.client->label(), serial);
  auto found = std::make_shared<bool>(false);
  visit_all(
      session,
      [serial, found](Context& context) {
        Client* client = find_client(context, serial);
        if (!client) return;
        *found = true;
        client->fatal(session::ClientEnd::kForced, "57P01");
      },
      [this, command, found](Session& of) {
        if (*found) return done(of, command);
        fail(of, "client not found");
      });
}

void ConsoleImpl::shut_down(Session& session, const Command& command) {
  LOG_INFO("{} SHUTDOWN{}{} command issued", session.client->label(), command.argument.empty() ? "" : " ",
           command.argument);
  if (command.argument.empty())
    return dispatcher_.request_shutdown(session::Shutdown::kNow);  // no answer, as in PgBouncer
  const bool for_clients = pool::same_name(command.argument, "wait_for_clients");
  // The parser knows the words, but not those of a parameter.
  if (!for_clients && !pool::same_name(command.argument, "wait_for_servers")) {
    return fail(session, "SHUTDOWN takes WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS", "22023");
  }
  dispatcher_.request_shutdown(for_clients ? session::Shutdown::kWaitForClients : session::Shutdown::kWaitForServers);
  done(session, command);
}

}  // namespace berth::admin
