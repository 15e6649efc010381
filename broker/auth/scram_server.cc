// The server's half of SCRAM-SHA-256. The grammar in the comments is RFC 5802's, section 7.
#include "auth/scram_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "auth/limits.h"
#include "auth/scram.h"
#include "base/assert.h"
#include "base/base64.h"

namespace berth::auth {
namespace {

Error malformed(std::string_view what) {
  return {fmt::format("malformed SCRAM message: {}", what), "08P01"};
}

// gs2-header = ("n" / "y" / "p=" cb-name) "," [ "a=" saslname ] ","
// Empty: it is "n,,", "y,," or kPlusHeader, the only ones that we take, and `size` is its size. What PostgreSQL
// refuses of them is refused: a bound mechanism without binding and the other way round, and `y` (the client can
// bind, and thinks that the server cannot) where we offered to.
std::string_view why_not_a_header(std::string_view message, bool offered, bool bound, size_t& size) {
  if (message.size() < 3) return "too short for a header";
  const char flag = message[0];
  if (flag != 'n' && flag != 'y' && flag != 'p') return "unexpected channel binding flag";
  if (flag == 'p' && !bound) {
    return offered ? "client binds without having chosen to"
                   : "client requires channel binding, which is not offered";
  }
  if (flag != 'p' && bound) return "client does not bind, and has chosen to";
  if (flag == 'y' && offered) return "client can bind but believes that it is not offered: is somebody in between?";
  const std::string_view header = flag == 'p' ? kPlusHeader : message.substr(0, 3);
  const size_t comma = header.size() - 2;
  if (flag == 'p' && !message.starts_with(header.substr(0, comma))) return "unknown kind of channel binding";
  if (message.size() < header.size() || message[comma] != ',') return "comma expected after the channel binding flag";
  if (message[comma + 1] == 'a') return "client uses an authorization identity, which is not supported";
  if (message[comma + 1] != ',') return "unexpected attribute in the header";
  size = header.size();
  return {};
}

}  // namespace

ScramServer::ScramServer(std::string salt, uint32_t iterations, std::string server_nonce)
    : server_nonce_(std::move(server_nonce)), salt_(std::move(salt)), iterations_(iterations) {
  ASSERT(!salt_.empty() && iterations_ >= 1 && !server_nonce_.empty());
}

void ScramServer::bind(std::string hash, bool chosen) {
  ASSERT(server_first_.empty() && (!chosen || !hash.empty()));
  binding_ = std::move(hash);
  bound_ = chosen;
}

// client-first-message = gs2-header [ "m=" ... "," ] "n=" saslname "," "r=" c-nonce [ "," extensions ]
Result<std::string> ScramServer::client_first(std::string_view message) {
  ASSERT(server_first_.empty());
  if (const std::string_view why = why_not_a_message(message); !why.empty()) return malformed(why);
  size_t header_size = 0;
  const std::string_view wrong = why_not_a_header(message, !binding_.empty(), bound_, header_size);
  if (!wrong.empty()) return malformed(wrong);
  const std::string_view bare = message.substr(header_size);
  Attributes attributes(bare);
  std::string_view name, nonce, value;
  char extension = '\0';
  if (attributes.next() == 'm') return malformed("client requires an extension");
  if (!attributes.take('n', name)) return malformed("user name expected");
  if (!attributes.take('r', nonce)) return malformed("client nonce expected");
  if (!is_nonce(nonce, kScramNonceSizeMax)) return malformed("bad client nonce");
  while (!attributes.at_end()) {
    if (!attributes.take_any(extension, value)) return malformed("bad extension");
  }
  header_ = message.substr(0, header_size);
  client_first_bare_ = bare;
  nonce_ = fmt::format("{}{}", nonce, server_nonce_);
  server_first_ = fmt::format("r={},s={},i={}", nonce_, base64_encode(salt_), iterations_);
  return server_first_;
}

// client-final-message = "c=" base64 "," "r=" nonce [ "," extensions ] "," "p=" base64
Result<Digest> ScramServer::client_final(std::string_view message) {
  ASSERT(!server_first_.empty() && client_final_without_proof_.empty());
  if (const std::string_view why = why_not_a_message(message); !why.empty()) return malformed(why);
  Attributes attributes(message);
  std::string_view binding, nonce, value;
  char name = '\0';
  if (!attributes.take('c', binding)) return malformed("channel binding expected");
  const std::string expected = base64_encode(bound_ ? header_ + binding_ : header_);
  if (!equal_constant_time(binding, expected)) {
    if (bound_) return Error{"the login is bound to another TLS connection: is somebody in between?", "28000"};
    return malformed("channel binding does not match the first message");
  }
  if (!attributes.take('r', nonce)) return malformed("nonce expected");
  if (!equal_constant_time(nonce, nonce_)) return malformed("nonce mismatch");
  size_t proof_at = 0;
  while (name != 'p') {
    proof_at = message.size() - attributes.left();
    if (!attributes.take_any(name, value)) return malformed("proof expected");
  }
  if (!attributes.at_end()) return malformed("garbage after the proof");
  std::string raw;
  Digest proof;
  if (!base64_decode(value, raw) || raw.size() != proof.size()) return malformed("bad proof");
  std::copy(raw.begin(), raw.end(), proof.begin());
  client_final_without_proof_ = message.substr(0, proof_at - 1);  // without the comma too
  return proof;
}

bool ScramServer::proves(const Digest& proof, const Digest& stored, Digest& client_key) const {
  ASSERT(!client_final_without_proof_.empty());
  const Digest signature =
      hmac_sha256(view_of(stored), {client_first_bare_, ",", server_first_, ",", client_final_without_proof_});
  client_key = xor_of(proof, signature);
  return equal_constant_time(stored_key(client_key), stored);
}

std::string ScramServer::server_final(const Digest& server_key) const {
  ASSERT(!client_final_without_proof_.empty());
  const Digest signature =
      hmac_sha256(view_of(server_key), {client_first_bare_, ",", server_first_, ",", client_final_without_proof_});
  return "v=" + base64_encode(view_of(signature));
}

}  // namespace berth::auth
