#include "admin/stats_history.h"

#include "admin/console.h"
#include "admin/show.h"
#include "base/log.h"

namespace berth::admin {

stats::Counters averages(const stats::Counters& now, const stats::Counters& then, Micros duration) {
  stats::Counters out;
  if (duration <= 0) return out;
  const auto difference = [](int64_t a, int64_t b) { return a > b ? a - b : 0; };
#define COUNTER(name, meaning) \
  out.name = static_cast<int64_t>(static_cast<__int128>(difference(now.name, then.name)) * kSecond / duration);
#include "stats/counters.def"
#undef COUNTER
  const auto per = [&](int64_t time_now, int64_t time_then, int64_t count_now, int64_t count_then) {
    const int64_t count = difference(count_now, count_then);
    return count > 0 ? difference(time_now, time_then) / count : 0;
  };
  out.xact_time = per(now.xact_time, then.xact_time, now.xact_count, then.xact_count);
  out.query_time = per(now.query_time, then.query_time, now.query_count, then.query_count);
  out.wait_time = per(now.wait_time, then.wait_time, now.server_assignment_count, then.server_assignment_count);
  return out;
}

static stats::Counters counters_in(const Snapshot& snapshot, const std::string& database) {
  const auto at = snapshot.databases.find(database);
  return at == snapshot.databases.end() ? stats::Counters{} : at->second;
}

stats::Counters averages_of(const StatsHistory& history, const std::string& database, const stats::Counters& live,
                            Micros now) {
  const stats::Counters newer = counters_in(history.newer, database);
  if (!history.complete) return averages(live, newer, now - history.newer.at);
  return averages(newer, counters_in(history.older, database), history.newer.at - history.older.at);
}

void add_counters(session::Context& context, DatabaseCounters& databases) {
  for (const auto& [key, slice] : context.slices) databases[slice->database].add(slice->counters);
  databases[std::string(kForgotten)].add(context.forgotten);
  databases[std::string(kConsoleName)].add(ConsoleImpl::of(context).counters());
}

stats::Counters sum_of(const DatabaseCounters& databases) {
  stats::Counters out;
  for (const auto& [name, counters] : databases) out.add(counters);
  return out;
}

std::string stats_line(const stats::Counters& average) {
  return fmt::format(
      "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, in {} B/s, out {} B/s, "
      "xact {} us, "
      "query {} us, wait {} us",
      average.xact_count, average.query_count, average.client_parse_count, average.server_parse_count,
      average.bind_count, average.received, average.sent, average.xact_time, average.query_time, average.wait_time);
}

// Worker 0, each stats_period.
void ConsoleImpl::keep_history() {
  const Micros now = context_.now();
  const Micros period = context_.options().stats_period > 0 ? context_.options().stats_period : 60 * kSecond;
  if (history_.newer.at == 0) {  // the first tick: the start of everything
    history_.newer.at = now;
    next_snapshot_ = now + period;
  }
  if (next_snapshot_ > now + period) next_snapshot_ = now + period;  // the period was made shorter
  if (now < next_snapshot_ || snapshot_under_way_) return;
  next_snapshot_ = now + period;
  snapshot_under_way_ = true;
  auto next = std::make_shared<Snapshot>();
  dispatcher_.visit_all(
      context_.worker, [next](Context& context) { add_counters(context, next->databases); },
      [this, next](Context& context) {
        next->at = context.now();
        history_.push(std::move(*next));
        snapshot_under_way_ = false;
        if (!context.options().log_stats) return;
        const stats::Counters all = averages(sum_of(history_.newer.databases), sum_of(history_.older.databases),
                                             history_.newer.at - history_.older.at);
        LOG_INFO("{}", stats_line(all));
      });
}

}  // namespace berth::admin
