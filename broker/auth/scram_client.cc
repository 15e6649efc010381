// The client's half of SCRAM-SHA-256. The grammar in the comments is RFC 5802's, section 7.
#include "auth/scram_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "auth/limits.h"
#include "auth/scram.h"
#include "base/assert.h"
#include "base/base64.h"
#include "base/fault.h"

namespace berth::auth {
namespace {

Error malformed(std::string_view what) {
  return {fmt::format("malformed SCRAM message: {}", what), "08P01"};
}

// posit-number = %x31-39 *DIGIT, at most kScramIterationsMax. "" or why not.
std::string_view parse_iterations(std::string_view text, uint32_t& out) {
  constexpr std::string_view kBad = "bad iteration count";
  if (text.empty() || text[0] == '0' || text.find_first_not_of("0123456789") != std::string_view::npos) return kBad;
  const std::errc error = std::from_chars(text.data(), text.data() + text.size(), out).ec;
  if (error != std::errc{} || out > kScramIterationsMax) return "more iterations than the limit";
  return {};
}

}  // namespace

ScramClient::ScramClient(std::string client_nonce) : client_nonce_(std::move(client_nonce)) {
  ASSERT(is_nonce(client_nonce_, kScramNonceSizeMax));
}

void ScramClient::bind(std::string hash, bool able) {
  ASSERT(server_first_.empty());
  binding_ = std::move(hash);
  header_ = !binding_.empty() ? kPlusHeader : able ? "y,," : "n,,";
}

// The user name is empty: PostgreSQL takes the one of the startup packet.
std::string ScramClient::client_first() const {
  return fmt::format("{}n=,r={}", header_, client_nonce_);
}

// server-first-message = [ "m=" ... "," ] "r=" c-nonce s-nonce "," "s=" base64 "," "i=" posit-number [ "," extensions
// ]
Result<ScramClient::Challenge> ScramClient::server_first(std::string_view message) {
  ASSERT(server_first_.empty());
  if (const std::string_view why = why_not_a_message(message); !why.empty()) return malformed(why);
  Attributes attributes(message);
  std::string_view nonce, salt, iterations;
  Challenge challenge;
  if (attributes.next() == 'm') return malformed("server requires an extension");
  if (!attributes.take('r', nonce)) return malformed("nonce expected");
  if (!is_nonce(nonce, kScramNonceSizeMax)) return malformed("bad nonce");
  if (!nonce.starts_with(client_nonce_) || nonce.size() == client_nonce_.size()) return malformed("nonce mismatch");
  if (!attributes.take('s', salt)) return malformed("salt expected");
  if (!base64_decode(salt, challenge.salt) || challenge.salt.empty() || challenge.salt.size() > kScramSaltSizeMax) {
    return malformed("bad salt");
  }
  if (!attributes.take('i', iterations)) return malformed("iteration count expected");
  const std::string_view why = parse_iterations(iterations, challenge.iterations);
  if (!why.empty()) return malformed(why);
  if (!attributes.at_end()) return malformed("garbage after the iteration count");
  nonce_ = nonce;
  server_first_ = message;
  return challenge;
}

std::string ScramClient::client_final(const Digest& client_key) {
  ASSERT(!server_first_.empty() && client_final_without_proof_.empty());
  client_final_without_proof_ = fmt::format("c={},r={}", base64_encode(header_ + binding_), nonce_);
  const std::string first = client_first();
  const std::string_view bare = std::string_view(first).substr(header_.size());
  Digest signature =
      hmac_sha256(view_of(stored_key(client_key)), {bare, ",", server_first_, ",", client_final_without_proof_});
  const Digest proof = xor_of(client_key, signature);
  scrub(signature);
  return fmt::format("{},p={}", client_final_without_proof_, base64_encode(view_of(proof)));
}

// server-final-message = ( "e=" text / "v=" base64 ) [ "," extensions ]
std::string ScramClient::server_final(std::string_view message, const Digest& server_key) const {
  ASSERT(!client_final_without_proof_.empty());
  if (const std::string_view why = why_not_a_message(message); !why.empty()) return malformed(why).text;
  Attributes attributes(message);
  std::string_view value;
  if (attributes.next() == 'e' && attributes.take('e', value)) {
    return fmt::format("server refused the SCRAM exchange: {}", printable(value));
  }
  std::string raw;
  if (!attributes.take('v', value)) return malformed("server signature expected").text;
  if (!attributes.at_end()) return malformed("garbage after the server signature").text;
  if (!base64_decode(value, raw) || raw.size() != server_key.size()) return malformed("bad server signature").text;
  const std::string first = client_first();
  const std::string_view bare = std::string_view(first).substr(header_.size());
  const Digest expected =
      hmac_sha256(view_of(server_key), {bare, ",", server_first_, ",", client_final_without_proof_});
  if (FAULT(proof_compared_by_prefix)) raw.replace(16, 16, view_of(expected).substr(16));
  if (!equal_constant_time(raw, view_of(expected))) return "the server does not know the password: wrong signature";
  return {};
}

}  // namespace berth::auth
