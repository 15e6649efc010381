// Goal: what takes long is never done inside a step of a login, it is asked for only where no cache knows the answer,
// and it may outlive the login that asked. Method: logins whose work is run, or not, by hand.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "auth/key_cache.h"
#include "auth/limits.h"
#include "unit/auth_support.h"

namespace berth::auth {
namespace {

using Kind = Step::Kind;
constexpr int kIterations = 3;

// The step that answers the client's last message.
Step scram_to_the_end(ClientVerifier& verifier, std::string_view password) {
  const HandClient client;
  verifier.start();
  const Step first = verifier.feed(initial_response(client.first()));
  return verifier.feed(client.final(body_of(first.bytes, wire::kAuthentication).substr(4), password));
}

Step plain_to_the_end(ClientVerifier& verifier, std::string_view password) {
  verifier.start();
  return verifier.feed(with_nul(password));
}

TEST(AuthWork, AClearSecretIsDerivedOnceAndAsideForScram) {
  const Secret secret = parse_secret("a clear secret of its own");
  const uint64_t before = client_keys().derivations();
  const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
  const Step step = scram_to_the_end(*verifier, secret.text.view());
  ASSERT_EQ(Kind::kWork, step.kind);
  EXPECT_EQ(Lane::kClientKeys, step.work->lane);
  EXPECT_EQ(before, client_keys().derivations()) << "nothing is derived inside the step";
  step.work->run();
  const Step end = verifier->resume(*step.work);
  EXPECT_EQ(Kind::kOk, end.kind);
  EXPECT_FALSE(end.bytes.empty()) << "the broker proves itself, too";
  EXPECT_TRUE(verifier->feed("x").protocol_violation);
  for (const std::string_view password : {secret.text.view(), std::string_view("wrong")}) {
    const auto next = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
    EXPECT_EQ(password == "wrong" ? Kind::kFailed : Kind::kOk, scram_to_the_end(*next, password).kind);
  }
  EXPECT_EQ(before + 1, client_keys().derivations());
}

TEST(AuthWork, AWrongProofFailsAfterTheWorkToo) {
  const Secret secret = parse_secret("another clear secret");
  const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
  const Step step = scram_to_the_end(*verifier, "wrong");
  ASSERT_EQ(Kind::kWork, step.kind);
  step.work->run();
  EXPECT_EQ(Kind::kFailed, verifier->resume(*step.work).kind);
  EXPECT_EQ("", verifier->password());
}

TEST(AuthWork, StoredSecretsNeedNone) {
  const Secret scram = parse_secret(kPencilScram), md5 = parse_secret(md5_of("pencil", "ann")),
               clear = parse_secret("pencil");
  const auto stored = make_client_verifier(Method::kScramSha256, "ann", &scram, kIterations);
  EXPECT_EQ(Kind::kOk, scram_to_the_end(*stored, "pencil").kind);
  const auto nobody = make_client_verifier(Method::kScramSha256, "nobody", nullptr, kIterations);
  EXPECT_EQ(Kind::kFailed, scram_to_the_end(*nobody, "pencil").kind);
  for (const Secret* secret : {&md5, &clear}) {
    const auto verifier = make_client_verifier(Method::kPlain, "ann", secret, kIterations);
    EXPECT_EQ(Kind::kOk, plain_to_the_end(*verifier, "pencil").kind);
  }
}

TEST(AuthWork, AClearPasswordAgainstAScramSecretIsWorkUntilItProvedRight) {
  const Secret secret = parse_secret(to_text(make_scram_secret("p1", "a salt of its own", kIterations)));
  for (const std::string_view password : {"guess", "guess", "p1"}) {
    const auto verifier = make_client_verifier(Method::kPlain, "ann", &secret, kIterations);
    const Step step = plain_to_the_end(*verifier, password);
    ASSERT_EQ(Kind::kWork, step.kind) << password;
    EXPECT_EQ("", verifier->password()) << "not proved yet";
    step.work->run();
    EXPECT_EQ(password == "p1" ? Kind::kOk : Kind::kFailed, verifier->resume(*step.work).kind);
    EXPECT_EQ(password == "p1" ? "p1" : "", verifier->password());
  }
  const auto verifier = make_client_verifier(Method::kPlain, "ann", &secret, kIterations);
  EXPECT_EQ(Kind::kOk, plain_to_the_end(*verifier, "p1").kind);
  EXPECT_EQ("p1", verifier->password());
  const auto unknown = make_client_verifier(Method::kPlain, "nobody", nullptr, kIterations, {SecretKind::kScram, 3});
  EXPECT_EQ(Kind::kWork, plain_to_the_end(*unknown, "p1").kind) << "an unknown user takes as long";
}

// T12: whatever count a server asks for, the worker does not do it.
TEST(AuthWork, AServersIterationsAreDoneAside) {
  Proof proof;
  proof.secret = parse_secret("pencil");
  for (const uint32_t iterations : {1u, 4096u, kScramIterationsMax}) {
    const uint64_t before = server_keys().derivations();
    const auto login = make_server_login("ann", proof);
    const Step hello = login->feed(code_body(AuthCode::kSasl, std::string_view("SCRAM-SHA-256\0\0", 15)));
    const std::string nonce = hello.bytes.substr(hello.bytes.find("r=") + 2);
    const std::string first = fmt::format("r={}x,s={},i={}", nonce, base64_encode("salt of this test"), iterations);
    const Step step = login->feed(code_body(AuthCode::kSaslContinue, first));
    ASSERT_EQ(Kind::kWork, step.kind);
    EXPECT_EQ(Lane::kServerKeys, step.work->lane);
    EXPECT_EQ(before, server_keys().derivations());
    if (iterations > 4096) continue;  // nobody has to do it: the login may be given up
    EXPECT_TRUE(login->feed(code_body(AuthCode::kOk)).protocol_violation) << "not before our proof";
  }
}

TEST(AuthWork, AServersKeyIsKeptForTheNextLogin) {
  Proof proof;
  proof.secret = parse_secret("pencil of the server");
  const uint64_t before = server_keys().derivations();
  const Secret theirs = parse_secret(to_text(make_scram_secret("pencil of the server", "some salt", 7)));
  for (const bool first : {true, false}) {
    const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &theirs, kIterations);
    const auto login = make_server_login("ann", proof);
    EXPECT_TRUE(couple(*verifier, *login).both_ok()) << first;
  }
  EXPECT_EQ(before + 1, server_keys().derivations());
}

TEST(AuthWork, WorkOutlivesItsLogin) {
  const Secret secret = parse_secret("a clear secret of somebody who leaves");
  auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
  const Step step = scram_to_the_end(*verifier, secret.text.view());
  verifier.reset();
  ASSERT_EQ(Kind::kWork, step.kind);
  step.work->run();
  const auto next = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
  EXPECT_EQ(Kind::kOk, scram_to_the_end(*next, secret.text.view()).kind) << "and what it found is of use";
}

TEST(AuthWork, ThreadsThatWantOneKeyDeriveItOnce) {
  KeyCache cache(8);
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  std::array<Digest, 4> found{};
  for (Digest& out : found) {
    threads.emplace_back([&] {
      ++ready;
      while (ready < 4) std::this_thread::yield();
      out = cache.salted("password", "salt", 20000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(1u, cache.derivations());
  for (const Digest& out : found) EXPECT_EQ(found[0], out);
}

}  // namespace
}  // namespace berth::auth
