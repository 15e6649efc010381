// How often clients were told which SQLSTATE: a small table, one for each pool's slice, written by its worker only.
// An error is rare beside a query, so a search from the first row is good enough; a table that is full counts what is
// new as "other".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "stats/recording.h"

namespace berth::stats {

inline constexpr size_t kErrorStatesMax = 64;

enum class ErrorSource : uint8_t {
  kServer,  // PostgreSQL's, passed on
  kBroker,  // the broker's own
};

class Errors {
 public:
  void count(ErrorSource source, std::string_view sqlstate) {
    if (kRecording) add(source, pack(sqlstate), 1);
  }
  void add(const Errors& other) {
    for (size_t i = 0; i < other.used_; ++i) {
      const Row& row = other.rows_[i];
      add(row.source, row.state, row.count);
    }
    for (size_t source = 0; source < other_.size(); ++source) other_[source] += other.other_[source];
  }
  // f(ErrorSource, text of the SQLSTATE or "other", count), in the order of first appearance, "other" last.
  template <typename F>
  void each(F&& f) const {
    for (size_t i = 0; i < used_; ++i) f(rows_[i].source, unpack(rows_[i].state), rows_[i].count);
    for (size_t source = 0; source < other_.size(); ++source) {
      if (other_[source] > 0) f(static_cast<ErrorSource>(source), std::string("other"), other_[source]);
    }
  }

 private:
  struct Row {
    uint64_t state = 0;
    int64_t count = 0;
    ErrorSource source = ErrorSource::kServer;
  };

  // Five letters and digits in an integer; 0: this is no SQLSTATE.
  static uint64_t pack(std::string_view sqlstate) {
    if (sqlstate.size() != 5) return 0;
    uint64_t state = 0;
    for (const char letter : sqlstate) {
      const bool fits = (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z');
      if (!fits) return 0;
      state = state << 8 | static_cast<unsigned char>(letter);
    }
    return state;
  }
  static std::string unpack(uint64_t state) {
    std::string text;
    for (int shift = 32; shift >= 0; shift -= 8) text += static_cast<char>(state >> shift & 0xff);
    return text;
  }
  void add(ErrorSource source, uint64_t state, int64_t count) {
    for (size_t i = 0; i < used_ && state != 0; ++i) {
      if (rows_[i].state != state || rows_[i].source != source) continue;
      rows_[i].count += count;
      return;
    }
    if (state == 0 || used_ == kErrorStatesMax) {
      other_[static_cast<size_t>(source)] += count;
    } else {
      rows_[used_++] = {state, count, source};
    }
  }

  std::array<Row, kErrorStatesMax> rows_{};
  size_t used_ = 0;
  std::array<int64_t, 2> other_{};  // by source
};

}  // namespace berth::stats
