// See unknown.h.
#include "config/unknown.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace berth::config {

namespace {

// How settings begin that protect something.
constexpr std::string_view kProtecting[] = {"client_tls_",  "server_tls_",         "auth_",   "ssl",
                                            "failed_login", "max_unauthenticated", "disable_"};
constexpr size_t kLongestKey = 64;  // what is longer resembles nothing, and is not worth the time

bool protects(std::string_view key) {
  return std::any_of(std::begin(kProtecting), std::end(kProtecting),
                     [&](std::string_view start) { return key.starts_with(start); });
}

// How many letters have to be changed, added, left out or swapped with their neighbour to make the one the other.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1),
      row(b.size() + 1);  // of the table of all their starts
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      row[j + 1] = std::min({last[j] + (a[i] == b[j] ? 0 : 1), last[j + 1] + 1, row[j] + 1});
      const bool swapped = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
      if (swapped) row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
    }
  }
  return row.back();
}

// The known name that is most like `key`; empty when none is like it.
std::string_view nearest(std::string_view key, std::span<const std::string_view> known) {
  if (key.size() > kLongestKey) return {};
  std::string_view best;
  size_t least = key.size() / 3 + 1;  // one letter of three
  for (const std::string_view name : known) {
    // Nearer than the difference of their sizes no two words are.
    if (std::max(key.size(), name.size()) - std::min(key.size(), name.size()) >= least) continue;
    const size_t far = distance(key, name);
    if (far >= least) continue;
    least = far;
    best = name;
  }
  return best;
}

}  // namespace

UnknownKey judge_unknown_key(std::string_view key, std::span<const std::string_view> known) {
  const std::string_view meant = nearest(key, known);
  const std::string hint = meant.empty() ? std::string() : fmt::format(" (did you mean {}?)", meant);
  const bool slip = !meant.empty() && protects(meant) && distance(key, meant) <= 2;
  if (!protects(key) && !slip) return {false, "unknown, it is ignored" + hint};
  return {true, fmt::format("unknown, and a protection may be missing without it{}: correct or remove it", hint)};
}

}  // namespace berth::config
