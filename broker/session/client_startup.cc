// Chapter 1 of a client's life: the first packets. An encryption request is answered (client_tls.cc), a cancel
// request is routed and the connection closed, a StartupMessage becomes a Login and goes to chapter 2
// (client_auth.cc).
#include "base/log.h"
#include "session/client.h"
#include "wire/encode.h"

namespace berth::session {

Client::Client(Context& context_, std::optional<config::PoolMode> fixed_mode, bool unix_socket_)
    : context(context_),
      serial(context_.globals.next_serial.fetch_add(1, std::memory_order_relaxed)),
      connected_at(context_.now()),
      unix_socket(unix_socket_) {
  uint32_t index;
  if (context.free_indexes.empty()) {
    index = static_cast<uint32_t>(context.client_by_index.size());
    context.client_by_index.push_back(this);
  } else {
    index = context.free_indexes.back();
    context.free_indexes.pop_back();
    context.client_by_index[index] = this;
  }
  pid = client_pid(context.worker, index);
  if (fixed_mode) {
    mode = *fixed_mode;
    mode_fixed = true;
  }
}

Client::~Client() {
  const uint32_t index = index_of_pid(pid);
  context.client_by_index[index] = nullptr;
  context.free_indexes.push_back(index);
  context.globals.worker_clients[static_cast<size_t>(context.worker)].fetch_sub(1, std::memory_order_relaxed);
}

Client* accept_client(Context& context, int descriptor, std::optional<config::PoolMode> fixed_mode, bool unix_socket,
                      const net::ShortAddress& peer) {
  auto* client = new Client(context, fixed_mode, unix_socket);  // frees itself in on_closed
  client->peer = peer;
  context.startup_clients.push_back(client);
  client->conn = context.engine.attach(descriptor, client);
  client->enter_door();
  return client;
}

void Client::on_connected(int) {
  ASSERT(false);
}  // accepted connections are connected
void Client::on_detached(int, std::string_view, std::unique_ptr<net::TlsSession>) {
  ASSERT(false);
}  // clients do not travel

net::Taken Client::chapter_on_bytes(std::string_view bytes) {
  switch (state) {
    case pool::ClientState::kStartup: return startup_on_bytes(bytes);
    case pool::ClientState::kAuth: return auth_on_bytes(bytes);
    case pool::ClientState::kIdle:
    case pool::ClientState::kLinked: return refusing ? refusing_on_bytes(bytes) : relay_on_bytes(bytes);
    case pool::ClientState::kConsole: return context.console->on_bytes(this, bytes);
    case pool::ClientState::kLoginWait:
    case pool::ClientState::kWaiting: return {};  // paused: what was on its way stays with the engine
    case pool::ClientState::kClosing: return {bytes.size(), 0};
  }
  return {};
}

// A client may send ahead: what one chapter leaves belongs to the next.
net::Taken Client::on_bytes(std::string_view bytes) {
  size_t at = 0;
  for (;;) {
    const net::Taken taken = chapter_on_bytes(bytes.substr(at));
    at += taken.consumed;
    if (at == bytes.size() || taken.need > 0 || taken.consumed == 0 || closing()) return {at, taken.need};
    if (context.engine.paused(conn)) return {at, 0};
  }
}

net::Taken Client::startup_on_bytes(std::string_view bytes) {
  if (begin_direct_tls(bytes)) return {0, 0};  // they are the engine's
  const wire::Startup startup = wire::parse_startup(bytes);
  switch (startup.kind) {
    case wire::Startup::Kind::kNeedMore: return {0, startup.size};
    case wire::Startup::Kind::kBad: fatal(ClientEnd::kBadStartup, "08P01", startup.why); return {bytes.size(), 0};
    case wire::Startup::Kind::kSsl:
    case wire::Startup::Kind::kGssEnc:
    case wire::Startup::Kind::kStartup:
    case wire::Startup::Kind::kCancel: break;
  }
  startup_on_packet(startup, bytes.size() > startup.size);
  return {startup.size, 0};
}

void Client::startup_on_packet(const wire::Startup& startup, bool more) {
  switch (startup.kind) {
    case wire::Startup::Kind::kSsl: return ssl_on_request(more);
    case wire::Startup::Kind::kGssEnc:
      if (encrypted) return fatal(ClientEnd::kBadStartup, "08P01", "GSSENCRequest inside of TLS");
      if (seen_gss) return fatal(ClientEnd::kBadStartup, "08P01", "GSSENCRequest was answered already");
      seen_gss = true;
      made_progress();
      if (more) {
        return fatal(ClientEnd::kClearAfterTlsRequest, "08P01",
                     "received unencrypted data after GSSAPI encryption request");
      }
      return send("N");
    case wire::Startup::Kind::kCancel:
      context.fleet.route_cancel(startup.cancel_pid, std::string(startup.cancel_key));
      return close(ClientEnd::kCancelRequest);
    case wire::Startup::Kind::kStartup:
      if (!encrypted_enough())
        return fatal(ClientEnd::kTlsRequired, "28000", {}, {}, "Connect with sslmode=require.");
      if (read_parameters(startup)) begin_auth();
      return;
    case wire::Startup::Kind::kNeedMore:
    case wire::Startup::Kind::kBad: return;
  }
}

bool Client::read_parameters(const wire::Startup& startup) {
  login = std::make_unique<Login>();
  login->config = context.config;
  long_cancel_key = startup.version >= wire::kProtocol32;
  // PostgreSQL reads `options` first, wherever it stands among the parameters, and of several only the last.
  std::vector<std::pair<std::string, std::string>> settings, of_options;
  for (const auto& [name, value] : startup.parameters) {
    if (name == "user") {
      login->user = value;
    } else if (name == "database") {
      login->database = value;
    } else if (name == "replication") {
      // What PostgreSQL takes for false asks for nothing, or a rule of auth_hba_file for replication would let in an
      // ordinary connection.
      std::string_view wish;
      if (!wire::parse_replication(value, wish)) {
        fatal(ClientEnd::kBadStartup, "22023",
              fmt::format("invalid value for parameter \"replication\": \"{}\"", value),
              "Valid values are: \"false\", 0, \"true\", 1, \"database\".");
        return false;
      }
      login->replication = wish;
    } else if (name == "options") {
      wire::StartupOptions options;
      if (context.config->ignores_startup_parameter("options")) continue;
      if (!wire::parse_startup_options(value, options) || !options.others.empty()) {
        fatal(ClientEnd::kBadStartup, "08P01",
              "unsupported startup parameter in options: " +
                  (options.others.empty() ? std::string("malformed") : options.others.front()));
        return false;
      }
      of_options.clear();
      for (auto& setting : options.settings) {
        if (!context.config->ignores_startup_parameter(setting.first)) of_options.push_back(std::move(setting));
      }
    } else if (!name.starts_with("_pq_.") && !context.config->ignores_startup_parameter(name)) {
      settings.emplace_back(name, value);
    }
  }
  settings.insert(settings.begin(), of_options.begin(), of_options.end());
  std::string negotiation;
  wire::put_negotiation(negotiation, startup);
  if (!negotiation.empty()) send(negotiation);
  if (closing()) return false;
  if (login->user.empty()) {
    fatal(ClientEnd::kBadStartup, "28000", "no PostgreSQL user name specified in startup packet");
    return false;
  }
  if (login->database.empty()) login->database = login->user;
  for (const std::string* name : {&login->user, &login->database}) {
    if (name->size() <= kNameMax) continue;
    fatal(ClientEnd::kBadStartup, name == &login->user ? "28000" : "3D000",
          name == &login->user ? "user name is too long" : "database name is too long");
    return false;
  }
  std::string application;
  for (const auto& [name, value] : settings) {
    if (pool::same_name(name, "application_name")) application = value;
  }
  if (context.options().application_name_add_host) {
    const net::Address peer = net::peer_address(context.engine.descriptor(conn));
    application = (application.empty() ? std::string("app") : application) + " - " + peer.host() + ":" +
                  std::to_string(peer.port());
    settings.emplace_back("application_name", application);
  }
  start_params = params = pool::make_params(std::move(settings));
  return true;
}

uint32_t client_pid(int worker, uint32_t index) {
  return (static_cast<uint32_t>(worker) << 24 | (index & 0xffffff)) + 1;
}
int worker_of_pid(uint32_t pid) {
  return pid == 0 ? -1 : static_cast<int>((pid - 1) >> 24);
}
uint32_t index_of_pid(uint32_t pid) {
  return (pid - 1) & 0xffffff;
}

}  // namespace berth::session
