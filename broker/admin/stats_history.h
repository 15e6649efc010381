// Statistics over time: two snapshots, one stats_period apart, from which SHOW STATS makes its averages. Pure, save
// that the console fills it.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/time.h"
#include "stats/counters.h"

namespace berth::session {
struct Context;
}

namespace berth::admin {

using DatabaseCounters = std::map<std::string, stats::Counters, std::less<>>;

struct Snapshot {
  Micros at = 0;
  DatabaseCounters databases;
};

// The last completed period: from `older` to `newer`.
struct StatsHistory {
  Snapshot older, newer;
  bool complete = false;  // false: no period is over yet, and `newer` is the start

  void push(Snapshot next) {
    older = std::move(newer);
    newer = std::move(next);
    complete = true;
  }
};

// One average for each counter, as PgBouncer defines them: counts and bytes per second; times per transaction, per
// query, and per server assignment.
stats::Counters averages(const stats::Counters& now, const stats::Counters& then, Micros duration);
// The averages of one database over the last completed period; before that, since the start.
stats::Counters averages_of(const StatsHistory& history, const std::string& database, const stats::Counters& live,
                            Micros now);

// Adds this worker's counters, by database; the console's own under its name, those of pools that are gone under
// kForgotten: so sums over all do not fall.
inline constexpr std::string_view kForgotten;  // no database's name
void add_counters(session::Context& context, DatabaseCounters& databases);
stats::Counters sum_of(const DatabaseCounters& databases);

// "stats: 12 xacts/s, ...": the log's line.
std::string stats_line(const stats::Counters& average);

}  // namespace berth::admin
