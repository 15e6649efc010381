// For the fuzz targets of SCRAM: an input is a script of messages, in which "%x" stands for what only a peer of this
// very login can know (a nonce that it has just got, a proof). And what both peers' models share; the arithmetic is
// PostgreSQL's.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "auth/key_cache.h"
#include "auth/mock.h"
#include "auth/scram.h"
#include "fuzz/auth_input.h"
#include "fuzz/postgres.h"
#include "sim/dice.h"
#include "unit/auth_steps.h"

// An input makes many small objects that live shortly.
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=4:quarantine_size_mb=32";
}

namespace berth::auth {

// From here on an input does what it did when it ran alone: the same nonces, and no keys left by another one.
inline void begin_input() {
  sim::restart_secure();
  static const Digest& drawn_once = process_secret();
  must(!drawn_once.empty());
  sim::restart_secure();
  forget_nonces();
  client_keys().clear();
  server_keys().clear();
}

// A number that any change of the input changes.
inline size_t dice_of(const uint8_t* data, size_t size) {
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(data), size});
}

inline std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

// `value_of(name, so_far)` gives what a name stands for, or nothing; then it stays as it is. Of its own this knows
// %0, a NUL, and %L, the size of what follows in four bytes.
template <typename Values>
std::string expand(std::string_view script, const Values& value_of) {
  std::string out;
  for (size_t at = 0; at < script.size(); ++at) {
    if (script[at] != '%' || at + 1 == script.size()) {
      out += script[at];
      continue;
    }
    const char name = script[++at];
    if (name == 'L') {
      const std::string rest = expand(script.substr(at + 1), value_of);
      return out + big_endian(static_cast<uint32_t>(rest.size())) + rest;
    }
    const std::optional<std::string> value =
        name == '0' ? std::string(1, '\0') : value_of(name, std::string_view(out));
    out += value ? *value : std::string{'%', name};
  }
  return out;
}

// What stands before the first byte `end`, and takes it away with the byte; nothing if there is none.
inline std::optional<std::string_view> part_before(std::string_view& rest, char end) {
  const size_t at = rest.find(end);
  if (at == std::string_view::npos) return {};
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  return part;
}

// RFC 5802: attributes are separated by commas, each a letter, "=" and a value. Nothing: this is no row of them.
inline std::optional<std::vector<std::string_view>> attributes_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (const auto part = part_before(text, ',')) out.push_back(*part);
  out.push_back(text);
  for (const std::string_view part : out) {
    const bool letter = !part.empty() && ((part[0] | 32) >= 'a' && (part[0] | 32) <= 'z');
    if (!letter || part.size() < 2 || part[1] != '=') return {};
  }
  return out;
}

inline bool nonce_is_good(std::string_view nonce) {
  constexpr size_t kMax = 1024;  // the broker's limit; RFC 5802 has none
  return !nonce.empty() && nonce.size() <= kMax &&
         std::all_of(nonce.begin(), nonce.end(), [](char c) { return c > ' ' && c < 127 && c != ','; });
}

inline std::string xor_bytes(std::string a, std::string_view b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<char>(a[i] ^ b[i]);
  return a;
}
inline std::string flipped(std::string bytes, size_t at) {
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  return bytes;
}
inline std::string proof_of(const postgres::ScramKeys& keys, std::string_view auth_message) {
  return xor_bytes(keys.client, postgres::hmac_sha256(keys.stored, auth_message));
}

inline Digest digest_of(std::string_view bytes) {
  Digest out;
  must(bytes.size() == out.size());
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return out;
}

// What was said in one login, and which message was the proof that was taken, if one was.
struct Transcript {
  std::vector<std::string> bodies;
  std::optional<size_t> proof;
};

// Says all of it once more, with the same nonces, but for one byte of each proof: it must not be taken.
template <typename Make>
void no_other_proof_is_taken(const std::vector<Transcript>& logins, size_t dice, const Make& make) {
  begin_input();
  for (const Transcript& login : logins) {
    const auto machine = make();
    for (size_t i = 0; login.proof && i <= *login.proof; ++i) {
      std::string body = login.bodies[i];
      if (i == *login.proof) {
        char& changed = body[dice % body.size()];
        changed = changed == 'A' ? 'B' : 'A';
      }
      const Step step = feed_through(*machine, body);
      must(step.kind == (i == *login.proof ? Step::Kind::kFailed : Step::Kind::kSend));
    }
  }
}

// Passwords of logins: in ASCII; one that SASLprep changes (a Roman nine, a soft hyphen); one that is not UTF-8.
inline constexpr std::string_view kScriptPasswords[] = {"pencil",
                                                        "\xe2\x85\xa8 pen\xc2\xad"
                                                        "cil",
                                                        "pen\xff"
                                                        "cil"};
inline constexpr std::string_view kScriptUsers[] = {"ann", ""};

}  // namespace berth::auth
