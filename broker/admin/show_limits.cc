// SHOW LIMITS and SHOW THROTTLE: who may come in, who is at the door, and whose failed logins wait. Ours.
#include <cmath>

#include "admin/show.h"

namespace berth::admin {

namespace {

constexpr ColumnType Q = ColumnType::kInt8;
constexpr size_t kThrottleRowsMax = 100;

constexpr Column kLimits[] = {{"name"}, {"maximum", Q}, {"current", Q}};
constexpr Column kThrottle[] = {{"kind"},        {"address"},     {"user"},
                                {"failures", Q}, {"delay_ms", Q}, {"refused", ColumnType::kBool}};

class ShowLimits final : public Show {
 public:
  void finish(session::Context& context, Table& table) override {
    const config::Options& options = context.options();
    session::Door& door = context.globals.door;
    const session::Door::Counts most = door.most();
    const auto row = [&table](std::string_view name, int64_t maximum, int64_t current) {
      table.text(name).number(maximum).number(current).end_row();
    };
    row("max_client_conn", options.max_client_conn, context.globals.clients.used.load(std::memory_order_relaxed));
    row("max_client_conn_per_address", options.max_client_conn_per_address, most.clients);
    row("max_unauthenticated_connections", options.max_unauthenticated_connections, door.newcomers());
    row("max_unauthenticated_per_address", options.max_unauthenticated_per_address, most.newcomers);
  }
};

std::string_view word_of(session::Throttle::Kind kind) {
  switch (kind) {
    case session::Throttle::Kind::kPair: return "user_at_address";
    case session::Throttle::Kind::kAddress: return "address";
    case session::Throttle::Kind::kUser: return "user";
  }
  return "";
}

class ShowThrottle final : public Show {
 public:
  void finish(session::Context& context, Table& table) override {
    for (const session::Throttle::Row& row : context.globals.throttle.worst(kThrottleRowsMax, context.now())) {
      table.text(word_of(row.kind)).text(row.address).text(row.user);
      table.number(static_cast<int64_t>(std::ceil(row.failures))).number(row.delay / kMillisecond);
      table.boolean(row.refused).end_row();
    }
  }
};

}  // namespace

std::shared_ptr<Show> make_show_limits(ShowKind kind) {
  if (kind == ShowKind::kThrottle) return std::make_shared<ShowThrottle>();
  return std::make_shared<ShowLimits>();
}

std::span<const Column> columns_of_limits(ShowKind kind) {
  if (kind == ShowKind::kThrottle) return kThrottle;
  return kLimits;
}

}  // namespace berth::admin
