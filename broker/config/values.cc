// See values.h. Words and numbers, and how errors name what is allowed.
#include "config/values.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/fault.h"

namespace berth::config {

namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

template <typename T>
struct Word {
  std::string_view text;
  T value;
};

constexpr std::array<Word<PoolMode>, 3> kPoolModes{
    {{"session", PoolMode::kSession}, {"transaction", PoolMode::kTransaction}, {"statement", PoolMode::kStatement}}};
constexpr std::array<Word<AuthType>, 9> kAuthTypes{{{"trust", AuthType::kTrust},
                                                    {"any", AuthType::kAny},
                                                    {"plain", AuthType::kPlain},
                                                    {"md5", AuthType::kMd5},
                                                    {"scram-sha-256", AuthType::kScramSha256},
                                                    {"cert", AuthType::kCert},
                                                    {"hba", AuthType::kHba},
                                                    {"pam", AuthType::kPam},
                                                    {"ldap", AuthType::kLdap}}};
constexpr std::array<Word<LoadBalance>, 2> kLoadBalances{
    {{"round-robin", LoadBalance::kRoundRobin}, {"disable", LoadBalance::kDisable}}};

template <typename Words>
auto parse_word(const Words& words, std::string_view text) -> Result<decltype(words[0].value)> {
  for (const auto& word : words) {
    if (equal_ignoring_case(word.text, text)) return word.value;
  }
  std::string allowed;
  for (const auto& word : words) allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", word.text);
  return Error{fmt::format("\"{}\" is not one of {}", text, allowed), {}};
}

template <typename Words, typename T>
std::string_view word_of(const Words& words, T value) {
  for (const auto& word : words) {
    if (word.value == value) return word.text;
  }
  ASSERT(false);
  return {};
}

}  // namespace

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::string_view to_string(PoolMode mode) {
  return word_of(kPoolModes, mode);
}
std::string_view to_string(AuthType type) {
  return word_of(kAuthTypes, type);
}

Result<PoolMode> parse_pool_mode(std::string_view text) {
  return parse_word(kPoolModes, text);
}
Result<AuthType> parse_auth_type(std::string_view text) {
  return parse_word(kAuthTypes, text);
}
Result<LoadBalance> parse_load_balance(std::string_view text) {
  return parse_word(kLoadBalances, text);
}

Result<bool> parse_bool(std::string_view text) {
  for (const std::string_view word : {"1", "true", "t", "yes", "y", "on"}) {
    if (equal_ignoring_case(word, text)) return true;
  }
  for (const std::string_view word : {"0", "false", "f", "no", "n", "off"}) {
    if (equal_ignoring_case(word, text)) return false;
  }
  const Result<int64_t> number = parse_number(text, INT64_MIN, INT64_MAX);
  if (number) return number.value() != 0;
  return Error{fmt::format("\"{}\" is not 0 or 1 (nor true, false, yes, no, on, off)", text), {}};
}

Result<int64_t> parse_number(std::string_view text, int64_t min, int64_t max) {
  std::string_view digits = text;
  const bool negative = !digits.empty() && digits.front() == '-';
  if (!digits.empty() && (digits.front() == '-' || digits.front() == '+')) digits.remove_prefix(1);
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' && lower(digits[1]) == 'x') {
    base = 16;
    digits.remove_prefix(2);
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  // The sign is gone, so that "+-5" is no number.
  uint64_t value = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (problem == std::errc::invalid_argument || end != digits.data() + digits.size()) {
    return Error{fmt::format("\"{}\" is not a whole number", text), {}};
  }
  const bool fits = problem == std::errc() && value <= static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  const auto number = static_cast<int64_t>(!fits ? 0 : negative ? uint64_t{0} - value : value);
  if (!fits || number < min || number > max) {
    return Error{fmt::format("{} is out of range, allowed is {} to {}", text, min, max), {}};
  }
  return number;
}

Result<Micros> parse_time(std::string_view text) {
  double seconds = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = end == text.data() + text.size() || FAULT(time_with_a_rest);
  if (problem == std::errc::invalid_argument || !whole || std::isnan(seconds)) {
    return Error{fmt::format("\"{}\" is not a time in seconds (a number without a unit)", text), {}};
  }
  if (problem != std::errc() || seconds < 0 || seconds > static_cast<double>(kLongestTimeSeconds)) {
    return Error{fmt::format("{} is out of range, allowed is 0 to {} seconds", text, kLongestTimeSeconds), {}};
  }
  return static_cast<Micros>(std::llround(seconds * static_cast<double>(kSecond)));
}

std::string format_time(Micros time) {
  return fmt::format("{:g}", static_cast<double>(time) / kSecond);
}

}  // namespace berth::config
