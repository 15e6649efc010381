// Goal: no messages of a server end a SCRAM login well without the server key, exceed a limit, or crash us. Method:
// the pure half of SCRAM with a fixed nonce, and a whole login with learned keys (which derives nothing, so it is
// fast).
#include "auth/scram_client.h"

#include "auth/exchange.h"
#include "auth/limits.h"
#include "auth/scram.h"
#include "fuzz/auth_input.h"
#include "unit/auth_steps.h"
#include "wire/frame.h"

namespace berth::auth {
namespace {

const ScramKeys kKeys{true, sha256("client"), sha256("server")};

void fuzz_messages(FuzzInput& input) {
  ScramClient client("clientnonce");
  const Result<ScramClient::Challenge> challenge = client.server_first(input.message());
  if (!challenge.ok()) return must(!challenge.error().text.empty());
  must(challenge.value().iterations >= 1 && challenge.value().iterations <= kScramIterationsMax);
  must(!challenge.value().salt.empty() && challenge.value().salt.size() <= kScramSaltSizeMax);
  const std::string final = client.client_final(kKeys.client_key);
  must(final.starts_with("c=biws,r=clientnonce") && final.size() < kScramNonceSizeMax + 100);
  const std::string why = client.server_final(input.message(), kKeys.server_key);
  must(!why.empty() && why.size() < kReasonTextMax + 100);
}

void fuzz_login(FuzzInput& input, BindingWish wish) {
  const auto login = make_server_login("ann", {parse_secret("md5e32916d65635923197a3214f70df664a"), kKeys},
                                       {wish, wish == BindingWish::kDisable ? "" : "hash of a certificate"});
  bool asked_for_scram = false, over = false;
  while (!input.empty()) {
    const std::string_view body = input.message();
    const Step step = feed_through(*login, body);
    must(!over || step.kind == Step::Kind::kFailed);
    must((step.kind == Step::Kind::kFailed) == !step.reason.empty());
    must(step.kind != Step::Kind::kOk || !asked_for_scram);
    over = step.kind != Step::Kind::kSend;
    if (step.kind == Step::Kind::kSend && wire::read32(body.data()) == 10) asked_for_scram = true;
  }
}

}  // namespace
}  // namespace berth::auth

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::auth::FuzzInput input(data, size);
  const uint8_t choice = input.byte();
  if (choice % 2 == 0) {
    berth::auth::fuzz_messages(input);
  } else {
    berth::auth::fuzz_login(input, static_cast<berth::auth::BindingWish>(choice / 2 % 3));
  }
  return 0;
}
