// Secrets as auth_file stores them: parsing, comparing, overwriting.
#include "auth/secrets.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "auth/limits.h"
#include "base/base64.h"
#include "base/fault.h"
#include "config/secret_form.h"

namespace berth::auth {
namespace {

constexpr std::string_view kScramPrefix = "SCRAM-SHA-256$";
constexpr std::string_view kMd5Prefix = "md5";
constexpr size_t kMd5TextSize = 35;

bool is_md5(std::string_view text) {
  // Lower case only, as PostgreSQL: "md5" and upper-case digits is somebody's clear password.
  return text.size() == kMd5TextSize && text.starts_with(kMd5Prefix) &&
         text.find_first_not_of("0123456789abcdef", kMd5Prefix.size()) == std::string_view::npos;
}

// The part before `end`, and moves `rest` behind it.
bool take_until(std::string_view& rest, char end, std::string_view& out) {
  const size_t at = rest.find(end);
  if (at == std::string_view::npos) return false;
  out = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  return true;
}

bool decode_key(std::string_view text, Digest& out) {
  std::string raw;
  const bool good = base64_decode(text, raw) && raw.size() == out.size();
  if (good) std::copy(raw.begin(), raw.end(), out.begin());
  scrub(raw);
  return good;
}

// What config/secret_form.h says of auth_file is what counts here.
static_assert(config::kSecretSaltSizeMax == kScramSaltSizeMax &&
              config::kSecretIterationsUsual == kScramIterationsMax);

// SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>. More iterations than kScramIterationsMax are allowed
// here: verifying a client costs us none of them.
bool parse_scram(std::string_view text, ScramSecret& out) {
  if (!text.starts_with(kScramPrefix)) return false;
  std::string_view rest = text.substr(kScramPrefix.size());
  std::string_view iterations, salt, stored_key;
  if (!take_until(rest, ':', iterations) || !take_until(rest, '$', salt) || !take_until(rest, ':', stored_key)) {
    return false;
  }
  const auto [end, error] = std::from_chars(iterations.data(), iterations.data() + iterations.size(), out.iterations);
  if (error != std::errc{} || end != iterations.data() + iterations.size()) return false;
  if (out.iterations < 1 || out.iterations > std::numeric_limits<int32_t>::max()) return false;
  if (!base64_decode(salt, out.salt) || out.salt.empty() || out.salt.size() > kScramSaltSizeMax) return false;
  return decode_key(stored_key, out.stored_key) && decode_key(rest, out.server_key);
}

}  // namespace

Secret parse_secret(std::string_view text) {
  Secret secret;
  secret.text = text;
  if (text.empty()) {
    secret.kind = SecretKind::kNone;
  } else if (is_md5(text)) {
    secret.kind = SecretKind::kMd5;
  } else if (parse_scram(text, secret.scram)) {
    secret.kind = SecretKind::kScram;
  } else {
    secret.kind = SecretKind::kPlain;
    secret.scram = {};
  }
  return secret;
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  // Of two sizes the first one rules the time, and the answer is known: it is compared with itself for nothing.
  const bool same_size = a.size() == b.size();
  const std::string_view other = same_size ? b : a;
  const bool same_bytes = CRYPTO_memcmp(a.data(), other.data(), a.size()) == 0;
  return (same_size || FAULT(prefix_is_equal)) && same_bytes;
}

bool equal_constant_time(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void scrub(std::string& text) {
  text.resize(text.capacity());  // also what a longer value left behind the end
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

Secret::~Secret() {
  scrub(*this);
}

ScramKeys::~ScramKeys() {
  scrub(*this);
}

void scrub(Digest& digest) {
  OPENSSL_cleanse(digest.data(), digest.size());
}

void scrub(Secret& secret) {
  secret.text.clear();
  scrub(secret.scram.salt);
  scrub(secret.scram.stored_key);
  scrub(secret.scram.server_key);
  secret.scram.iterations = 0;
  secret.kind = SecretKind::kNone;
}

void scrub(ScramKeys& keys) {
  scrub(keys.client_key);
  scrub(keys.server_key);
  keys.known = false;
}

}  // namespace berth::auth
