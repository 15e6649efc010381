// SHOW CONFIG, STATE, LINKS and the versions: what every worker knows alike.
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

class ShowConfig final : public Show {
 public:
  explicit ShowConfig(ShowKind kind) : kind_(kind) {}
  void finish(session::Context& context, Table& table) override {
    if (kind_ == ShowKind::kVersion) return table.text(kPgBouncerVersion).end_row();
    if (kind_ == ShowKind::kBerthVersion) return table.text(kBrokerVersion).end_row();
    if (kind_ == ShowKind::kState) return state(context, table);
    if (kind_ == ShowKind::kLinks) return links(context, table);
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

  ShowKind kind_;
};

}  // namespace

std::shared_ptr<Show> make_show_config(ShowKind kind) {
  return std::make_shared<ShowConfig>(kind);
}

std::span<const Column> columns_of_config(ShowKind kind) {
  if (kind == ShowKind::kConfig) return kConfig;
  if (kind == ShowKind::kLinks) return kLinks;
  return kind == ShowKind::kState ? std::span<const Column>(kState) : std::span<const Column>(kVersion);
}

}  // namespace berth::admin
