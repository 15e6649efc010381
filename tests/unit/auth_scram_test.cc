// Goal: SCRAM messages that follow the grammar are taken to the letter of the RFCs, and all others end the exchange,
// in either direction (T7, T8, T12, T13). Method: RFC 7677's example; every truncation and every changed byte of good
// messages; lists of bad ones.
#include <memory>

#include "auth/limits.h"
#include "auth/scram_client.h"
#include "auth/scram_server.h"
#include "unit/auth_support.h"

namespace berth::auth {
namespace {

using Kind = Step::Kind;

constexpr std::string_view kClientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view kServerFirst =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
constexpr std::string_view kClientFinal =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr std::string_view kServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

std::string rfc7677_salt() {
  std::string salt;
  EXPECT_TRUE(base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==", salt));
  return salt;
}
ScramServer rfc7677_server() {
  return ScramServer(rfc7677_salt(), 4096, std::string(kServerNonce));
}

TEST(ScramServerTest, Rfc7677) {
  ScramServer server = rfc7677_server();
  const ScramSecret secret = make_scram_secret("pencil", rfc7677_salt(), 4096);
  EXPECT_EQ(server.client_first(kClientFirst).value(), kServerFirst);
  const Result<Digest> proof = server.client_final(kClientFinal);
  ASSERT_TRUE(proof.ok());
  Digest key;
  EXPECT_TRUE(server.proves(proof.value(), secret.stored_key, key));
  EXPECT_EQ(key, client_key(salted_password("pencil", rfc7677_salt(), 4096)));
  EXPECT_EQ(server.server_final(secret.server_key), kServerFinal);
}

// RFC 5802's example is of SHA-1: its messages before the proof hold for every hash.
TEST(ScramServerTest, Rfc5802FirstMessages) {
  std::string salt;
  ASSERT_TRUE(base64_decode("QSXCR+Q6sek8bf92", salt));
  ScramServer server(salt, 4096, "3rfcNHYJY1ZVvWVs7j");
  EXPECT_EQ(server.client_first("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL").value(),
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
}

TEST(ScramServerTest, FirstMessagesThatAreGood) {
  for (const char* message : {"n,,n=,r=x", "y,,n=,r=x", "n,,n=a=2Cb,r=!~", "n,,n=,r=x,z=ext",
                              "n,,n=,r=x,z=,Y==,"
                              "q=1"}) {
    EXPECT_TRUE(rfc7677_server().client_first(message).ok()) << message;
  }
  EXPECT_TRUE(rfc7677_server().client_first("n,,n=,r=" + std::string(kScramNonceSizeMax, 'x')).ok());
}

TEST(ScramServerTest, FirstMessagesThatAreBadT13) {
  const std::string kBad[] = {"",
                              "n",
                              "n,",
                              "n,,",
                              "n,,n=",
                              "n,,n=,",
                              "n,,n=,r",
                              "n,,n=,r=",
                              "n,,r=x",
                              "n,,r=x,n=",
                              "n,,n=,r=x,",
                              "n,,n=,r=x,y",
                              "n,,n=,r=x,1=y",
                              "n,a=z,n=,r=x",
                              "p=tls-unique,,n=,r=x",
                              "p,,n=,r=x",
                              "x,,n=,r=x",
                              "n;,n=,r=x",
                              "n,,m=e,n=,r=x",
                              "n,,n=,r=a b",
                              "n,,n=,r=a\x7f",
                              "n,,n=,r=\xc3\xa9",
                              ",,n=,r=x",
                              "N,,n=,r=x",
                              "n,,n=,s=x",
                              "nn,,n=,r=x"};
  for (const std::string& message : kBad) EXPECT_FALSE(rfc7677_server().client_first(message).ok()) << message;
  EXPECT_FALSE(rfc7677_server().client_first("n,,n=,r=" + std::string(kScramNonceSizeMax + 1, 'x')).ok());
  EXPECT_FALSE(rfc7677_server().client_first("n,,n=,r=x,e=" + std::string(kScramMessageSizeMax, 'x')).ok());
  EXPECT_FALSE(rfc7677_server().client_first(std::string_view("n,,n=,r=x\0", 10)).ok());
  EXPECT_FALSE(rfc7677_server().client_first(std::string_view("n,,n=\0,r=x", 10)).ok());
}

TEST(ScramServerTest, FinalMessagesThatAreBadT13) {
  const std::string nonce = "rOprNGfwEbeRWgbNEkqO" + std::string(kServerNonce);
  const std::string proof = base64_encode(std::string(32, 'p'));
  const std::string good = "c=biws,r=" + nonce + ",x=extension,p=" + proof;
  const std::string kBad[] = {"",
                              "c=biws",
                              "c=biws,",
                              "r=" + nonce + ",p=" + proof,
                              "c=biws,p=" + proof,
                              "c=biws,r=" + nonce,
                              "c=biws,r=" + nonce + ",",
                              "c=biws,r=" + nonce + ",p=",
                              "c=biws,r=" + nonce + ",p=" + proof + ",",
                              "c=biws,r=" + nonce + ",p=" + proof + ",x=y",
                              "c=biws,r=" + nonce + ",p=" + proof.substr(4),
                              "c=biws,r=" + nonce + ",p=" + base64_encode(std::string(33, 'p')),
                              "c=biws,r=" + nonce + ",p=" + std::string(44, '!'),
                              "c=biws,r=" + nonce + "x,p=" + proof,
                              "c=biws,r=" + nonce.substr(1) + ",p=" + proof,
                              "c=biws,r=,p=" + proof,
                              "c=eSws,r=" + nonce + ",p=" + proof,
                              "c=,r=" + nonce + ",p=" + proof,
                              "c=biwsbiws,r=" + nonce + ",p=" + proof,
                              good + '\0',
                              std::string(kScramMessageSizeMax + 1, 'c')};
  for (const std::string& message : kBad) {
    ScramServer server = rfc7677_server();
    ASSERT_TRUE(server.client_first(kClientFirst).ok());
    EXPECT_FALSE(server.client_final(message).ok()) << message.substr(0, 100);
  }
  ScramServer server = rfc7677_server();
  ASSERT_TRUE(server.client_first(kClientFirst).ok());
  EXPECT_TRUE(server.client_final(good).ok());
}

TEST(ScramServerTest, NoChangedByteProvesAnything) {
  const Digest stored = make_scram_secret("pencil", rfc7677_salt(), 4096).stored_key;
  for (size_t at = 0; at < kClientFinal.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string message(kClientFinal);
      message[at] = static_cast<char>(message[at] ^ 1 << bit);
      ScramServer server = rfc7677_server();
      ASSERT_TRUE(server.client_first(kClientFirst).ok());
      const Result<Digest> proof = server.client_final(message);
      Digest key;
      EXPECT_FALSE(proof.ok() && server.proves(proof.value(), stored, key)) << message;
    }
  }
}

// The bodies of a good exchange with a verifier, up to a step.
struct Reached {
  std::unique_ptr<ClientVerifier> verifier;
  Step last;
};
Reached reach_final(const Secret& secret, const HandClient& client) {
  Reached reached{make_client_verifier(Method::kScramSha256, "ann", &secret, 4096), {}};
  reached.verifier->start();
  reached.last = feed_through(*reached.verifier, initial_response(client.first()));
  EXPECT_EQ(reached.last.kind, Kind::kSend);
  return reached;
}

TEST(ScramVerifierTest, BothHeadersThatClientsSend) {
  const Secret secret = parse_secret(kPencilScram);
  for (const char* header : {"n,,", "y,,"}) {
    HandClient client;
    client.header = header;
    const Reached reached = reach_final(secret, client);
    const std::string server_first = body_of(reached.last.bytes, wire::kAuthentication).substr(4);
    EXPECT_EQ(feed_through(*reached.verifier, client.final(server_first, "pencil")).kind, Kind::kOk);
  }
}

TEST(ScramVerifierTest, EveryTruncationIsMalformedT7) {
  const Secret secret = parse_secret(kPencilScram);
  const HandClient client;
  const std::string initial = initial_response(client.first());
  for (size_t size = 0; size < initial.size(); ++size) {
    const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, 4096);
    verifier->start();
    const Step step = feed_through(*verifier, std::string_view(initial).substr(0, size));
    EXPECT_EQ(step.kind, Kind::kFailed) << size;
    EXPECT_TRUE(step.protocol_violation) << size;
  }
  const Reached whole = reach_final(secret, client);
  const std::string final = client.final(body_of(whole.last.bytes, wire::kAuthentication).substr(4), "pencil");
  for (size_t size = 0; size < final.size(); ++size) {
    const Reached reached = reach_final(secret, client);
    const std::string message =
        client.final(body_of(reached.last.bytes, wire::kAuthentication).substr(4), "pencil").substr(0, size);
    const Step step = feed_through(*reached.verifier, message);
    EXPECT_EQ(step.kind, Kind::kFailed) << size;
    EXPECT_TRUE(step.protocol_violation) << size;
  }
}

TEST(ScramVerifierTest, SizesOfTheInitialResponseT7) {
  const Secret secret = parse_secret(kPencilScram);
  const std::string first = HandClient().first();
  for (const uint32_t size :
       {0u, 1u, static_cast<uint32_t>(first.size()) - 1, static_cast<uint32_t>(first.size()) + 1, 0x7fffffffu,
        0x80000000u, 0xfffffffeu, 0xffffffffu}) {
    std::string body = with_nul(kScramMechanism);
    wire::put32(body, size);
    body += first;
    const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, 4096);
    verifier->start();
    EXPECT_TRUE(feed_through(*verifier, body).protocol_violation) << size;
  }
}

TEST(ScramVerifierTest, OnlyTheOfferedMechanism) {
  const Secret secret = parse_secret(kPencilScram);
  for (const char* mechanism : {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "", "scram-sha-256", "PLAIN"}) {
    const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, 4096);
    verifier->start();
    EXPECT_TRUE(feed_through(*verifier, initial_response(HandClient().first(), mechanism)).protocol_violation)
        << mechanism;
  }
}

TEST(ScramVerifierTest, FirstMessageInASecondResponse) {
  const Secret secret = parse_secret(kPencilScram);
  const HandClient client;
  std::string no_response = with_nul(kScramMechanism);
  wire::put32(no_response, UINT32_MAX);
  const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, 4096);
  verifier->start();
  const Step empty = feed_through(*verifier, no_response);
  EXPECT_EQ(body_of(empty.bytes, wire::kAuthentication), code_body(AuthCode::kSaslContinue));
  const Step first = feed_through(*verifier, client.first());
  const std::string server_first = body_of(first.bytes, wire::kAuthentication).substr(4);
  EXPECT_EQ(feed_through(*verifier, client.final(server_first, "pencil")).kind, Kind::kOk);
}

TEST(ScramVerifierTest, APasswordInPlaceOfSaslIsMalformed) {
  const Secret secret = parse_secret(kPencilScram);
  const auto verifier = make_client_verifier(Method::kScramSha256, "ann", &secret, 4096);
  verifier->start();
  EXPECT_TRUE(feed_through(*verifier, with_nul("pencil")).protocol_violation);
}

TEST(PasswordVerifierTest, MalformedBodiesT7T13) {
  for (const Method method : {Method::kPlain, Method::kMd5}) {
    const Secret secret = parse_secret("pencil");
    for (const std::string& body :
         {std::string(), std::string("pencil"), std::string("pencil\0x", 8), std::string("pencil\0\0", 8),
          std::string("\0pencil\0", 8), std::string("\0\0", 2), with_nul(std::string(kPasswordSizeMax + 1, 'x'))}) {
      const auto verifier = make_client_verifier(method, "ann", &secret, 4096);
      verifier->start();
      const Step step = feed_through(*verifier, body);
      EXPECT_EQ(step.kind, Kind::kFailed);
      EXPECT_TRUE(step.protocol_violation) << body.size();
    }
  }
}

}  // namespace
}  // namespace berth::auth
