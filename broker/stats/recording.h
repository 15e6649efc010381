// Whether the broker records what only the console's newer commands and the extension's views read: latencies, errors
// by SQLSTATE, each client's own counters, the last owners of each server. It always does, save in the program that
// the bench measures the price of it with (`make bench`, docs/performance.md), which is compiled without.
#pragma once

namespace berth::stats {

#ifdef BERTH_RECORDS_NOTHING
inline constexpr bool kRecording = false;
#else
inline constexpr bool kRecording = true;
#endif

}  // namespace berth::stats
