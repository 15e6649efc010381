// Goal: the broker logs in only to a server that keeps to the protocol, proves itself where SCRAM lets it, and asks
// for nothing that would cost us without bound (T8, T12). Method: a server written by hand.
#include <algorithm>

#include "auth/key_cache.h"
#include "auth/limits.h"
#include "unit/auth_support.h"

namespace berth::auth {
namespace {

using Kind = Step::Kind;

Proof plain_proof() {
  return {parse_secret("pencil"), {}};
}

std::string sasl(std::string_view list = std::string_view("SCRAM-SHA-256\0\0", 15)) {
  return code_body(AuthCode::kSasl, list);
}

// A login that has sent its client-first-message, whose nonce is `nonce`.
struct Started {
  std::unique_ptr<ServerLogin> login;
  std::string nonce;
};
Started start_scram(const Proof& proof) {
  Started started{make_server_login("ann", proof), {}};
  const Step step = feed_through(*started.login, sasl());
  EXPECT_EQ(step.kind, Kind::kSend) << step.reason;
  const std::string body = body_of(step.bytes, wire::kPassword);
  started.nonce = body.substr(body.find(",r=") + 3);
  return started;
}

Step server_first(const Started& started, std::string_view text) {
  return feed_through(*started.login, code_body(AuthCode::kSaslContinue, text));
}

TEST(ServerLoginTest, ScramToTheLetter) {
  const std::string salt = "0123456789abcdef";
  const Started started = start_scram(plain_proof());
  EXPECT_EQ(started.nonce.size(), 24u);
  const std::string first = "r=" + started.nonce + "server,s=" + base64_encode(salt) + ",i=4096";
  const Step answer = server_first(started, first);
  ASSERT_EQ(answer.kind, Kind::kSend) << answer.reason;
  const std::string final = body_of(answer.bytes, wire::kPassword);
  HandClient same;  // an independent computation of the same message
  same.nonce = started.nonce;
  EXPECT_EQ(final, same.final(first, "pencil"));
  const Digest key = make_scram_secret("pencil", salt, 4096).server_key;
  const Digest signature =
      hmac_sha256(view_of(key), {same.bare(), ",", first, ",", final.substr(0, final.find(",p="))});
  const Step verified =
      feed_through(*started.login, code_body(AuthCode::kSaslFinal, "v=" + base64_encode(view_of(signature))));
  EXPECT_EQ(verified.kind, Kind::kSend) << verified.reason;
  EXPECT_EQ(verified.bytes, "");
  EXPECT_EQ(feed_through(*started.login, code_body(AuthCode::kOk)).kind, Kind::kOk);
  EXPECT_EQ(feed_through(*started.login, code_body(AuthCode::kOk)).kind, Kind::kFailed);
}

TEST(ServerLoginTest, TrustClearAndMd5) {
  EXPECT_EQ(feed_through(*make_server_login("ann", {}), code_body(AuthCode::kOk)).kind, Kind::kOk);
  auto login = make_server_login("ann", plain_proof());
  EXPECT_EQ(body_of(feed_through(*login, code_body(AuthCode::kCleartextPassword)).bytes, wire::kPassword),
            with_nul("pencil"));
  EXPECT_EQ(feed_through(*login, code_body(AuthCode::kOk)).kind, Kind::kOk);
  for (const Secret& secret : {parse_secret("pencil"), parse_secret(md5_of("pencil", "ann"))}) {
    login = make_server_login("ann", {secret, {}});
    std::string expected;
    ASSERT_TRUE(md5_response(md5_of("pencil", "ann"), "salt", expected));
    EXPECT_EQ(body_of(feed_through(*login, code_body(AuthCode::kMd5Password, "salt")).bytes, wire::kPassword),
              with_nul(expected));
    EXPECT_EQ(feed_through(*login, code_body(AuthCode::kOk)).kind, Kind::kOk);
  }
}

TEST(ServerLoginTest, RequestsThatTheProofCannotAnswer) {
  const Secret scram = parse_secret(kPencilScram), md5 = parse_secret(md5_of("pencil", "ann"));
  const std::pair<Proof, std::string> kCases[] = {
      {Proof{}, code_body(AuthCode::kCleartextPassword)},
      {Proof{md5, {}}, code_body(AuthCode::kCleartextPassword)},
      {Proof{scram, {}}, code_body(AuthCode::kCleartextPassword)},
      {Proof{}, code_body(AuthCode::kMd5Password, "salt")},
      {Proof{scram, {}}, code_body(AuthCode::kMd5Password, "salt")},
      {Proof{}, sasl()},
      {Proof{md5, {}}, sasl()},
      {Proof{scram, {}}, sasl()},
  };
  for (const auto& [proof, body] : kCases) {
    const Step step = feed_through(*make_server_login("ann", proof), body);
    EXPECT_EQ(step.kind, Kind::kFailed);
    EXPECT_FALSE(step.protocol_violation);
    EXPECT_NE(step.reason, "");
    EXPECT_EQ(step.bytes, "");
  }
}

// A clear password beside the secret is for the requests that the secret cannot answer, and for no other.
TEST(ServerLoginTest, TheOtherPassword) {
  const Secret scram = parse_secret(kPencilScram), md5 = parse_secret(md5_of("pencil", "ann"));
  const auto answer = [](const Secret& secret, const std::string& request) {
    const Step step = feed_through(*make_server_login("ann", Proof{secret, {}, "other"}), request);
    EXPECT_EQ(step.kind, Kind::kSend) << step.reason;
    return body_of(step.bytes, wire::kPassword);
  };
  std::string of_secret, of_other;
  ASSERT_TRUE(md5_response(md5.text.view(), "salt", of_secret));
  ASSERT_TRUE(md5_response(md5_of("other", "ann"), "salt", of_other));
  EXPECT_EQ(answer(md5, code_body(AuthCode::kMd5Password, "salt")), with_nul(of_secret));
  EXPECT_EQ(answer(scram, code_body(AuthCode::kMd5Password, "salt")), with_nul(of_other));
  EXPECT_EQ(answer({}, code_body(AuthCode::kMd5Password, "salt")), with_nul(of_other));
  for (const Secret& secret : {scram, md5, Secret{}}) {
    EXPECT_EQ(answer(secret, code_body(AuthCode::kCleartextPassword)), with_nul("other"));
    EXPECT_NE(answer(secret, sasl()), "");
  }
  EXPECT_EQ(answer(parse_secret("pencil"), code_body(AuthCode::kCleartextPassword)), with_nul("pencil"));
}

TEST(ServerLoginTest, MethodsThatWeDoNotHaveAreNamed) {
  const std::pair<uint32_t, const char*> kMethods[] = {{2, "Kerberos V5"}, {4, "crypt"},           {6, "SCM"},
                                                       {7, "GSSAPI"},      {8, "GSSAPI"},          {9, "SSPI"},
                                                       {13, "unknown"},    {0x7fffffff, "unknown"}};
  for (const auto& [code, name] : kMethods) {
    const Step step =
        feed_through(*make_server_login("ann", plain_proof()), code_body(static_cast<AuthCode>(code), "xxxx"));
    EXPECT_EQ(step.kind, Kind::kFailed);
    EXPECT_NE(step.reason.find(name), std::string::npos) << step.reason;
  }
  for (const std::string_view list : {std::string_view("SCRAM-SHA-256-PLUS\0\0", 20),
                                      std::string_view("OAUTHBEARER\0\0", 13), std::string_view("\0", 1)}) {
    const Step step = feed_through(*make_server_login("ann", plain_proof()), sasl(list));
    EXPECT_EQ(step.kind, Kind::kFailed);
    EXPECT_FALSE(step.protocol_violation);
  }
  EXPECT_EQ(feed_through(*make_server_login("ann", plain_proof()),
                         sasl(std::string_view("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0", 34)))
                .kind,
            Kind::kSend);
}

TEST(ServerLoginTest, MalformedRequestsT7T24) {
  for (const std::string& body :
       {std::string(), std::string("\0\0\0", 3), code_body(AuthCode::kOk, "x"),
        code_body(AuthCode::kCleartextPassword, "x"), code_body(AuthCode::kMd5Password),
        code_body(AuthCode::kMd5Password, "sal"), code_body(AuthCode::kMd5Password, "salty"), sasl(""),
        sasl("SCRAM-SHA-256"), sasl(std::string_view("SCRAM-SHA-256\0", 14)),
        sasl(std::string_view("SCRAM-SHA-256\0\0x", 16)), sasl(std::string_view("\0x", 2))}) {
    const Step step = feed_through(*make_server_login("ann", plain_proof()), body);
    EXPECT_EQ(step.kind, Kind::kFailed) << body.size();
    EXPECT_TRUE(step.protocol_violation) << body.size();
  }
}

TEST(ServerLoginTest, FirstMessagesThatAreBadT8T12) {
  const std::string salt = base64_encode("0123456789abcdef");
  const uint64_t before = server_keys().derivations();
  const auto bad = [](auto make) {
    const Started started = start_scram(plain_proof());
    const Step step = server_first(started, make(started.nonce));
    EXPECT_EQ(step.kind, Kind::kFailed) << make(started.nonce).substr(0, 200);
    EXPECT_TRUE(step.protocol_violation);
    EXPECT_LT(step.reason.size(), 200u);
  };
  for (const char* count :
       {"0", "-1", "+1", "", " 1", "1 ", "01", "1x", "0x10", "1000001", "2147483647", "2147483648", "4294967295",
        "4294967296", "18446744073709551616", "99999999999999999999999999"}) {
    bad([&](const std::string& nonce) { return "r=" + nonce + "s,s=" + salt + ",i=" + count; });
  }
  using Text = std::string;
  bad([&](const Text&) { return Text(); });
  bad([&](const Text& nonce) { return "r=" + nonce + "s"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=" + salt; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,i=4096"; });
  bad([&](const Text& nonce) { return "s=" + salt + ",r=" + nonce + "s,i=4096"; });
  bad([&](const Text& nonce) { return "m=x,r=" + nonce + "s,s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=" + salt + ",i=4096,"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=" + salt + ",i=4096,x=y"; });
  bad([&](const Text& nonce) { return "r=" + nonce + ",s=" + salt + ",i=4096"; });
  bad([&](const Text&) { return "r=,s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=x" + nonce + ",s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce.substr(1) + "server,s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "a b,s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "\xff,s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + Text(kScramNonceSizeMax, 'x') + ",s=" + salt + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=,i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=*,i=4096"; });
  bad([&](const Text& nonce) {
    return "r=" + nonce + "s,s=" + base64_encode(Text(kScramSaltSizeMax + 1, 's')) + ",i=4096";
  });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=" + salt + ",i=4096" + '\0'; });
  bad([&](const Text& nonce) { return "r=" + nonce + "s,s=" + salt + '\0' + ",i=4096"; });
  bad([&](const Text& nonce) { return "r=" + nonce + Text(kScramMessageSizeMax, 'x'); });
  EXPECT_EQ(server_keys().derivations(), before);
}

TEST(ServerLoginTest, FirstMessagesAtTheLimits) {
  const Started started = start_scram(plain_proof());
  const std::string nonce = started.nonce + std::string(kScramNonceSizeMax - started.nonce.size(), 'x');
  const Step step =
      server_first(started, "r=" + nonce + ",s=" + base64_encode(std::string(kScramSaltSizeMax, 's')) + ",i=1");
  EXPECT_EQ(step.kind, Kind::kSend) << step.reason;
}

TEST(ServerLoginTest, EveryTruncationOfTheFirstMessageFails) {
  const std::string salt = base64_encode("0123456789abcdef");
  const size_t size = ("r=" + make_nonce() + "server,s=" + salt + ",i=").size();
  for (size_t kept = 0; kept <= size; ++kept) {
    const Started started = start_scram(plain_proof());
    const std::string whole = "r=" + started.nonce + "server,s=" + salt + ",i=4096";
    EXPECT_EQ(server_first(started, whole.substr(0, kept)).kind, Kind::kFailed) << kept;
  }
}

TEST(ServerLoginTest, FinalMessagesThatAreBadT8) {
  const std::string kBad[] = {"",
                              "v=",
                              "v",
                              "x=y",
                              "v=" + base64_encode(std::string(32, 'v')),
                              "v=" + base64_encode(std::string(31, 'v')),
                              "v=" + base64_encode(std::string(33, 'v')),
                              "v=" + std::string(60000, 'v'),
                              "e=invalid-proof",
                              "e=",
                              "e=\x1b[31m\n" + std::string(60000, 'e'),
                              "v=" + base64_encode(std::string(32, 'v')) + ",x=y",
                              std::string("v=\0", 3)};
  for (const std::string& message : kBad) {
    const Started started = start_scram(plain_proof());
    ASSERT_EQ(server_first(started, "r=" + started.nonce + "s,s=c2FsdA==,i=1").kind, Kind::kSend);
    const Step step = feed_through(*started.login, code_body(AuthCode::kSaslFinal, message));
    EXPECT_EQ(step.kind, Kind::kFailed) << message.substr(0, 100);
    EXPECT_LT(step.reason.size(), 200u);
    EXPECT_EQ(step.reason.find('\x1b'), std::string::npos);
    EXPECT_EQ(step.reason.find('\n'), std::string::npos);
    EXPECT_EQ(feed_through(*started.login, code_body(AuthCode::kOk)).kind, Kind::kFailed);
  }
}

TEST(ServerLoginTest, NoChangedBitOfTheServersProofPasses) {
  const Secret secret = parse_secret(kPencilScram);
  for (int bit = 0; bit < 256; ++bit) {
    const auto server = make_client_verifier(Method::kScramSha256, "ann", &secret, 4096);
    const auto login = make_server_login("ann", plain_proof());
    const Outcome outcome = couple(*server, *login, [bit](std::string message) {
      if (message.size() < 4 || wire::read32(message.data()) != static_cast<uint32_t>(AuthCode::kSaslFinal))
        return message;
      std::string raw;
      EXPECT_TRUE(base64_decode(std::string_view(message).substr(6), raw));
      raw[static_cast<size_t>(bit) / 8] = static_cast<char>(raw[static_cast<size_t>(bit) / 8] ^ 1 << bit % 8);
      return message.substr(0, 6) + base64_encode(raw);
    });
    EXPECT_EQ(outcome.server_side.kind, Kind::kFailed);
    EXPECT_NE(outcome.server_side.reason.find("wrong signature"), std::string::npos) << outcome.server_side.reason;
  }
}

// Each state of a login, and every message that must not come there.
TEST(ServerLoginTest, OrderT2) {
  struct Place {
    const char* name;
    std::vector<AuthCode> allowed;
  };
  const Place kPlaces[] = {
      {"start", {AuthCode::kOk, AuthCode::kCleartextPassword, AuthCode::kMd5Password, AuthCode::kSasl}},
      {"password", {AuthCode::kOk}},
      {"md5", {AuthCode::kOk}},
      {"sasl", {AuthCode::kSaslContinue}},
      {"continue", {AuthCode::kSaslFinal}},
      {"over", {}}};
  const AuthCode kCodes[] = {AuthCode::kOk,   AuthCode::kCleartextPassword, AuthCode::kMd5Password,
                             AuthCode::kSasl, AuthCode::kSaslContinue,      AuthCode::kSaslFinal};
  for (const Place& place : kPlaces) {
    for (const AuthCode code : kCodes) {
      const std::string name = place.name;
      std::string rest;
      Started started{make_server_login("ann", plain_proof()), {}};
      if (name == "password") feed_through(*started.login, code_body(AuthCode::kCleartextPassword));
      if (name == "md5") feed_through(*started.login, code_body(AuthCode::kMd5Password, "salt"));
      if (name == "sasl" || name == "continue") started = start_scram(plain_proof());
      if (name == "continue") server_first(started, "r=" + started.nonce + "s,s=c2FsdA==,i=1");
      if (name == "over") feed_through(*started.login, code_body(AuthCode::kOk));
      if (code == AuthCode::kMd5Password) rest = "salt";
      if (code == AuthCode::kSasl) rest = std::string("SCRAM-SHA-256\0\0", 15);
      if (code == AuthCode::kSaslContinue) rest = "r=" + started.nonce + "s,s=c2FsdA==,i=1";
      if (code == AuthCode::kSaslFinal) continue;  // its content decides: FinalMessagesThatAreBadT8; before, below
      const bool allowed = std::find(place.allowed.begin(), place.allowed.end(), code) != place.allowed.end();
      const Step step = feed_through(*started.login, code_body(code, rest));
      EXPECT_EQ(step.kind != Kind::kFailed, allowed) << name << " " << static_cast<int>(code) << " " << step.reason;
      if (!allowed) {
        EXPECT_TRUE(step.protocol_violation) << name << " " << static_cast<int>(code);
        // What failed once does not recover.
        EXPECT_EQ(feed_through(*started.login, code_body(AuthCode::kOk)).kind, Kind::kFailed);
      }
    }
    if (std::string_view(place.name) != "continue") {
      Started started{make_server_login("ann", plain_proof()), {}};
      if (std::string_view(place.name) == "sasl") started = start_scram(plain_proof());
      EXPECT_TRUE(feed_through(*started.login, code_body(AuthCode::kSaslFinal, "v=x")).protocol_violation);
    }
  }
}

}  // namespace
}  // namespace berth::auth
