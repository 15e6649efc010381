// SHOW CONFIG, STATE, LINKS, AUTH_QUERY, HELPERS and the versions: what every worker knows alike.
#include "admin/show.h"
#include "admin/version.h"
#include "config/show.h"

namespace berth::admin {

namespace {

constexpr Column kConfig[] = {{"key"}, {"value"}, {"default"}, {"changeable"}};
constexpr Column kState[] = {{"key"}, {"value"}};
constexpr Column kVersion[] = {{"version"}};
constexpr Column kLinks[] = {{"database"},
                             {"host"},
                             {"port", ColumnType::kInt4},
                             {"server_database"},
                             {"user"},
                             {"state"},
                             {"since"},
                             {"error"},
                             {"registered_id"},
                             {"console"},
                             {"server_started_at"},
                             {"asked_at"}};

constexpr Column kAuthQuery[] = {{"database"},
                                 {"host"},
                                 {"port", ColumnType::kInt4},
                                 {"server_database"},
                                 {"user"},
                                 {"state"},
                                 {"cache"},
                                 {"connections", ColumnType::kInt8},
                                 {"waiting", ColumnType::kInt8},
                                 {"cached", ColumnType::kInt8},
                                 {"queries", ColumnType::kInt8},
                                 {"checks", ColumnType::kInt8},
                                 {"hits", ColumnType::kInt8},
                                 {"unknown", ColumnType::kInt8},
                                 {"failures", ColumnType::kInt8},
                                 {"refused", ColumnType::kInt8},
                                 {"error"},
                                 {"query"}};

constexpr Column kHelpers[] = {{"name"},
                               {"threads", ColumnType::kInt4},
                               {"threads_max", ColumnType::kInt4},
                               {"queue", ColumnType::kInt8},
                               {"queue_max", ColumnType::kInt8},
                               {"running", ColumnType::kInt8},
                               {"done", ColumnType::kInt8},
                               {"refused", ColumnType::kInt8},
                               {"waiting_us", ColumnType::kInt8},
                               {"longest_wait_us", ColumnType::kInt8}};
constexpr std::string_view kLaneNames[] = {"client_keys", "server_keys", "users", "pam", "ldap"};
static_assert(std::size(kLaneNames) == auth::kLanes);

class ShowConfig final : public Show {
 public:
  explicit ShowConfig(ShowKind kind) : kind_(kind) {}
  void finish(session::Context& context, Table& table) override {
    if (kind_ == ShowKind::kVersion) return table.text(kPgBouncerVersion).end_row();
    if (kind_ == ShowKind::kBerthVersion) return table.text(kBrokerVersion).end_row();
    if (kind_ == ShowKind::kState) return state(context, table);
    if (kind_ == ShowKind::kLinks) return links(context, table);
    if (kind_ == ShowKind::kAuthQuery) return auth_query(context, table);
    if (kind_ == ShowKind::kHelpers) return helpers(context, table);
    for (const config::ShowRow& row : config::show_config(*context.config)) {
      table.text(row.key).text(row.value).text(row.preset).text(row.changeable ? "yes" : "no").end_row();
    }
  }

 private:
  static void state(session::Context& context, Table& table) {
    const bool paused = context.globals.paused.load(std::memory_order_relaxed);
    table.text("active").text(paused ? "no" : "yes").end_row();
    table.text("paused").text(paused ? "yes" : "no").end_row();
    table.text("suspended").text("no").end_row();
  }

  static void links(session::Context& context, Table& table) {
    for (const session::LinkRow& row : context.globals.links.rows()) {
      table.text(row.database)
          .text(row.host)
          .number(row.port)
          .text(row.server_database)
          .text(row.user)
          .text(row.state);
      table.instant(row.since).text(row.error).text(row.registered_id).text(row.console);
      for (const Micros when : {row.server_started_at, row.asked_at}) {
        when == 0 ? table.text("") : table.instant(when);
      }
      table.end_row();
    }
  }

  static void auth_query(session::Context& context, Table& table) {
    for (const session::SecretRow& row : context.globals.secrets.rows()) {
      table.text(row.database).text(row.host).number(row.port).text(row.server_database).text(row.user);
      table.text(row.state).text(row.cache);
      for (const uint64_t count : {uint64_t{row.connections}, uint64_t{row.waiting}, uint64_t{row.cached},
                                   row.queries, row.checks, row.hits, row.unknown, row.failures, row.refused}) {
        table.number(static_cast<int64_t>(count));
      }
      table.text(row.error).text(row.query).end_row();
    }
  }

  static void helpers(session::Context& context, Table& table) {
    const auto loads = context.fleet.lane_loads();
    for (size_t i = 0; i < loads.size(); ++i) {
      const auth::LaneLoad& load = loads[i];
      table.text(kLaneNames[i]).number(load.threads).number(load.threads_max);
      for (const uint64_t count :
           {uint64_t{load.queue}, uint64_t{load.queue_max}, uint64_t{load.running}, load.done, load.refused}) {
        table.number(static_cast<int64_t>(count));
      }
      table.number(load.waiting).number(load.longest_wait).end_row();
    }
  }

  ShowKind kind_;
};

}  // namespace

std::shared_ptr<Show> make_show_config(ShowKind kind) {
  return std::make_shared<ShowConfig>(kind);
}

std::span<const Column> columns_of_config(ShowKind kind) {
  if (kind == ShowKind::kConfig) return kConfig;
  if (kind == ShowKind::kLinks) return kLinks;
  if (kind == ShowKind::kAuthQuery) return kAuthQuery;
  if (kind == ShowKind::kHelpers) return kHelpers;
  return kind == ShowKind::kState ? std::span<const Column>(kState) : std::span<const Column>(kVersion);
}

}  // namespace berth::admin
