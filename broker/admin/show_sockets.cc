// SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS: one row for each connection.
#include <fmt/format.h>

#include "admin/servers.h"
#include "admin/show.h"
#include "net/address.h"
#include "net/peer_process.h"
#include "net/tls_session.h"

namespace berth::admin {

namespace {

constexpr ColumnType I = ColumnType::kInt4;

constexpr Column kSockets[] = {
    {"type"},           {"user"},          {"database"},     {"replication"},      {"state"},
    {"addr"},           {"port", I},       {"local_addr"},   {"local_port", I},    {"connect_time"},
    {"request_time"},   {"wait", I},       {"wait_us", I},   {"close_needed", I},  {"ptr"},
    {"link"},           {"remote_pid", I}, {"tls"},          {"application_name"}, {"prepared_statements", I},
    {"id", I},          {"recv_pos", I},   {"pkt_pos", I},   {"pkt_remain", I},    {"send_pos", I},
    {"send_remain", I}, {"pkt_avail", I},  {"send_avail", I}};
constexpr size_t kBufferColumns = 7;  // at the end, of SOCKETS only

using session::Client;
using session::Context;
using session::Server;

std::string_view replication_text(std::string_view value) {
  if (value.empty()) return "none";
  return value == "database" ? "logical" : "physical";
}

// What clients and servers have in common; the callers fill the rest.
struct Common {
  net::Address remote, local;
  Micros connected_at = 0, request_at = 0, wait = 0;
};

class ShowSockets final : public Show {
 public:
  explicit ShowSockets(ShowKind kind) : kind_(kind), rows_(columns_of_sockets(kind)) {}

  void visit(Context& context) override {
    wall_offset_ = wall_now() - context.now();
    if (kind_ != ShowKind::kServers) visit_clients(context);
    if (kind_ != ShowKind::kClients) visit_servers(context);
  }
  void finish(Context&, Table& table) override { table.append(std::move(rows_)); }

 private:
  bool with_buffers() const { return kind_ == ShowKind::kSockets || kind_ == ShowKind::kActiveSockets; }

  void visit_clients(Context& context) {
    for (const auto& [key, slice] : context.slices) {
      each_client(*slice, [&](const Client& client) { put(context, client); });
    }
    const pool::ClientList& console = context.console_clients;
    for (const pool::ClientNode* node = console.front(); node; node = console.next(node)) {
      put(context, static_cast<const Client&>(*node));
    }
    if (!with_buffers()) return;
    const pool::ClientList& logins = context.startup_clients;
    for (const pool::ClientNode* node = logins.front(); node; node = logins.next(node)) {
      put(context, static_cast<const Client&>(*node));
    }
  }

  void visit_servers(Context& context) {
    for (const auto& [key, slice] : context.slices) {
      each_server(*slice, [&](const Server& server) { put(context, server); });
    }
  }

  void put(Context& context, const Client& client) {
    const size_t unsent = client.conn ? context.engine.unsent(client.conn) : 0;
    if (kind_ == ShowKind::kActiveSockets && unsent == 0 && client.forward_left == 0) return;
    const int descriptor = client.conn ? context.engine.descriptor(client.conn) : -1;
    Common common{.connected_at = client.connected_at, .request_at = client.request_at};
    common.remote = net::peer_address(descriptor);
    common.local = net::local_address(descriptor);
    if (!common.local.valid()) common.local = common.remote;
    const bool waits = client.state == pool::ClientState::kWaiting || client.state == pool::ClientState::kLoginWait;
    if (waits) common.wait = context.now() - client.wait_since;
    const std::string_view state = text_of(client);
    rows_.text("C").text(client.user_name()).text(client.database_name());
    rows_.text(replication_text(client.slice ? std::string_view(client.slice->replication) : std::string_view()));
    rows_.text(with_buffers() ? fmt::format("cl_{}", state == "idle" ? "active" : state) : std::string(state));
    if (client.unix_socket)
      common.remote = common.local;  // the client's end has no name; PgBouncer shows the listener's
    put_common(common, 0, fmt::format("{}", fmt::ptr(&client)),
               client.server ? fmt::format("{}", fmt::ptr(client.server)) : "");
    rows_.number(client.unix_socket ? net::peer_process(descriptor) : 0);
    rows_.text(client.tls_text())
        .text(application_of(client.params))
        .number(static_cast<int64_t>(client.statements.size()));
    rows_.number(static_cast<int64_t>(client.serial));
    put_buffers(client.forward_left, unsent);
  }

  void put(Context& context, const Server& server) {
    const size_t unsent = server.conn ? context.engine.unsent(server.conn) : 0;
    if (kind_ == ShowKind::kActiveSockets && unsent == 0 && server.pass_left == 0) return;
    Common common{.connected_at = server.connected_at ? server.connected_at : server.state_since};
    common.request_at = server.client && server.client->request_at ? server.client->request_at : server.state_since;
    common.remote = server.address;
    if (server.conn) common.local = net::local_address(context.engine.descriptor(server.conn));
    if (common.remote.is_unix()) common.local = common.remote;
    const std::string_view state = text_of(shown_state(server, context.now()));
    const bool close_needed = server.close_after || server.slice->pool.stale(&server);
    rows_.text("S")
        .text(server.slice->user)
        .text(server.slice->database)
        .text(replication_text(server.slice->replication));
    rows_.text(with_buffers() ? fmt::format("sv_{}", state == "new" ? "login" : state) : std::string(state));
    put_common(common, close_needed, fmt::format("{}", fmt::ptr(&server)),
               server.client ? fmt::format("{}", fmt::ptr(server.client)) : "");
    const net::TlsSession* tls = server.conn ? context.engine.tls(server.conn) : nullptr;
    rows_.number(server.pid)
        .text(tls && tls->established() ? tls->describe() : std::string())
        .text(application_of(server.params))
        .number(static_cast<int64_t>(server.statements.size()));
    rows_.number(static_cast<int64_t>(server.serial));
    put_buffers(server.pass_left, unsent);
  }

  // The columns from addr to link.
  void put_common(const Common& common, bool close_needed, std::string_view ptr, std::string_view link) {
    for (const net::Address* address : {&common.remote, &common.local}) {
      rows_.text(address->valid() ? address->host() : std::string()).number(net::shown_port(*address));
    }
    rows_.time(common.connected_at + wall_offset_);
    rows_.time((common.request_at ? common.request_at : common.connected_at) + wall_offset_);
    rows_.number(common.wait / kSecond).number(common.wait % kSecond);
    rows_.number(close_needed).text(ptr).text(link);
  }

  void put_buffers(uint64_t rest_of_message, size_t unsent) {
    if (with_buffers()) {
      rows_.number(0).number(0).number(static_cast<int64_t>(std::min<uint64_t>(rest_of_message, INT32_MAX)));
      rows_.number(0).number(static_cast<int64_t>(std::min<uint64_t>(unsent, INT32_MAX))).number(0).number(0);
    }
    rows_.end_row();
  }

  ShowKind kind_;
  Table rows_;
  Micros wall_offset_ = 0;
};

}  // namespace

std::shared_ptr<Show> make_show_sockets(ShowKind kind) {
  return std::make_shared<ShowSockets>(kind);
}

std::span<const Column> columns_of_sockets(ShowKind kind) {
  const std::span<const Column> all = kSockets;
  const bool buffers = kind == ShowKind::kSockets || kind == ShowKind::kActiveSockets;
  return buffers ? all : all.first(all.size() - kBufferColumns);
}

}  // namespace berth::admin
