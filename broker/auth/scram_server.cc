// The server's half of SCRAM-SHA-256. The grammar in the comments is RFC 5802's, section 7.
#include "auth/scram_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "auth/base64.h"
#include "auth/limits.h"
#include "auth/scram.h"
#include "base/assert.h"

namespace berth::auth {
namespace {

constexpr size_t kHeaderSize = 3;

Error malformed(std::string_view what) {
  return {fmt::format("malformed SCRAM message: {}", what), "08P01"};
}

// gs2-header = ("n" / "y" / "p=" cb-name) "," [ "a=" saslname ] ","
// Empty: it is "n,," or "y,,", the only ones that we take.
std::string_view why_not_a_header(std::string_view message) {
  switch (message[0]) {
    case 'n':
    case 'y': break;
    case 'p': return "client requires channel binding, which is not offered";
    default: return "unexpected channel binding flag";
  }
  if (message.size() < kHeaderSize || message[1] != ',') return "comma expected after the channel binding flag";
  if (message[2] == 'a') return "client uses an authorization identity, which is not supported";
  if (message[2] != ',') return "unexpected attribute in the header";
  return {};
}

}  // namespace

ScramServer::ScramServer(std::string salt, uint32_t iterations, std::string server_nonce)
    : server_nonce_(std::move(server_nonce)), salt_(std::move(salt)), iterations_(iterations) {
  ASSERT(!salt_.empty() && iterations_ >= 1 && !server_nonce_.empty());
}

// client-first-message = gs2-header [ "m=" ... "," ] "n=" saslname "," "r=" c-nonce [ "," extensions ]
Result<std::string> ScramServer::client_first(std::string_view message) {
  ASSERT(server_first_.empty());
  if (const std::string_view why = why_not_a_message(message); !why.empty()) return malformed(why);
  if (const std::string_view why = why_not_a_header(message); !why.empty()) return malformed(why);
  const std::string_view bare = message.substr(kHeaderSize);
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
  header_ = message.substr(0, kHeaderSize);
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
  if (binding != base64_encode(header_)) return malformed("channel binding does not match the first message");
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
