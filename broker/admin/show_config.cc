// SHOW CONFIG, STATE and the versions: what every worker knows alike.
#include "admin/show.h"
#include "admin/version.h"
#include "config/show.h"

namespace berth::admin {

namespace {

constexpr Column kConfig[] = {{"key"}, {"value"}, {"default"}, {"changeable"}};
constexpr Column kState[] = {{"key"}, {"value"}};
constexpr Column kVersion[] = {{"version"}};

class ShowConfig final : public Show {
 public:
  explicit ShowConfig(ShowKind kind) : kind_(kind) {}
  void finish(session::Context& context, Table& table) override {
    if (kind_ == ShowKind::kVersion) return table.text(kPgBouncerVersion).end_row();
    if (kind_ == ShowKind::kBerthVersion) return table.text(kBrokerVersion).end_row();
    if (kind_ == ShowKind::kState) return state(context, table);
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

  ShowKind kind_;
};

}  // namespace

std::shared_ptr<Show> make_show_config(ShowKind kind) {
  return std::make_shared<ShowConfig>(kind);
}

std::span<const Column> columns_of_config(ShowKind kind) {
  if (kind == ShowKind::kConfig) return kConfig;
  return kind == ShowKind::kState ? std::span<const Column>(kState) : std::span<const Column>(kVersion);
}

}  // namespace berth::admin
