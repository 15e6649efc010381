// Goal: SCRAM-SHA-256-PLUS on both sides, and that nobody in between can take it away (T31). Method: our client's and
// our server's machine against each other with every wish, and messages written by hand.
#include <gtest/gtest.h>

#include "auth/scram_server.h"
#include "unit/auth_support.h"

namespace berth::auth {
namespace {

using Kind = Step::Kind;

constexpr std::string_view kHash = "thirty-two bytes of certificate.";
constexpr std::string_view kOther = "thirty-two bytes of another one.";
const std::string kBoth = std::string("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0", 34);

Proof pencil() {
  return {parse_secret("pencil"), {}};
}

std::unique_ptr<ClientVerifier> verifier(std::string_view binding) {
  static const Secret secret = parse_secret(std::string(kPencilScram));
  return make_client_verifier(Method::kScramSha256, "ann", &secret, 4096, {}, binding);
}

Outcome login_with(std::string_view ours, std::string_view theirs, BindingWish wish) {
  const auto server = verifier(ours);
  const auto login = make_server_login("ann", pencil(), {wish, std::string(theirs)});
  return couple(*server, *login);
}

TEST(ChannelBinding, EveryWishAndOffer) {
  for (const std::string_view offered : {std::string_view(), kHash}) {
    for (const std::string_view seen : {std::string_view(), kHash}) {
      for (const BindingWish wish : {BindingWish::kDisable, BindingWish::kPrefer, BindingWish::kRequire}) {
        const bool possible = !offered.empty() && !seen.empty();
        const Outcome outcome = login_with(offered, seen, wish);
        EXPECT_EQ(outcome.both_ok(), possible || wish != BindingWish::kRequire)
            << offered << "/" << seen << "/" << static_cast<int>(wish) << outcome.client_side.reason
            << outcome.server_side.reason;
      }
    }
  }
}

// Somebody in between has a certificate of his own, so each side sees another hash.
TEST(ChannelBinding, AnotherConnectionIsNoticed) {
  const Outcome outcome = login_with(kHash, kOther, BindingWish::kPrefer);
  EXPECT_EQ(outcome.client_side.kind, Kind::kFailed);
  EXPECT_FALSE(outcome.client_side.protocol_violation) << "as a wrong password, not as a broken message";
  EXPECT_NE(outcome.client_side.reason.find("another TLS connection"), std::string::npos);
}

// Who takes the bound mechanism off the list makes the client say `y`, which is in the proof.
TEST(ChannelBinding, TakingTheOfferAwayIsNoticed) {
  const auto server = verifier(kHash);
  const auto login = make_server_login("ann", pencil(), {BindingWish::kPrefer, std::string(kHash)});
  const Outcome outcome = couple(*server, *login, [](std::string message) {
    const size_t at = message.find("SCRAM-SHA-256-PLUS");
    if (at == 4) message.erase(at, 19);
    return message;
  });
  EXPECT_EQ(outcome.client_side.kind, Kind::kFailed);
  EXPECT_NE(outcome.client_side.reason.find("believes that it is not offered"), std::string::npos)
      << outcome.client_side.reason;
}

TEST(ChannelBinding, WhatIsOffered) {
  EXPECT_EQ(body_of(verifier(kHash)->start().bytes, wire::kAuthentication), code_body(AuthCode::kSasl, kBoth));
  EXPECT_EQ(body_of(verifier("")->start().bytes, wire::kAuthentication),
            code_body(AuthCode::kSasl, std::string_view("SCRAM-SHA-256\0\0", 15)));
}

// By hand: mechanism, gs2 header, and whether the first message is taken.
TEST(ChannelBinding, HeadersOfClients) {
  struct Case {
    std::string_view mechanism, header;
    bool offered, good;
  };
  const std::string_view plain = kScramMechanism, plus = kScramPlusMechanism;
  const Case cases[] = {{plain, "n,,", true, true},
                        {plain, "y,,", true, false},
                        {plain, "n,,", false, true},
                        {plain, "y,,", false, true},
                        {plus, "n,,", true, false},
                        {plus, "y,,", true, false},
                        {plus, kPlusHeader, true, true},
                        {plain, kPlusHeader, true, false},
                        {plus, kPlusHeader, false, false},
                        {plus, "p=tls-unique,,", true, false},
                        {plus, "p=tls-server-end-point", true, false},
                        {plus, "p=tls-server-end-point,", true, false},
                        {plus, "p=tls-server-end-point,a=x,", true, false},
                        {plus, "p=tls-server-end-pointy,,", true, false},
                        {plus, "p", true, false},
                        {plus, "p,,", true, false}};
  for (const Case& one : cases) {
    const auto server = verifier(one.offered ? kHash : "");
    ASSERT_EQ(server->start().kind, Kind::kSend);
    const Step step = server->feed(initial_response(std::string(one.header) + "n=,r=nonce", one.mechanism));
    EXPECT_EQ(step.kind == Kind::kSend, one.good) << one.mechanism << " " << one.header << " " << step.reason;
    EXPECT_EQ(step.protocol_violation, !one.good);
  }
}

// What stands in front of the message is none of it.
TEST(ChannelBinding, AHeaderOfOneByte) {
  for (const std::string_view text : {",n,,", ",y,,"}) {
    ScramServer server("salt", 1, "nonce");
    const Result<std::string> answer = server.client_first(text.substr(1, 1));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().text, "malformed SCRAM message: too short for a header");
  }
}

// T31: require means require, whatever the server asks for or does not ask for.
TEST(ChannelBinding, RequireRefusesEveryOtherWay) {
  const std::string sasl = code_body(AuthCode::kSasl, std::string_view("SCRAM-SHA-256\0\0", 15));
  for (const std::string_view hash : {std::string_view(), kHash}) {
    for (const std::string& request : {code_body(AuthCode::kOk), code_body(AuthCode::kCleartextPassword),
                                       code_body(AuthCode::kMd5Password, "salt"), sasl}) {
      const auto login = make_server_login("ann", pencil(), {BindingWish::kRequire, std::string(hash)});
      const Step step = login->feed(request);
      EXPECT_EQ(step.kind, Kind::kFailed);
      EXPECT_EQ(step.bytes, "") << "no proof is shown to it";
    }
  }
  const auto without = make_server_login("ann", pencil(), {BindingWish::kRequire, {}});
  EXPECT_EQ(without->feed(code_body(AuthCode::kSasl, kBoth)).kind, Kind::kFailed);
}

// A server that offers only the bound mechanism to somebody who cannot bind.
TEST(ChannelBinding, OnlyTheBoundMechanism) {
  const std::string only = code_body(AuthCode::kSasl, std::string_view("SCRAM-SHA-256-PLUS\0\0", 20));
  const auto cannot = make_server_login("ann", pencil(), {BindingWish::kPrefer, {}});
  EXPECT_EQ(cannot->feed(only).kind, Kind::kFailed);
  const auto can = make_server_login("ann", pencil(), {BindingWish::kPrefer, std::string(kHash)});
  const Step step = can->feed(only);
  EXPECT_EQ(step.kind, Kind::kSend);
  EXPECT_TRUE(body_of(step.bytes, wire::kPassword).starts_with(with_nul("SCRAM-SHA-256-PLUS")));
}

// The client's final message says what it is bound to.
TEST(ChannelBinding, TheHashIsInTheMessage) {
  const auto login = make_server_login("ann", {{}, {true, {}, {}}}, {BindingWish::kPrefer, std::string(kHash)});
  const Step first = login->feed(code_body(AuthCode::kSasl, kBoth));
  const std::string body = body_of(first.bytes, wire::kPassword);
  EXPECT_NE(body.find(std::string(kPlusHeader) + "n=,r="), std::string::npos);
  const std::string nonce = body.substr(body.find("r=") + 2);
  const Step final = login->feed(
      code_body(AuthCode::kSaslContinue, "r=" + nonce + "more,s=" + base64_encode("0123456789abcdef") + ",i=4096"));
  ASSERT_EQ(final.kind, Kind::kSend) << final.reason;
  const std::string expected = "c=" + base64_encode(std::string(kPlusHeader) + std::string(kHash)) + ",r=";
  EXPECT_TRUE(body_of(final.bytes, wire::kPassword).starts_with(expected));
}

}  // namespace
}  // namespace berth::auth
