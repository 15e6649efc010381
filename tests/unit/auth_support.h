// For the tests of auth: the bodies of messages, secrets as PostgreSQL 15 made them, and a client and a server that
// are coupled in memory.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "auth/exchange.h"
#include "auth/md5.h"
#include "auth/scram.h"
#include "auth/step.h"
#include "base/base64.h"
#include "unit/auth_steps.h"
#include "wire/frame.h"

namespace berth::auth {

// CREATE ROLE ... PASSWORD 'pencil', as PostgreSQL 15 stored it.
inline constexpr std::string_view kPencilScram =
    "SCRAM-SHA-256$4096:nTv1oMWo/RPaZDqBlFzu6g==$QSEAnxBMsglSJfMWLUA1swE4Xi8p1Vk5R/epP0/gJm8="
    ":QQAADHc3SgyFfytQ30dnJVXRTQFzHji2wg0WusZW+Gw=";

inline std::string md5_of(std::string_view password, std::string_view user) {
  std::string out;
  EXPECT_TRUE(md5_secret(password, user, out));
  return out;
}

// The body of the one message in `bytes`, which must have this tag.
inline std::string body_of(std::string_view bytes, char tag) {
  if (bytes.size() < wire::kHeaderSize || bytes[0] != tag) {
    ADD_FAILURE() << "no message '" << tag << "' in " << bytes.size() << " bytes";
    return {};
  }
  EXPECT_EQ(wire::read32(bytes.data() + 1), bytes.size() - 1) << "one whole message expected";
  return std::string(bytes.substr(wire::kHeaderSize));
}

inline std::string code_body(AuthCode code, std::string_view rest = {}) {
  return body_of(authentication(code, rest), wire::kAuthentication);
}

inline std::string with_nul(std::string_view text) {
  return std::string(text) + '\0';
}

// The body of a SASLInitialResponse.
inline std::string initial_response(std::string_view first, std::string_view mechanism = kScramMechanism) {
  std::string out = with_nul(mechanism);
  wire::put32(out, static_cast<uint32_t>(first.size()));
  return out.append(first);
}

// What a SCRAM client would send, by hand, from the server-first-message.
struct HandClient {
  std::string nonce = "clientnonce";
  std::string header = "n,,";
  std::string bare() const { return "n=,r=" + nonce; }
  std::string first() const { return header + bare(); }
  // The client-final-message, with a proof for this password.
  std::string final(std::string_view server_first, std::string_view password) const {
    Attributes attributes(server_first);
    std::string_view nonce_value, salt_text, iterations;
    std::string salt;
    EXPECT_TRUE(attributes.take('r', nonce_value) && attributes.take('s', salt_text) &&
                attributes.take('i', iterations));
    EXPECT_TRUE(base64_decode(salt_text, salt));
    const std::string without_proof = "c=" + base64_encode(header) + ",r=" + std::string(nonce_value);
    const Digest key =
        client_key(salted_password(password, salt, static_cast<uint32_t>(std::stoul(std::string(iterations)))));
    const Digest signature = hmac_sha256(view_of(stored_key(key)), {bare(), ",", server_first, ",", without_proof});
    return without_proof + ",p=" + base64_encode(view_of(xor_of(key, signature)));
  }
};

// How a login through both machines ended.
struct Outcome {
  Step client_side;  // the last of the verifier
  Step server_side;  // the last of the login
  bool both_ok() const { return client_side.kind == Step::Kind::kOk && server_side.kind == Step::Kind::kOk; }
};

// The login answers the verifier until one of them is done. Messages pass through `tap`, which may change them.
template <typename Tap>
Outcome couple(ClientVerifier& verifier, ServerLogin& login, Tap tap) {
  Outcome outcome;
  outcome.client_side = verifier.start();
  for (int round = 0; round < 10; ++round) {
    std::string from_server = outcome.client_side.bytes;
    if (outcome.client_side.kind == Step::Kind::kOk) {
      if (!from_server.empty()) {
        outcome.server_side = feed_through(login, tap(body_of(from_server, wire::kAuthentication)));
        if (outcome.server_side.kind != Step::Kind::kSend) return outcome;
        EXPECT_EQ(outcome.server_side.bytes, "");
      }
      outcome.server_side = feed_through(login, code_body(AuthCode::kOk));
      return outcome;
    }
    if (outcome.client_side.kind == Step::Kind::kFailed) return outcome;
    outcome.server_side = feed_through(login, tap(body_of(from_server, wire::kAuthentication)));
    if (outcome.server_side.kind != Step::Kind::kSend) return outcome;
    outcome.client_side = feed_through(verifier, tap(body_of(outcome.server_side.bytes, wire::kPassword)));
  }
  ADD_FAILURE() << "the exchange does not end";
  return outcome;
}
inline Outcome couple(ClientVerifier& verifier, ServerLogin& login) {
  return couple(verifier, login, [](std::string message) { return message; });
}

}  // namespace berth::auth
