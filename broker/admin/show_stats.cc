// SHOW STATS and its relatives, and SHOW DISCONNECTS.
#include "admin/console.h"
#include "admin/show.h"

namespace berth::admin {

namespace {

constexpr ColumnType N = ColumnType::kNumeric;

constexpr Column kStats[] = {{"database"},
                             {"total_server_assignment_count", N},
                             {"total_xact_count", N},
                             {"total_query_count", N},
                             {"total_received", N},
                             {"total_sent", N},
                             {"total_xact_time", N},
                             {"total_query_time", N},
                             {"total_wait_time", N},
                             {"total_client_parse_count", N},
                             {"total_server_parse_count", N},
                             {"total_bind_count", N},
                             {"total_client_login_count", N},
                             {"avg_server_assignment_count", N},
                             {"avg_xact_count", N},
                             {"avg_query_count", N},
                             {"avg_recv", N},
                             {"avg_sent", N},
                             {"avg_xact_time", N},
                             {"avg_query_time", N},
                             {"avg_wait_time", N},
                             {"avg_client_parse_count", N},
                             {"avg_server_parse_count", N},
                             {"avg_bind_count", N},
                             {"avg_client_login_count", N}};

// Neither prefix of the totals, and both forms among the averages: as PgBouncer has them.
constexpr Column kTotals[] = {{"database"},
                              {"server_assignment_count", N},
                              {"xact_count", N},
                              {"query_count", N},
                              {"bytes_received", N},
                              {"bytes_sent", N},
                              {"xact_time", N},
                              {"query_time", N},
                              {"wait_time", N},
                              {"client_parse_count", N},
                              {"server_parse_count", N},
                              {"bind_count", N},
                              {"client_login_count", N}};

constexpr Column kAverages[] = {{"database"},
                                {"server_assignment_count", N},
                                {"xact_count", N},
                                {"query_count", N},
                                {"bytes_received", N},
                                {"bytes_sent", N},
                                {"xact_time", N},
                                {"query_time", N},
                                {"wait_time", N},
                                {"avg_client_parse_count", N},
                                {"avg_server_parse_count", N},
                                {"avg_bind_count", N},
                                {"avg_client_login_count", N}};

constexpr Column kDisconnects[] = {{"kind"}, {"reason"}, {"text"}, {"count", N}};
constexpr Column kSums[] = {{"name"}, {"value", N}};

// The order of all the tables above.
struct Field {
  std::string_view name;  // in SHOW TOTALS
  int64_t stats::Counters::*value;
};
using stats::Counters;
constexpr Field kFields[] = {{"server_assignment_count", &Counters::server_assignment_count},
                             {"xact_count", &Counters::xact_count},
                             {"query_count", &Counters::query_count},
                             {"client_bytes", &Counters::received},
                             {"server_bytes", &Counters::sent},
                             {"xact_time", &Counters::xact_time},
                             {"query_time", &Counters::query_time},
                             {"wait_time", &Counters::wait_time},
                             {"ps_client_parse_count", &Counters::client_parse_count},
                             {"ps_server_parse_count", &Counters::server_parse_count},
                             {"ps_bind_count", &Counters::bind_count},
                             {"client_login_count", &Counters::client_login_count}};

class ShowStats final : public Show {
 public:
  explicit ShowStats(ShowKind kind) : kind_(kind) {}
  void visit(session::Context& context) override {
    add_counters(context, databases_);
    if (context.worker == 0) history_ = ConsoleImpl::of(context).history();
  }
  void finish(session::Context& context, Table& table) override {
    if (kind_ == ShowKind::kTotals) return sums(context, table);
    for (const auto& [name, counters] : databases_) {
      if (name == kForgotten) continue;
      table.text(name);
      if (kind_ != ShowKind::kStatsAverages) row(table, counters);
      if (kind_ != ShowKind::kStatsTotals) row(table, averages_of(history_, name, counters, context.now()));
      table.end_row();
    }
  }

 private:
  static void row(Table& table, const Counters& counters) {
    for (const Field& field : kFields) table.number(counters.*field.value);
  }
  void sums(session::Context& context, Table& table) {
    const Counters total = sum_of(databases_), newer = sum_of(history_.newer.databases);
    const Counters average =
        history_.complete ? averages(newer, sum_of(history_.older.databases), history_.newer.at - history_.older.at)
                          : averages(total, newer, context.now() - history_.newer.at);
    for (const auto& [prefix, counters] : {std::pair{"total_", &total}, std::pair{"avg_", &average}}) {
      for (const Field& field : kFields) {
        table.text(std::string(prefix) + std::string(field.name)).number(counters->*field.value).end_row();
      }
    }
  }

  ShowKind kind_;
  DatabaseCounters databases_;
  StatsHistory history_;
};

// Every reason has its row, also those that never came up: who watches them need not wait for the first.
class ShowDisconnects final : public Show {
 public:
  void visit(session::Context& context) override { total_.add(context.disconnects); }
  void finish(session::Context&, Table& table) override {
    put(table, "client", stats::kClientEnds, total_.clients);
    put(table, "server", stats::kServerEnds, total_.servers);
  }

 private:
  template <typename Ends, typename Counts>
  static void put(Table& table, std::string_view kind, const Ends& ends, const Counts& counts) {
    for (size_t i = 0; i < ends.size(); ++i) {
      table.text(kind).text(ends[i].name).text(ends[i].words).number(counts[i]).end_row();
    }
  }
  stats::Disconnects total_;
};

}  // namespace

std::shared_ptr<Show> make_show_stats(ShowKind kind) {
  if (kind == ShowKind::kDisconnects) return std::make_shared<ShowDisconnects>();
  return std::make_shared<ShowStats>(kind);
}

std::span<const Column> columns_of_stats(ShowKind kind) {
  if (kind == ShowKind::kStats) return kStats;
  if (kind == ShowKind::kTotals) return kSums;
  if (kind == ShowKind::kDisconnects) return kDisconnects;
  if (kind == ShowKind::kStatsTotals) return kTotals;
  return kAverages;
}

}  // namespace berth::admin
