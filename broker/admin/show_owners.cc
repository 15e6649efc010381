// SHOW SERVER_HISTORY, CLIENT_COUNTERS and QUEUE: who holds or held which server, what each client has done, and who
// waits. Ours.
#include <algorithm>
#include <map>
#include <vector>

#include "admin/servers.h"
#include "admin/show.h"
#include "session/session_features.h"

namespace berth::admin {

namespace {

constexpr ColumnType Q = ColumnType::kInt8, I = ColumnType::kInt4;

constexpr Column kHistory[] = {{"server_pid", I}, {"server_id", Q}, {"database"},        {"user"},
                               {"client_id", Q},  {"client_addr"},  {"client_port", I},  {"application_name"},
                               {"linked_at"},     {"released_at"},  {"transactions", Q}, {"queries", Q}};
constexpr Column kCounters[] = {
    {"client_id", Q},     {"database"},     {"user"},          {"client_addr"},     {"client_port", I},
    {"application_name"}, {"state"},        {"server_pid", I}, {"connected_at"},    {"transaction_started_at"},
    {"wait_us", Q},       {"query_us", Q},  {"xact_us", Q},    {"transactions", Q}, {"queries", Q},
    {"bytes_in", Q},      {"bytes_out", Q}, {"features"}};
constexpr Column kQueue[] = {{"client_id", Q},     {"database"},      {"user"},       {"client_addr"},
                             {"application_name"}, {"waiting_us", Q}, {"position", Q}};

using session::Client;
using session::Context;
using session::Owner;
using session::Server;

// What a visit has to know to show a moment of the monotonic clock.
struct Clock {
  explicit Clock(const Context& context) : offset(wall_now() - context.now()) {}
  Micros offset;
  void put(Table& table, Micros moment) const {
    if (moment == 0) {
      table.null();
    } else {
      table.instant(moment + offset);
    }
  }
};

void put_serial(Table& table, uint64_t serial) {
  table.number(static_cast<int64_t>(serial));
}

class ShowHistory final : public Show {
 public:
  void visit(Context& context) override {
    const Clock clock(context);
    for (const auto& [key, slice] : context.slices) {
      each_server(*slice, [&](const Server& server) {
        server.owners.each([&](const Owner& owner) { put(clock, server, owner); });
      });
    }
  }
  void finish(Context&, Table& table) override { table.append(std::move(rows_)); }

 private:
  void put(const Clock& clock, const Server& server, const Owner& owner) {
    // A client's name for itself may have changed since it got the server.
    const bool here = server.client && server.client->serial == owner.client;
    rows_.number(server.pid);
    put_serial(rows_, server.serial);
    rows_.text(server.slice->database).text(server.slice->user);
    put_serial(rows_, owner.client);
    rows_.text(owner.peer.host()).number(owner.peer.port);
    rows_.text(application_of(here ? server.client->params : owner.params));
    clock.put(rows_, owner.linked_at);
    clock.put(rows_, owner.released_at);
    rows_.number(owner.transactions).number(owner.queries).end_row();
  }
  Table rows_{kHistory};
};

class ShowCounters final : public Show {
 public:
  void visit(Context& context) override {
    const Clock clock(context);
    for (const auto& [key, slice] : context.slices) {
      each_client(*slice, [&](const Client& client) { put(clock, client); });
    }
  }
  void finish(Context&, Table& table) override { table.append(std::move(rows_)); }

 private:
  void put(const Clock& clock, const Client& client) {
    const stats::ClientCounters& counters = client.counters;
    put_serial(rows_, client.serial);
    rows_.text(client.database_name()).text(client.user_name());
    rows_.text(client.peer.host()).number(client.peer.port).text(application_of(client.params));
    rows_.text(text_of(client)).number(client.server ? client.server->pid : 0);
    clock.put(rows_, client.connected_at);
    clock.put(rows_, client.in_transaction ? client.request_at : 0);
    rows_.number(counters.wait_time).number(counters.query_time).number(counters.xact_time);
    rows_.number(counters.transactions).number(counters.queries);
    rows_.number(counters.received).number(counters.sent);
    rows_.text(session::feature_names(client.told_features)).end_row();
  }
  Table rows_{kCounters};
};

class ShowQueue final : public Show {
 public:
  void visit(Context& context) override {
    using C = pool::ClientState;
    for (const auto& entry : context.slices) {
      const session::Slice* slice = entry.second.get();
      each_client(*slice, [&](const Client& client) {
        if (client.state != C::kWaiting && client.state != C::kLoginWait) return;
        waiting_.push_back({context.now() - client.wait_since, client.serial, std::string(client.database_name()),
                            std::string(client.user_name()), slice->user, client.peer.host(),
                            std::string(application_of(client.params))});
      });
    }
  }
  void finish(Context&, Table& table) override {
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [](const Row& a, const Row& b) { return a.waited > b.waited; });
    std::map<std::pair<std::string, std::string>, int64_t> places;
    for (const Row& row : waiting_) {
      put_serial(table, row.serial);
      table.text(row.database).text(row.user).text(row.address).text(row.application);
      table.number(row.waited).number(++places[{row.database, row.pool_user}]).end_row();
    }
  }

 private:
  struct Row {
    Micros waited;
    uint64_t serial;
    std::string database, user, pool_user, address, application;
  };
  std::vector<Row> waiting_;
};

}  // namespace

std::shared_ptr<Show> make_show_owners(ShowKind kind) {
  if (kind == ShowKind::kServerHistory) return std::make_shared<ShowHistory>();
  if (kind == ShowKind::kClientCounters) return std::make_shared<ShowCounters>();
  return std::make_shared<ShowQueue>();
}

std::span<const Column> columns_of_owners(ShowKind kind) {
  if (kind == ShowKind::kServerHistory) return kHistory;
  return kind == ShowKind::kClientCounters ? std::span<const Column>(kCounters) : std::span<const Column>(kQueue);
}

}  // namespace berth::admin
