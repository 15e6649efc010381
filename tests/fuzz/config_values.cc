// Fuzzes the values of settings: numbers, times, words, and those of TLS. What is understood is what C's own
// functions and tables of words say, is in its limits and, written down again, understood as the same.
#include <strings.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/assert.h"
#include "config/values.h"
#include "net/tls_words.h"

namespace berth::config {

struct IgnoringCase {
  bool operator()(const std::string& a, const std::string& b) const { return strcasecmp(a.c_str(), b.c_str()) < 0; }
};
template <typename T>
using Words = std::map<std::string, T, IgnoringCase>;

static bool has_zero(const std::string& text) {
  return text.find('\0') != std::string::npos;
}

// As PgBouncer reads numbers: strtoll, which takes white space in front; and 0x without a digit is its 0 followed by
// an x.
static bool is_number(const std::string& text, long long& out) {
  char* end = nullptr;
  errno = 0;
  out = std::strtoll(text.c_str(), &end, 0);
  return !text.empty() && end == text.c_str() + text.size() && errno == 0 && trim(text) == text;
}

static void try_number(const std::string& text, int64_t min, int64_t max) {
  const Result<int64_t> number = parse_number(text, min, max);
  long long reference = 0;
  ASSERT(number.ok() == (is_number(text, reference) && reference >= min && reference <= max));
  if (!number) return ASSERT(!number.error().text.empty());
  ASSERT(number.value() == reference);
  ASSERT(parse_number(std::to_string(number.value()), min, max).value() == number.value());
}

static void try_time(const std::string& text) {
  const Result<Micros> time = parse_time(text);
  char* end = nullptr;
  errno = 0;
  const double reference = std::strtod(text.c_str(), &end);
  // Not taken: what only C has. Numbers below the smallest are left out, each function has its own idea of them.
  const bool of_c = text.find_first_of("xX+ \t\n\v\f\r") < (text.find_first_of("eE"));
  const bool whole = !text.empty() && end == text.c_str() + text.size() && !of_c;
  const bool fits = reference >= 0 && reference <= static_cast<double>(kLongestTimeSeconds);
  if (errno != ERANGE) ASSERT(time.ok() == (whole && fits));
  if (!time) return ASSERT(!time.error().text.empty());
  ASSERT(time.value() == std::llround(reference * 1e6));
  const std::string shown = format_time(time.value());
  const Result<Micros> again = parse_time(shown);
  ASSERT(again.ok() && format_time(again.value()) == shown);
  ASSERT(std::abs(again.value() - time.value()) <= time.value() / 100'000 + 1);  // six digits are shown
}

static void try_bool(const std::string& text) {
  static const Words<bool> words = {{"true", true},   {"t", true},  {"yes", true}, {"y", true},  {"on", true},
                                    {"false", false}, {"f", false}, {"no", false}, {"n", false}, {"off", false}};
  const Result<bool> truth = parse_bool(text);
  const auto word = has_zero(text) ? words.end() : words.find(text);
  long long number = 0;
  if (word != words.end()) {
    ASSERT(truth.ok() && truth.value() == word->second);
  } else if (is_number(text, number)) {
    ASSERT(truth.ok() && truth.value() == (number != 0));
  } else {
    ASSERT(!truth.ok() && !truth.error().text.empty());
  }
}

template <typename T>
void try_word(const std::string& text, const Words<T>& words, Result<T> (*parse)(std::string_view)) {
  const Result<T> read = parse(text);
  const auto word = has_zero(text) ? words.end() : words.find(text);
  ASSERT(read.ok() == (word != words.end()));
  if (read) ASSERT(read.value() == word->second);
}

static void try_words(const std::string& text) {
  static const Words<PoolMode> modes = {
      {"session", PoolMode::kSession}, {"transaction", PoolMode::kTransaction}, {"statement", PoolMode::kStatement}};
  static const Words<AuthType> types = {
      {"trust", AuthType::kTrust}, {"any", AuthType::kAny},   {"plain", AuthType::kPlain},
      {"md5", AuthType::kMd5},     {"cert", AuthType::kCert}, {"scram-sha-256", AuthType::kScramSha256},
      {"hba", AuthType::kHba},     {"pam", AuthType::kPam},   {"ldap", AuthType::kLdap}};
  static const Words<LoadBalance> balances = {{"round-robin", LoadBalance::kRoundRobin},
                                              {"disable", LoadBalance::kDisable}};
  try_word(text, modes, parse_pool_mode);
  try_word(text, types, parse_auth_type);
  try_word(text, balances, parse_load_balance);
  for (const auto& [word, mode] : modes) ASSERT(to_string(mode) == word);
  for (const auto& [word, type] : types) ASSERT(to_string(type) == word);
}

static std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',' || c == ':' || c == ' ' || c == '\t') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  parts.erase(std::remove(parts.begin(), parts.end(), ""), parts.end());
  return parts;
}

// As libtls, PgBouncer's own layer, reads a list of versions, and as OpenSSL takes groups and ciphers.
static void try_tls(const std::string& text) {
  static const Words<unsigned> versions = {{"secure", 12}, {"default", 12}, {"all", 15},
                                           {"legacy", 15}, {"tlsv1", 15},   {"tlsv1.0", 1},
                                           {"tlsv1.1", 2}, {"tlsv1.2", 4},  {"tlsv1.3", 8}};
  unsigned expected = 0;
  bool good = !has_zero(text);
  std::string joined;
  for (const std::string& part : parts_of(text)) {
    const bool away = part[0] == '!';
    const auto found = versions.find(part.substr(away ? 1 : 0));
    good = good && found != versions.end();
    if (good) expected = away ? expected & ~found->second : expected | found->second;
    joined += (joined.empty() ? "" : ":") + part;
  }
  const Result<unsigned> read = net::parse_tls_protocols(text);
  ASSERT(read.ok() == (good && expected != 0));
  if (read) ASSERT(read.value() == expected);

  static const Words<std::string> groups = {{"", ""}, {"auto", ""}, {"none", "ffdhe2048:ffdhe3072:ffdhe4096"}};
  const auto group = has_zero(text) ? groups.end() : groups.find(text);
  ASSERT(net::tls_groups(text) == (group == groups.end() ? joined : group->second));
  static const Words<std::string> ciphers = {{"", ""},       {"default", ""}, {"secure", ""},
                                             {"normal", ""}, {"fast", ""},    {"all", "ALL"}};
  const auto cipher = has_zero(text) ? ciphers.end() : ciphers.find(text);
  ASSERT(net::tls_cipher_list(text) == (cipher == ciphers.end() ? text : cipher->second));
}

static void try_input(const std::string& text) {
  try_number(text, INT64_MIN, INT64_MAX);
  try_number(text, 0, 65535);
  try_time(text);
  try_bool(text);
  try_words(text);
  try_tls(text);
  const std::string_view trimmed = trim(text);
  ASSERT(trim(trimmed) == trimmed && trimmed.find_first_of(" \t\n\v\f\r") != 0);
  ASSERT(trimmed.size() == text.size() || text.find(trimmed) != std::string::npos);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
