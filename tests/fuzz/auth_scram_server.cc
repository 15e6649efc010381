// Goal (T13): no messages of a client get in without the password, crash, or leave a step half done. Method: the pure
// half of SCRAM with a fixed nonce, so that inputs reach the last message, and a whole verifier of every method.
#include "auth/scram_server.h"

#include "auth/exchange.h"
#include "auth/scram.h"
#include "fuzz/auth_input.h"
#include "unit/auth_steps.h"

namespace berth::auth {
namespace {

constexpr std::string_view kPassword = "a password that the fuzzer cannot know";

void fuzz_messages(FuzzInput& input, bool bound) {
  static const ScramSecret secret = make_scram_secret(kPassword, "0123456789abcdef", 1);
  ScramServer server(secret.salt, secret.iterations, "servernonce");
  if (bound) server.bind("hash of a certificate", true);
  const std::string_view first = input.message();
  const Result<std::string> answer = server.client_first(first);
  if (!answer.ok()) return must(!answer.error().text.empty());
  must(answer.value().find("servernonce,s=") != std::string::npos);
  const std::string_view final = input.message();
  const Result<Digest> proof = server.client_final(final);
  if (!proof.ok()) return must(!proof.error().text.empty());
  must(final.find("servernonce") != std::string_view::npos);
  Digest key;
  must(!server.proves(proof.value(), secret.stored_key, key));
  must(server.server_final(secret.server_key).size() == 46);
}

void fuzz_verifier(FuzzInput& input, Method method) {
  static const Secret secrets[] = {parse_secret(kPassword), parse_secret("md5e32916d65635923197a3214f70df664a"),
                                   parse_secret(to_text(make_scram_secret(kPassword, "0123456789abcdef", 1)))};
  const uint8_t choice = input.byte();
  const uint8_t kind = choice % 4;
  const auto verifier = make_client_verifier(method, "ann", kind == 3 ? nullptr : &secrets[kind], 1, {},
                                             choice & 4 ? "hash of a certificate" : "");
  must(verifier->start().kind == Step::Kind::kSend);
  bool over = false;
  while (!input.empty()) {
    const Step step = feed_through(*verifier, input.message());
    must(step.kind != Step::Kind::kOk);
    must(!over || step.kind == Step::Kind::kFailed);
    must((step.kind == Step::Kind::kFailed) == step.bytes.empty());
    must((step.kind == Step::Kind::kFailed) == !step.reason.empty());
    over = step.kind == Step::Kind::kFailed;
  }
  must(!verifier->learned().known && verifier->password().empty());
}

void fuzz(FuzzInput input) {
  const uint8_t choice = input.byte();
  switch (choice % 4) {
    case 0: return fuzz_messages(input, choice & 4);
    case 1: return fuzz_verifier(input, Method::kScramSha256);
    case 2: return fuzz_verifier(input, Method::kMd5);
    case 3: return fuzz_verifier(input, Method::kPlain);
  }
}

}  // namespace
}  // namespace berth::auth

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::auth::fuzz(berth::auth::FuzzInput(data, size));
  return 0;
}
