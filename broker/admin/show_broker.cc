// SHOW BROKER: this process in one row, as the extension's views list it. Ours.
#include "admin/servers.h"
#include "admin/show.h"
#include "config/config.h"

namespace berth::admin {

namespace {

constexpr ColumnType Q = ColumnType::kInt8;

constexpr Column kBroker[] = {{"id"},
                              {"name"},
                              {"version"},
                              {"started_at"},
                              {"now"},
                              {"pool_mode"},
                              {"workers", Q},
                              {"clients", Q},
                              {"clients_active", Q},
                              {"clients_waiting", Q},
                              {"servers", Q},
                              {"servers_active", Q},
                              {"max_client_conn", Q},
                              {"link"},
                              {"paused", ColumnType::kBool}};

class ShowBroker final : public Show {
 public:
  void visit(session::Context& context) override {
    using C = pool::ClientState;
    for (const auto& [key, slice] : context.slices) {
      const pool::Pool& pool = slice->pool;
      const size_t active = pool.clients(C::kLinked).size();
      const size_t waiting = pool.waiting_count() + pool.clients(C::kLoginWait).size();
      clients_ += static_cast<int64_t>(active + waiting + pool.clients(C::kIdle).size());
      active_ += static_cast<int64_t>(active);
      waiting_ += static_cast<int64_t>(waiting);
      each_server(*slice, [&](const session::Server&) { ++servers_; });
      servers_active_ += static_cast<int64_t>(pool.servers(pool::ServerState::kLinked).size());
    }
  }
  void finish(session::Context& context, Table& table) override {
    const session::Identity& identity = context.globals.identity;
    table.text(identity.id).text(identity.name).text(identity.version);
    table.instant(identity.started_at).instant(wall_now());
    table.text(config::to_string(context.options().pool_mode)).number(context.workers);
    table.number(clients_).number(active_).number(waiting_).number(servers_).number(servers_active_);
    table.number(context.options().max_client_conn).text(context.globals.links.summary());
    table.boolean(context.globals.paused.load(std::memory_order_relaxed)).end_row();
  }

 private:
  int64_t clients_ = 0, active_ = 0, waiting_ = 0, servers_ = 0, servers_active_ = 0;
};

}  // namespace

std::shared_ptr<Show> make_show_broker() {
  return std::make_shared<ShowBroker>();
}

std::span<const Column> columns_of_broker() {
  return kBroker;
}

}  // namespace berth::admin
