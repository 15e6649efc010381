// Goal: secrets, base64 and SASLprep hold their laws for any bytes. Method: there and back again, twice the same.
#include "auth/base64.h"
#include "auth/exchange.h"
#include "auth/limits.h"
#include "auth/md5.h"
#include "auth/saslprep.h"
#include "auth/scram.h"
#include "fuzz/auth_input.h"
#include "unit/auth_steps.h"

namespace berth::auth {
namespace {

void fuzz_secret(std::string_view text) {
  const Secret secret = parse_secret(text);
  must(secret.text.view() == text && secret.empty() == text.empty());
  if (secret.kind != SecretKind::kScram) return;
  must(secret.scram.iterations >= 1 && !secret.scram.salt.empty() && secret.scram.salt.size() <= kScramSaltSizeMax);
  const Secret again = parse_secret(to_text(secret.scram));
  must(again.kind == SecretKind::kScram && again.scram.iterations == secret.scram.iterations);
  must(again.scram.salt == secret.scram.salt && again.scram.stored_key == secret.scram.stored_key);
  must(again.scram.server_key == secret.scram.server_key);
}

void fuzz_base64(std::string_view bytes) {
  std::string back;
  must(base64_decode(base64_encode(bytes), back) && back == bytes);
  if (base64_decode(bytes, back)) must(base64_encode(back) == bytes);
}

void fuzz_saslprep(std::string_view password) {
  const std::string once = saslprep(password);
  must(saslprep(once) == once);
}

// Who knows the secret gets in, whatever bytes it has; with one byte more nobody does.
void fuzz_login(std::string_view user, std::string_view password) {
  if (password.empty() || password.find('\0') != std::string_view::npos || password.size() > kPasswordSizeMax) return;
  Secret clear = parse_secret("x");
  clear.text = password;
  Secret md5 = clear;
  std::string hash;
  must(md5_secret(password, user, hash));
  md5.text = hash;
  md5.kind = SecretKind::kMd5;
  for (const Secret* secret : {&clear, &md5}) {
    for (const bool right : {true, false}) {
      const auto verifier = make_client_verifier(Method::kPlain, user, secret, 1);
      verifier->start();
      const std::string body = std::string(password) + (right ? "" : "x") + '\0';
      must((feed_through(*verifier, body).kind == Step::Kind::kOk) == (right && body.size() <= kPasswordSizeMax + 1));
    }
  }
}

void fuzz(FuzzInput input) {
  switch (input.byte() % 4) {
    case 0: return fuzz_secret(input.message());
    case 1: return fuzz_base64(input.message());
    case 2: return fuzz_saslprep(input.message());
    case 3: {
      const std::string_view user = input.message();
      return fuzz_login(user, input.message());
    }
  }
}

}  // namespace
}  // namespace berth::auth

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::auth::fuzz(berth::auth::FuzzInput(data, size));
  return 0;
}
