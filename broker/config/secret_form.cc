// See secret_form.h.
#include "config/secret_form.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "base/base64.h"

namespace berth::config {

namespace {

constexpr std::string_view kScramPrefix = "SCRAM-SHA-256$";
constexpr std::string_view kMd5Prefix = "md5";
constexpr size_t kMd5HexSize = 32;
constexpr size_t kScramKeySize = 32;

// What comes before `end`, which is taken as well; everything when there is no `end`.
std::string_view take_until(std::string_view& rest, char end) {
  const std::string_view out = rest.substr(0, rest.find(end));
  rest.remove_prefix(std::min(out.size() + 1, rest.size()));
  return out;
}

// 0: not a number that PostgreSQL's integer has, or one below 1.
uint32_t iterations_of(std::string_view text) {
  uint32_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  const bool good =
      error == std::errc() && end == text.data() + text.size() && out <= std::numeric_limits<int32_t>::max();
  return good ? out : 0;
}

// "" or which part of SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key> is not what it should be.
std::string_view damage_of(std::string_view iterations, std::string_view salt, std::string_view stored_key,
                           std::string_view server_key) {
  if (iterations_of(iterations) == 0) return "the number of its iterations";
  const std::optional<size_t> size = base64_size(salt);
  if (!size || *size == 0 || *size > kSecretSaltSizeMax) return "its salt";
  if (base64_size(stored_key) != kScramKeySize) return "its stored key";
  return base64_size(server_key) == kScramKeySize ? "" : "its server key";
}

SecretForm look_at_scram(std::string_view rest) {
  const std::string_view iterations = take_until(rest, ':'), salt = take_until(rest, '$');
  const std::string_view stored_key = take_until(rest, ':');
  const std::string_view damage = damage_of(iterations, salt, stored_key, rest);
  if (!damage.empty()) {
    return {fmt::format("it begins as a SCRAM secret, but {} is broken or missing: copy the whole of it", damage),
            {}};
  }
  const uint32_t count = iterations_of(iterations);
  if (count <= kSecretIterationsUsual) return {};
  return {{},
          fmt::format("{} iterations: each login costs the client that much, and at a server that has more than {} "
                      "the broker does not log in",
                      count, kSecretIterationsUsual)};
}

// Upper-case digits are not PostgreSQL's; nobody has a password of that form by accident.
bool is_damaged_md5(std::string_view rest) {
  const bool right_digits = rest.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (rest.size() == kMd5HexSize) return !right_digits;
  const bool digits = rest.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
  return digits && rest.size() >= kDamagedMd5SizeMin;
}

}  // namespace

SecretForm look_at_secret(std::string_view secret) {
  if (secret.starts_with(kScramPrefix)) return look_at_scram(secret.substr(kScramPrefix.size()));
  if (!secret.starts_with(kMd5Prefix) || !is_damaged_md5(secret.substr(kMd5Prefix.size()))) return {};
  return {{}, "it looks like an md5 hash, but has not 32 digits 0-9a-f: it counts as a password in clear"};
}

}  // namespace berth::config
