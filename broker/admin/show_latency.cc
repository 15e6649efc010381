// SHOW LATENCY and SHOW ERRORS: what each pool's slices have counted, added up. Ours.
#include <map>

#include "admin/show.h"

namespace berth::admin {

namespace {

constexpr ColumnType Q = ColumnType::kInt8;

constexpr Column kLatency[] = {{"database"},  {"user"},      {"kind"},      {"count", Q},   {"sum_us", Q},
                               {"p50_us", Q}, {"p95_us", Q}, {"p99_us", Q}, {"p999_us", Q}, {"max_us", Q}};
constexpr Column kErrors[] = {{"database"}, {"user"}, {"source"}, {"sqlstate"}, {"count", Q}};

using session::Context;
using session::Slice;
using Key = std::pair<std::string, std::string>;

class ShowLatency final : public Show {
 public:
  void visit(Context& context) override {
    for (const auto& [key, slice] : context.slices) {
      Row& row = pools_[{slice->database, slice->user}];
      const stats::Counters& counters = slice->counters;
      // Who got a server at once waited for nothing, and is a wait like the others.
      const uint64_t waits = slice->latency ? slice->latency->wait.count() : 0;
      row.wait.add_zeros(static_cast<uint64_t>(counters.server_assignment_count) - waits);
      row.counters.add(counters);
      if (!slice->latency) continue;
      row.wait.add(slice->latency->wait);
      row.query.add(slice->latency->query);
      row.transaction.add(slice->latency->transaction);
    }
  }
  void finish(Context&, Table& table) override {
    for (const auto& [key, row] : pools_) {
      put(table, key, "wait", row.wait, row.counters.wait_time);
      put(table, key, "query", row.query, row.counters.query_time);
      put(table, key, "transaction", row.transaction, row.counters.xact_time);
    }
  }

 private:
  struct Row : stats::Latency {
    stats::Counters counters;  // they have the sums
  };
  static void put(Table& table, const Key& key, std::string_view kind, const stats::Histogram& histogram,
                  int64_t sum) {
    const auto number = [&](uint64_t value) { table.number(static_cast<int64_t>(value)); };
    table.text(key.first).text(key.second).text(kind);
    number(histogram.count());
    table.number(sum);
    for (const uint64_t per_mille : {500, 950, 990, 999}) number(histogram.quantile(per_mille));
    number(histogram.max());
    table.end_row();
  }

  std::map<Key, Row> pools_;
};

class ShowErrors final : public Show {
 public:
  void visit(Context& context) override {
    add(context.errors, {});
    for (const auto& [key, slice] : context.slices) {
      if (slice->errors) add(*slice->errors, {slice->database, slice->user});
    }
  }
  void finish(Context&, Table& table) override {
    for (const auto& [row, count] : counts_) {
      const auto& [pool, source, sqlstate] = row;
      for (const std::string* name : {&pool.first, &pool.second}) {
        if (pool.first.empty()) {
          table.null();
        } else {
          table.text(*name);
        }
      }
      table.text(source == stats::ErrorSource::kServer ? "server" : "broker").text(sqlstate).number(count).end_row();
    }
  }

 private:
  void add(const stats::Errors& errors, const Key& pool) {
    errors.each([&](stats::ErrorSource source, const std::string& sqlstate, int64_t count) {
      counts_[{pool, source, sqlstate}] += count;
    });
  }
  std::map<std::tuple<Key, stats::ErrorSource, std::string>, int64_t> counts_;
};

}  // namespace

std::shared_ptr<Show> make_show_latency(ShowKind kind) {
  if (kind == ShowKind::kLatency) return std::make_shared<ShowLatency>();
  return std::make_shared<ShowErrors>();
}

std::span<const Column> columns_of_latency(ShowKind kind) {
  return kind == ShowKind::kLatency ? std::span<const Column>(kLatency) : std::span<const Column>(kErrors);
}

}  // namespace berth::admin
