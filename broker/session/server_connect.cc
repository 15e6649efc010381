// Chapter 1 of a server's life: address, connect, startup, authentication, parameters, connect_query.
#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "net/tls_session.h"
#include "pool/watch.h"
#include "session/server.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::session {

namespace {

constexpr size_t kNoHost = ~size_t{0};

// A server ended before it was ready, for whatever reason: where hosts are not used in turn, the next attempt goes to
// the next host. Of several servers that fail there at once, one moves it on.
void leave_host(Slice& slice, size_t host_index) {
  if (slice.next_host == host_index) slice.next_host++;
}

}  // namespace

Server::Server(Context& context_, Slice& slice_)
    : context(&context_),
      slice(&slice_),
      serial(context_.globals.next_serial.fetch_add(1, std::memory_order_relaxed)) {
  generation = slice_.pool.generation();
  connected_at = context_.now();
}

Server::~Server() {
  ASSERT(!client && requests.empty());
  context->asking.erase(serial);
}

std::string Server::label() const {
  return fmt::format("S-{}: {}/{}@{}", fmt::ptr(this), slice->database, slice->user,
                     address.valid() ? address.text() : "unresolved");
}

// Resolves the next host of the list if need be, then connects. May fail at once.
void Server::open() {
  deadline = context->now() + context->options().server_connect_timeout;
  if (context->options().server_connect_timeout <= 0) deadline = 0;
  if (!slice->entry) return connect_failed("3D000", "database is no longer configured", true);
  // Every time: the resolver remembers names for as long as dns_max_ttl says, and a slice no longer than that.
  const auto& hosts = slice->entry->hosts;
  slice->next_addresses.resize(std::max<size_t>(hosts.size(), 1));
  host_index = slice->next_host;
  std::string host = hosts.empty() ? std::string() : hosts[host_index % hosts.size()];
  if (slice->entry->load_balance_hosts == config::LoadBalance::kRoundRobin) slice->next_host++;
  if (host.empty()) host = context->options().unix_socket_dir.empty() ? "/tmp" : context->options().unix_socket_dir;
  // By the newest context: what a reload has changed counts for this server and its cancel requests.
  tls_wish =
      wish_for_tls(context->globals.tls.servers.context(), context->options(), host, slice->server_insists_on_tls);
  context->asking[serial] = this;
  context->fleet.resolve(host, static_cast<int>(slice->entry->port),
                         [home = context, number = serial](Result<std::vector<net::Address>> found) {
                           if (Server* server = take_asking(*home, number)) server->resolved(found);
                         });
}

void Server::resolved(const Result<std::vector<net::Address>>& found) {
  ASSERT(state == pool::ServerState::kConnecting);
  if (!found || found.value().empty()) {
    return connect_failed("08001", found ? "host has no address" : found.error().text, false);
  }
  address_index = slice->next_addresses[host_index % slice->next_addresses.size()];
  connect_to(found.value()[address_index % found.value().size()]);
}

// Nobody is there, or says nothing: the next attempt goes to the next address of this host.
void Server::leave_address() {
  size_t& next = slice->next_addresses[host_index % slice->next_addresses.size()];
  if (next == address_index) next++;
}

Server* take_asking(Context& context, uint64_t serial) {
  const auto at = context.asking.find(serial);
  if (at == context.asking.end()) return nullptr;
  Server* server = at->second;
  context.asking.erase(at);
  return server->closing() ? nullptr : server;
}

void Server::connect_to(const net::Address& to) {
  address = to;
  conn = context->engine.connect(to, this);
}

void Server::on_connected(int error) {
  if (closing()) return;
  if (error) {
    leave_address();
    return connect_failed("08001", fmt::format("connect failed: {}", strerror(error)), false);
  }
  if (!slice->entry) return connect_failed("3D000", "database is no longer configured", true);  // a reload came
  if (!address.is_unix()) {
    const int fd = context->engine.descriptor(conn);
    net::keep_alive(fd, context->options().tcp_keepalive);
    net::tune_tcp_socket(fd, tcp_options(context->options()));
  }
  slice->pool.move(this, pool::ServerState::kLogin, context->now());
  if (address.is_unix()) tls_wish.reset();  // nobody can listen there, and PostgreSQL knows no TLS on it
  if (!tls_wish) return begin_login();
  tls_start = std::make_unique<ServerTls>(tls_wish, context->globals.tls.servers.counts);
  tls_on_next(tls_start->start(context->engine, conn));
}

void Server::tls_on_next(ServerTls::Next next) {
  switch (next) {
    case ServerTls::Next::kWait: return;
    case ServerTls::Next::kClear:
      tls_wish.reset();
      tls_start.reset();
      return begin_login();
    case ServerTls::Next::kSecured: {
      // A cancel request for what is spoken here inside of TLS must not go in clear words (T25).
      auto wish = std::make_shared<ServerTlsWish>(*tls_wish);
      wish->must = true;
      tls_wish = std::move(wish);
      tls_start.reset();
      return begin_login();
    }
    case ServerTls::Next::kFailed: {
      const std::string why = tls_start->why();
      const bool permanent = !tls_start->may_pass();
      tls_start.reset();
      return connect_failed("08001", why, permanent);
    }
  }
}

void Server::on_handshake(std::string_view error) {
  if (closing()) return;
  ASSERT(tls_start);
  tls_on_next(tls_start->on_handshake(context->engine, conn, error));
}

void Server::begin_login() {
  if (!slice->entry) return connect_failed("3D000", "database is no longer configured", true);  // a reload came
  auth::ChannelBinding binding = binding_of(context->engine.tls(conn), context->options());
  login = auth::make_server_login(slice->user, proof(), std::move(binding));
  send_startup();
}

auth::Proof Server::proof() const {
  const SecretString nothing;
  return context->globals.learned.proof(*context->config, slice->entry ? slice->entry->password : nothing,
                                        slice->database, slice->user, context->now());
}

void Server::send_startup() {
  std::string out;
  const config::DatabaseEntry& entry = *slice->entry;
  const std::string& database = entry.dbname.empty() ? slice->database : entry.dbname;
  const size_t start = out.size();
  out.append(4, '\0');
  wire::put32(out, wire::kProtocol30);
  const auto put = [&out](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    wire::put_cstring(out, name);
    wire::put_cstring(out, value);
  };
  put("user", slice->user);
  put("database", database);
  put("replication", slice->replication);
  put("client_encoding", entry.client_encoding);
  put("datestyle", entry.datestyle);
  put("timezone", entry.timezone);
  out += '\0';
  wire::store32(out.data() + start, static_cast<uint32_t>(out.size() - start));
  net::write(context->engine, conn, out);
}

net::Taken Server::on_bytes(std::string_view bytes) {
  switch (state) {
    case pool::ServerState::kLogin:
      if (!tls_start) return login_on_bytes(bytes);
      tls_on_next(tls_start->on_bytes(context->engine, conn, bytes));
      return {closing() ? bytes.size() : 1, 0};
    case pool::ServerState::kClosing: return {bytes.size(), 0};
    default: return relay_on_bytes(bytes);
  }
}

net::Taken Server::login_on_bytes(std::string_view bytes) {
  size_t at = 0;
  while (bytes.size() - at >= wire::kHeaderSize) {
    const wire::Head head = wire::read_head(bytes.data() + at, kServerLoginMax);
    if (!head.valid) {
      connect_failed("08P01", "server sent an invalid message during login", false);
      return {bytes.size(), 0};
    }
    if (bytes.size() - at < head.size) return {at, head.size};
    const bool go_on =
        login_on_message(head.tag, bytes.substr(at + wire::kHeaderSize, head.size - wire::kHeaderSize));
    at += head.size;
    if (!go_on) {
      if (closing()) return {bytes.size(), 0};
      if (state == pool::ServerState::kLogin) return {at, 0};
      break;  // ready: what follows belongs to the next chapter
    }
  }
  if (at == bytes.size() || state == pool::ServerState::kLogin)
    return {at, at == bytes.size() ? 0 : wire::kHeaderSize};
  // Another worker wants it already: what it has said too much goes along (ANewServerThatSpeaksTravels).
  if (state == pool::ServerState::kTravelling) return {at, 0};
  net::Taken taken = relay_on_bytes(bytes.substr(at));
  taken.consumed += at;
  return taken;
}

// False: nothing more may be read now.
bool Server::login_on_step(auth::Step step) {
  if (step.kind == auth::Step::Kind::kFailed) {
    connect_failed("28000", "cannot log in to the server: " + step.reason, true);
    return false;
  }
  if (step.kind == auth::Step::Kind::kWork) {
    begin_work(std::move(step.work));
    return false;
  }
  if (!step.bytes.empty()) net::write(context->engine, conn, step.bytes);
  auth::scrub(step.bytes);
  if (step.kind == auth::Step::Kind::kOk) login.reset();
  return true;
}

// The login is not read until the key is there. It may end before that.
void Server::begin_work(std::unique_ptr<auth::Work> work) {
  const auto done = [home = context, number = serial](auth::Work& ready) {
    Server* server = take_asking(*home, number);
    pool::watch_event(server ? server->state : pool::ServerState::kClosing, "work done");
    if (!server) return;
    ASSERT(server->state == pool::ServerState::kLogin);
    home->engine.resume(server->conn, net::kPauseLogin);
    auth::Step step = server->login->resume(ready);
    wipe_stack();
    server->login_on_step(std::move(step));
  };
  if (!context->fleet.aside(std::move(work), done)) {
    return connect_failed("53300", "too many logins to servers wait for their keys", false);
  }
  context->asking[serial] = this;
  context->engine.pause(conn, net::kPauseLogin);
}

// False: the login is over, one way or the other, or waits for a key.
bool Server::login_on_message(char tag, std::string_view body) {
  switch (tag) {
    case wire::kAuthentication: {
      if (!login) break;
      const bool goes_on = login_on_step(login->feed(body));
      wipe_stack();
      return goes_on;
    }
    case wire::kParameterStatus: {
      std::string_view name, value;
      if (login || !wire::parse_parameter_status(body, name, value)) break;
      params = pool::with_value(params, name, value);
      return true;
    }
    case wire::kBackendKeyData: {
      std::string_view said;
      if (login || !wire::parse_key_data(body, pid, said)) break;
      key = said;
      return true;
    }
    case wire::kNoticeResponse: return true;
    case wire::kNegotiateProtocolVersion: {
      uint32_t version;
      std::vector<std::string_view> unknown;
      if (!wire::parse_negotiation(body, version, unknown)) break;
      return true;
    }
    case wire::kErrorResponse: login_on_error(body); return false;
    case wire::kReadyForQuery:
      if (login || body != "I") break;
      ready();
      return false;
    default: break;
  }
  connect_failed("08P01", "server sent an unexpected message during login", false);
  return false;
}

void Server::login_on_error(std::string_view body) {
  const wire::ErrorFields error = wire::parse_error(body);
  const std::string text = error.message.empty() ? "login failed" : std::string(error.message);
  if (error.sqlstate == "53300") {
    slice->pool.overloaded(context->now());
    slice->last_error = text;
    slice->last_error_sqlstate = "53300";
    slice->last_error_permanent = false;
    LOG_WARNING("{} server is full: {}", label(), text);
    leave_host(*slice, host_index);
    return close(ServerEnd::kFull);
  }
  // allow: a server that says so only when it is asked in clear words gets TLS from now on.
  const std::shared_ptr<const net::TlsContext> newest = context->globals.tls.servers.context();
  if (!tls_wish && !address.is_unix() && asks_for_tls(error.sqlstate, newest.get()) &&
      !slice->server_insists_on_tls) {
    slice->server_insists_on_tls = true;
    host_index = kNoHost;  // this one is to be asked again
    return connect_failed("28000", text, false);
  }
  // A wrong password, an unknown role or database: no retry heals it.
  const bool permanent = error.sqlstate.starts_with("28") || error.sqlstate == "3D000" || error.sqlstate == "42501";
  if (!permanent) leave_address();
  connect_failed(error.sqlstate.empty() ? "08001" : error.sqlstate, text, permanent);
}

void Server::connect_failed(std::string_view sqlstate, std::string_view text, bool permanent, ServerEnd why) {
  slice->last_error = text;
  slice->last_error_sqlstate = sqlstate;
  slice->last_error_permanent = permanent;
  LOG_WARNING("{} server login failed: {}", label(), text);
  leave_host(*slice, host_index);
  slice->pool.open_failed(context->now());
  Slice& of = *slice;
  Context& home = *context;
  const int closing_one = conn ? 1 : 0;  // it counts until on_closed
  close(why);
  if (permanent) tell_waiting(home, of, closing_one);
}

void Server::ready() {
  login_params = start_params = params;
  status = 'I';
  if (context->options().log_connections)
    LOG_INFO("{} new connection to server (from {})", label(),
             net::local_address(context->engine.descriptor(conn)).text());
  const Micros lifetime = slice->entry ? context->config->server_lifetime(*slice->entry) : 0;
  if (lifetime > 0) {  // jitter: servers opened together do not all end together
    expires_at = context->now() +
                 static_cast<Micros>(static_cast<double>(lifetime) * (0.9 + 0.1 * context->random.fraction()));
  }
  pool::SharedPool* shared = slice->pool.shared();
  bool news;
  {
    const std::lock_guard<std::mutex> guard(shared->mutex);
    news = !shared->welcome;
    shared->welcome = params;
  }
  if (slice->entry && !slice->entry->connect_query.empty()) {
    slice->pool.move(this, pool::ServerState::kSetup, context->now());
    inject_query(slice->entry->connect_query);
  } else {
    setup_done();
  }
  if (news) {
    welcome_waiting(*context, shared);
    context->fleet.welcome_known(shared);
  }
}

void Server::setup_done() {
  deadline = 0;
  if (close_after) {  // not at once again: it would hardly fare better
    return connect_failed(setting_error_sqlstate.empty() ? "08006" : setting_error_sqlstate,
                          "connect_query failed: " + setting_error, false, ServerEnd::kSetupFailed);
  }
  if (status != 'I') {  // whoever got it next would be in a transaction that somebody else has begun
    const bool asked = slice->entry && !slice->entry->connect_query.empty();
    return connect_failed("25001",
                          asked ? "connect_query failed: it leaves a transaction open"
                                : "the server says that a login has begun a transaction",
                          false, ServerEnd::kSetupFailed);
  }
  slice->pool.opened(context->now());
  slice->last_error.clear();
  slice->last_error_permanent = false;
  start_params = params;  // what connect_query has set counts as the server's own
  slice->pool.checkin(this, context->now());
  run_slice(*context, *slice);
}

}  // namespace berth::session
