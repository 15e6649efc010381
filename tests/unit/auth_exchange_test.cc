// Goal: whoever knows the secret gets in by every method that the secret allows, nobody else does, and an unknown
// user cannot be told from a wrong password. Method: a verifier and a login coupled in memory, over the whole table
// of methods, secrets and proofs; and clients written by hand.
#include <set>

#include "auth/key_cache.h"
#include "auth/limits.h"
#include "unit/auth_support.h"

namespace berth::auth {
namespace {

constexpr int kIterations = 4096;
using Kind = Step::Kind;

Secret secret_of(SecretKind kind) {
  switch (kind) {
    case SecretKind::kNone: break;
    case SecretKind::kPlain: return parse_secret("pencil");
    case SecretKind::kMd5: return parse_secret(md5_of("pencil", "ann"));
    case SecretKind::kScram: return parse_secret(kPencilScram);
  }
  return {};
}

ScramKeys keys_of(std::string_view password, const ScramSecret& secret) {
  const Digest salted = salted_password(password, secret.salt, secret.iterations);
  return {true, client_key(salted), server_key(salted)};
}

constexpr SecretKind kSecrets[] = {SecretKind::kPlain, SecretKind::kMd5, SecretKind::kScram};
constexpr Method kMethods[] = {Method::kPlain, Method::kMd5, Method::kScramSha256};

// Which request a method leads to, and whether the secret can serve.
AuthCode request_of(Method method, SecretKind secret) {
  if (method == Method::kPlain) return AuthCode::kCleartextPassword;
  if (method == Method::kMd5 && secret != SecretKind::kScram) return AuthCode::kMd5Password;
  return AuthCode::kSasl;
}
bool serves(Method method, SecretKind secret) {
  return method != Method::kScramSha256 || secret != SecretKind::kMd5;
}

TEST(Exchange, EveryMethodSecretAndProof) {
  int successes = 0;
  for (const Method method : kMethods) {
    for (const SecretKind kind : kSecrets) {
      for (const SecretKind with : kSecrets) {
        for (const bool right : {true, false}) {
          SCOPED_TRACE(testing::Message()
                       << "method " << static_cast<int>(method) << " secret " << static_cast<int>(kind) << " proof "
                       << static_cast<int>(with) << (right ? " right" : " wrong"));
          const Secret secret = secret_of(kind);
          Proof proof;
          const char* password = right ? "pencil" : "pencil2";
          if (with == SecretKind::kPlain) proof.secret = parse_secret(password);
          if (with == SecretKind::kMd5) proof.secret = parse_secret(md5_of(password, "ann"));
          if (with == SecretKind::kScram) proof.keys = keys_of(password, secret_of(SecretKind::kScram).scram);
          const auto verifier = make_client_verifier(method, "ann", &secret, kIterations);
          const auto login = make_server_login("ann", proof);
          const AuthCode request = request_of(method, kind);
          const bool answers = with == SecretKind::kPlain ||
                               (with == SecretKind::kMd5 && request == AuthCode::kMd5Password) ||
                               (with == SecretKind::kScram && request == AuthCode::kSasl);
          // Learned keys fit only the secret whose salt they were made with.
          const bool fits = serves(method, kind) && (with != SecretKind::kScram || kind == SecretKind::kScram);
          const Outcome outcome = couple(*verifier, *login);
          EXPECT_EQ(outcome.both_ok(), answers && right && fits)
              << outcome.client_side.reason << " / " << outcome.server_side.reason;
          if (!answers) {
            EXPECT_EQ(outcome.server_side.kind, Kind::kFailed);
            EXPECT_NE(outcome.server_side.reason, "");
          } else if (!outcome.both_ok()) {
            EXPECT_EQ(outcome.client_side.kind, Kind::kFailed);
            EXPECT_FALSE(outcome.client_side.protocol_violation);
            EXPECT_EQ(outcome.client_side.bytes, "");
            EXPECT_FALSE(verifier->learned().known);
            EXPECT_EQ(verifier->password(), "");
          }
          successes += outcome.both_ok();
        }
      }
    }
  }
  EXPECT_EQ(successes, 12);  // plain 3 (clear proof); md5 2 + 2 + 2; scram 1 of a clear secret, 2 of a SCRAM one
}

TEST(Exchange, FirstRequestOfEachMethod) {
  for (const Method method : kMethods) {
    for (const SecretKind kind : kSecrets) {
      const Secret secret = secret_of(kind);
      const Step step = make_client_verifier(method, "ann", &secret, kIterations)->start();
      ASSERT_EQ(step.kind, Kind::kSend);
      const std::string body = body_of(step.bytes, wire::kAuthentication);
      EXPECT_EQ(wire::read32(body.data()), static_cast<uint32_t>(request_of(method, kind)));
      if (request_of(method, kind) == AuthCode::kMd5Password) {
        EXPECT_EQ(body.size(), 8u);
      }
      if (request_of(method, kind) == AuthCode::kSasl) {
        EXPECT_EQ(body.substr(4), std::string("SCRAM-SHA-256\0\0", 15));
      }
    }
  }
}

TEST(Exchange, TrustAndAny) {
  const Secret secret = secret_of(SecretKind::kMd5), empty;
  EXPECT_EQ(make_client_verifier(Method::kTrust, "ann", &secret, kIterations)->start().kind, Kind::kOk);
  EXPECT_EQ(make_client_verifier(Method::kTrust, "ann", &empty, kIterations)->start().kind, Kind::kOk);
  EXPECT_EQ(make_client_verifier(Method::kTrust, "ann", nullptr, kIterations)->start().kind, Kind::kFailed);
  EXPECT_EQ(make_client_verifier(Method::kAny, "ann", nullptr, kIterations)->start().kind, Kind::kOk);
  const auto verifier = make_client_verifier(Method::kAny, "ann", nullptr, kIterations);
  EXPECT_EQ(verifier->start().bytes, "");
  EXPECT_TRUE(feed_through(*verifier, with_nul("x")).protocol_violation);
}

TEST(Exchange, LearnedKeysLogInToTheServer) {
  const Secret secret = secret_of(SecretKind::kScram);
  for (const Method method : {Method::kMd5, Method::kScramSha256}) {
    const auto client = make_client_verifier(method, "ann", &secret, kIterations);
    ASSERT_TRUE(couple(*client, *make_server_login("ann", {parse_secret("pencil"), {}})).both_ok());
    ASSERT_TRUE(client->learned().known);
    EXPECT_EQ(client->password(), "");
    const Proof proof{secret, client->learned()};
    const auto server = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
    EXPECT_TRUE(couple(*server, *make_server_login("ann", proof)).both_ok());
    const Proof keys_only{{}, client->learned()};
    const auto again = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
    EXPECT_TRUE(couple(*again, *make_server_login("ann", keys_only)).both_ok());
  }
}

TEST(Exchange, NothingIsLearnedOfAMadeSecret) {
  const Secret secret = secret_of(SecretKind::kPlain);
  const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, kIterations);
  ASSERT_TRUE(couple(*verifier, *make_server_login("ann", {secret, {}})).both_ok());
  EXPECT_FALSE(verifier->learned().known);
}

TEST(Exchange, PasswordIsKeptOfAClearLogin) {
  for (const SecretKind kind : kSecrets) {
    const Secret secret = secret_of(kind);
    const auto verifier = make_client_verifier(Method::kPlain, "ann", &secret, kIterations);
    ASSERT_TRUE(couple(*verifier, *make_server_login("ann", {parse_secret("pencil"), {}})).both_ok());
    EXPECT_EQ(verifier->password(), "pencil");
  }
}

TEST(Exchange, KeysOfAnOlderSecretAreNotSent) {
  const Secret now = parse_secret(to_text(make_scram_secret("new", "0123456789abcdef", kIterations)));
  const ScramKeys old = keys_of("pencil", secret_of(SecretKind::kScram).scram);
  const auto login = make_server_login("ann", {now, old});
  const Step step = feed_through(*login, code_body(AuthCode::kSasl, std::string_view("SCRAM-SHA-256\0\0", 15)));
  EXPECT_EQ(step.kind, Kind::kFailed);
  EXPECT_NE(step.reason.find("has changed"), std::string::npos);
}

TEST(Exchange, AServerWithAnotherSecretGetsNoProof) {
  const Secret ours = secret_of(SecretKind::kScram);
  const Secret theirs = parse_secret(to_text(make_scram_secret("pencil", "0123456789abcdef", kIterations)));
  const auto server = make_client_verifier(Method::kScramSha256, "ann", &theirs, kIterations);
  const Outcome outcome = couple(*server, *make_server_login("ann", {ours, keys_of("pencil", ours.scram)}));
  EXPECT_EQ(outcome.server_side.kind, Kind::kFailed);
  EXPECT_NE(outcome.server_side.reason.find("auth_file"), std::string::npos);
}

TEST(Exchange, NonAsciiPasswordBothWays) {
  const Secret composed = parse_secret(
      "pi\xc3\xb1"
      "ata");
  const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &composed, kIterations);
  const Proof decomposed{parse_secret("pin\xcc\x83"
                                      "ata"),
                         {}};
  EXPECT_TRUE(couple(*verifier, *make_server_login("ann", decomposed)).both_ok());
}

TEST(Exchange, PasswordsUpToTheLimit) {
  const std::string longest(kPasswordSizeMax, 'p');
  const Secret secret = parse_secret(longest);
  for (const Method method : kMethods) {
    const auto verifier = make_client_verifier(method, "ann", &secret, kIterations);
    EXPECT_TRUE(couple(*verifier, *make_server_login("ann", {secret, {}})).both_ok());
  }
  const auto verifier = make_client_verifier(Method::kPlain, "ann", &secret, kIterations);
  verifier->start();
  EXPECT_TRUE(feed_through(*verifier, with_nul(longest + "p")).protocol_violation);
}

TEST(Exchange, EmptyPasswordFails) {
  // Neither does it where somebody stored the hash of the empty password.
  const Secret md5 = parse_secret(md5_of("", "ann"));
  const Secret scram = parse_secret(to_text(make_scram_secret("", "0123456789abcdef", kIterations)));
  for (const Secret& secret : {secret_of(SecretKind::kPlain), Secret{}, md5, scram}) {
    const auto verifier = make_client_verifier(Method::kPlain, "ann", &secret, kIterations);
    verifier->start();
    const Step step = feed_through(*verifier, with_nul(""));
    EXPECT_EQ(step.kind, Kind::kFailed);
    EXPECT_FALSE(step.protocol_violation);
  }
}

TEST(Exchange, ReasonsHoldNoSecret) {
  for (const Method method : kMethods) {
    for (const SecretKind kind : kSecrets) {
      const Secret secret = secret_of(kind);
      const auto verifier = make_client_verifier(method, "ann", &secret, kIterations);
      const Outcome outcome = couple(*verifier, *make_server_login("ann", {parse_secret("graphite"), {}}));
      for (const std::string& reason : {outcome.client_side.reason, outcome.server_side.reason}) {
        EXPECT_EQ(reason.find("graphite"), std::string::npos);
        EXPECT_EQ(reason.find("pencil"), std::string::npos);
        EXPECT_EQ(reason.find(secret.text.view()), std::string::npos);
      }
    }
  }
}

TEST(Exchange, AfterTheEndNothingIsTaken) {
  for (const Method method : kMethods) {
    for (const char* password : {"pencil", "wrong"}) {
      const Secret secret = secret_of(SecretKind::kPlain);
      const auto verifier = make_client_verifier(method, "ann", &secret, kIterations);
      couple(*verifier, *make_server_login("ann", {parse_secret(password), {}}));
      const Step step = feed_through(*verifier, with_nul("pencil"));
      EXPECT_EQ(step.kind, Kind::kFailed);
      EXPECT_TRUE(step.protocol_violation);
    }
  }
}

// A storm: many logins with one password cost one derivation on either side.
TEST(Exchange, StormPaysOneDerivation) {
  const Secret secret = parse_secret("storm password");
  const uint64_t clients = client_keys().derivations();
  for (int i = 0; i < 20; ++i) {
    const auto verifier = make_client_verifier(Method::kScramSha256, "stormy", &secret, kIterations);
    const HandClient client;
    verifier->start();
    const Step first = feed_through(*verifier, initial_response(client.first()));
    const std::string server_first = body_of(first.bytes, wire::kAuthentication).substr(4);
    EXPECT_EQ(feed_through(*verifier, client.final(server_first, "storm password")).kind, Kind::kOk);
  }
  EXPECT_EQ(client_keys().derivations(), clients + 1);
  const uint64_t servers = server_keys().derivations();
  const Secret scram = parse_secret(to_text(make_scram_secret("backend password", "0123456789abcdef", kIterations)));
  for (int i = 0; i < 20; ++i) {
    const auto backend = make_client_verifier(Method::kScramSha256, "ann", &scram, kIterations);
    EXPECT_TRUE(couple(*backend, *make_server_login("ann", {parse_secret("backend password"), {}})).both_ok());
  }
  EXPECT_EQ(server_keys().derivations(), servers + 1);
}

TEST(Exchange, ClearLoginAgainstScramSecretIsKeptOnlyWhenRight) {
  const Secret scram = parse_secret(to_text(make_scram_secret("clear", "0123456789abcdef", kIterations)));
  const auto derivations_of = [&scram](std::string_view password) {
    const uint64_t before = client_keys().derivations();
    const auto verifier = make_client_verifier(Method::kPlain, "ann", &scram, kIterations);
    verifier->start();
    feed_through(*verifier, with_nul(password));
    return client_keys().derivations() - before;
  };
  EXPECT_EQ(derivations_of("wrong"), 1u);
  EXPECT_EQ(derivations_of("wrong"), 1u);
  EXPECT_EQ(derivations_of("clear"), 1u);
  EXPECT_EQ(derivations_of("clear"), 0u);
}

TEST(Exchange, IterationsBeyondTheLimitAreNeverRunForAClearPasswordT12) {
  Secret secret = secret_of(SecretKind::kScram);
  secret.scram.iterations = 2'000'000'000;
  const uint64_t before = client_keys().derivations();
  const auto verifier = make_client_verifier(Method::kPlain, "ann", &secret, kIterations);
  verifier->start();
  EXPECT_EQ(feed_through(*verifier, with_nul("pencil")).kind, Kind::kFailed);
  EXPECT_EQ(client_keys().derivations(), before);
}

// What somebody sees who tries a wrong password: every message in full but for what is random, and what it cost.
struct Seen {
  std::vector<std::string> messages;
  std::vector<Kind> kinds;
  bool violation = false;
  uint64_t derivations = 0;
  bool operator==(const Seen&) const = default;
};

Seen try_wrong_password(Method method, const char* user, const Secret* secret, const MockProfile& profile) {
  Seen seen;
  const uint64_t before = client_keys().derivations();
  const auto verifier = make_client_verifier(method, user, secret, kIterations, profile);
  const HandClient client;
  const auto note = [&seen](Step step) {
    seen.kinds.push_back(step.kind);
    seen.violation = seen.violation || step.protocol_violation;
    std::string text = step.bytes;
    const size_t nonce = text.find("r=clientnonce");
    if (nonce != std::string::npos) text.replace(nonce + 13, 24, "(24 of the server)");
    const size_t salt = text.find(",s=");
    if (salt != std::string::npos) text.replace(salt + 3, 24, "(16 bytes)");
    if (text.size() == 13 && text[8] == 5) text.replace(9, 4, "salt");
    seen.messages.push_back(text);
    return step;
  };
  Step step = note(verifier->start());
  const std::string request = body_of(step.bytes, wire::kAuthentication);
  if (wire::read32(request.data()) == static_cast<uint32_t>(AuthCode::kSasl)) {
    step = note(feed_through(*verifier, initial_response(client.first())));
    note(feed_through(*verifier, client.final(body_of(step.bytes, wire::kAuthentication).substr(4), "wrong")));
  } else if (wire::read32(request.data()) == static_cast<uint32_t>(AuthCode::kMd5Password)) {
    note(feed_through(*verifier, with_nul(md5_of("wrong", user))));
  } else {
    note(feed_through(*verifier, with_nul("wrong")));
  }
  seen.derivations = client_keys().derivations() - before;
  return seen;
}

TEST(Exchange, UnknownUserReadsAndCostsAsAWrongPasswordT3) {
  for (const Method method : kMethods) {
    for (const SecretKind kind : kSecrets) {
      if (!serves(method, kind)) continue;
      SCOPED_TRACE(testing::Message() << "method " << static_cast<int>(method) << " secrets "
                                      << static_cast<int>(kind));
      const Secret secret = secret_of(kind), empty;
      const MockProfile profile = most_common_profile({&secret});
      try_wrong_password(method, "ann", &secret, profile);  // the first attempt may derive the known user's keys
      const Seen known = try_wrong_password(method, "ann", &secret, profile);
      EXPECT_EQ(known.kinds.back(), Kind::kFailed);
      EXPECT_FALSE(known.violation);
      EXPECT_EQ(try_wrong_password(method, "bob", nullptr, profile), known);
      EXPECT_EQ(try_wrong_password(method, "bob", &empty, profile), known);
    }
  }
}

TEST(Exchange, UnknownUserWithoutAProfileFollowsTheMethod) {
  const Secret scram = secret_of(SecretKind::kScram), md5 = secret_of(SecretKind::kMd5),
               plain = secret_of(SecretKind::kPlain);
  EXPECT_EQ(try_wrong_password(Method::kScramSha256, "bob", nullptr, {}),
            try_wrong_password(Method::kScramSha256, "ann", &scram, {}));
  EXPECT_EQ(try_wrong_password(Method::kMd5, "bob", nullptr, {}), try_wrong_password(Method::kMd5, "ann", &md5, {}));
  EXPECT_EQ(try_wrong_password(Method::kPlain, "bob", nullptr, {}),
            try_wrong_password(Method::kPlain, "ann", &plain, {}));
  // A user whose md5 secret cannot serve reads like an unknown one too.
  EXPECT_EQ(try_wrong_password(Method::kScramSha256, "ann", &md5, {}),
            try_wrong_password(Method::kScramSha256, "bob", nullptr, {}));
}

std::string salt_sent(std::string_view user, const Secret* secret) {
  const auto verifier = make_client_verifier(Method::kScramSha256, user, secret, kIterations);
  verifier->start();
  const std::string first =
      body_of(feed_through(*verifier, initial_response(HandClient().first())).bytes, wire::kAuthentication);
  const size_t at = first.find(",s=") + 3;
  return first.substr(at, first.find(',', at) - at);
}

TEST(Exchange, SaltsStayAndTellNothingT3) {
  const Secret plain = secret_of(SecretKind::kPlain), scram = secret_of(SecretKind::kScram);
  EXPECT_EQ(salt_sent("bob", nullptr), salt_sent("bob", nullptr));
  EXPECT_EQ(salt_sent("ann", &plain), salt_sent("ann", &plain));
  EXPECT_EQ(salt_sent("ann", &scram), salt_sent("ann", &scram));
  EXPECT_NE(salt_sent("bob", nullptr), salt_sent("eve", nullptr));
  EXPECT_NE(salt_sent("ann", &plain), salt_sent("joe", &plain));  // the same password does not give the same salt
}

TEST(Exchange, NoncesAndMd5SaltsAreFresh) {
  const Secret md5 = secret_of(SecretKind::kMd5);
  EXPECT_NE(make_client_verifier(Method::kMd5, "ann", &md5, 1)->start().bytes,
            make_client_verifier(Method::kMd5, "ann", &md5, 1)->start().bytes);
  std::set<std::string> nonces;
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(nonces.insert(make_nonce()).second);
}

// The right password of the mock's own making does not help either: nobody can know it, but the flag must hold alone.
TEST(Exchange, MissingUserFailsWhateverTheProofSays) {
  const Secret none;
  for (const Method method : kMethods) {
    const auto verifier = make_client_verifier(method, "ann", &none, kIterations);
    const Outcome outcome = couple(*verifier, *make_server_login("ann", {parse_secret("pencil"), {}}));
    EXPECT_EQ(outcome.client_side.kind, Kind::kFailed);
    EXPECT_EQ(outcome.client_side.reason, "the user has no password");
  }
}

}  // namespace
}  // namespace berth::auth
