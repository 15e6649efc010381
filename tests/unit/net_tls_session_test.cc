// Goal: whatever way the bytes of TLS arrive, both sides read what the other wrote, whole, in order, and nothing that
// was not written; what is no TLS, or was changed, cut off or not asked for ends the session and shows no byte.
// Method: two sessions, or one and OpenSSL alone, without a socket.
#include "net/tls_session.h"

#include <algorithm>

#include "base/random.h"
#include "unit/seeds.h"
#include "unit/tls_support.h"

namespace berth::net {
namespace {

using State = TlsSession::State;

std::string bytes_of(Random& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.next());
  return bytes;
}

class TlsVersions : public testing::TestWithParam<int> {
 protected:
  Ctx server_ = server_context(GetParam());
  Ctx client_ = client_context(GetParam());
  std::unique_ptr<TlsSession> accepting_ = TlsSession::accepting(server_.get(), false);
  std::string plain_, out_;
};
INSTANTIATE_TEST_SUITE_P(Tls, TlsVersions, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& info) { return info.param == TLS1_2_VERSION ? "tls12" : "tls13"; });

// One end of a talk between two sessions, which gets its bytes in pieces.
struct End {
  std::unique_ptr<TlsSession> session;
  std::string to_come, got, wrote;

  void hear(End& other, size_t most, Random& random) {
    const size_t size = std::min(to_come.size(), most == 0 ? random.below(5000) + 1 : most);
    std::string out;
    const TlsSession::Fed fed = feed(*session, to_come.substr(0, size), got, out);
    EXPECT_EQ("", fed.error);
    to_come.erase(0, size);
    other.to_come += out;
  }
  void write(End& other, std::string bytes) {
    other.to_come += encrypt(*session, bytes);
    wrote += bytes;
  }
};

TEST_P(TlsVersions, AnyChunkingBothWays) {
  SEEDED(random);
  for (size_t chunk : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{100}, size_t{4096}, size_t{0}}) {
    End a{TlsSession::accepting(server_.get(), false), {}, {}, {}};
    End b{TlsSession::connecting(client_.get()), {}, {}, {}};
    b.hear(a, 1, random);
    int writes = 0;
    for (int step = 0; step < 1'000'000 && (writes < 20 || !a.to_come.empty() || !b.to_come.empty()); ++step) {
      a.hear(b, chunk, random);
      b.hear(a, chunk, random);
      if (!a.session->established() || !b.session->established() || writes == 20) continue;
      a.write(b, bytes_of(random, random.below(chunk - 1 < 99 ? 300 : 20000)));
      b.write(a, bytes_of(random, random.below(chunk - 1 < 99 ? 300 : 20000)));
      ++writes;
    }
    EXPECT_EQ(20, writes);
    EXPECT_EQ(a.wrote, b.got);
    EXPECT_EQ(b.wrote, a.got);
  }
}

// Every cut of a record, with a second one behind it.
TEST_P(TlsVersions, EveryCutOfTwoRecords) {
  RawPeer peer(client_.get());
  ASSERT_TRUE(shake_hands(*accepting_, peer));
  for (size_t cut = 0;; ++cut) {
    peer.write("first record");
    peer.write("the second");
    const std::string cipher = peer.say();
    if (cut > cipher.size()) break;
    plain_.clear();
    EXPECT_EQ("", feed(*accepting_, cipher.substr(0, cut), plain_, out_).error);
    EXPECT_TRUE(std::string_view("first recordthe second").starts_with(plain_));
    EXPECT_EQ("", feed(*accepting_, cipher.substr(cut), plain_, out_).error);
    EXPECT_EQ("first recordthe second", plain_);
  }
}

// Each at most kRecordMost long, whatever the pieces are, and small pieces in one.
TEST_P(TlsVersions, RecordsOfAWrite) {
  RawPeer peer(client_.get());
  ASSERT_TRUE(shake_hands(*accepting_, peer));
  SEEDED(random);
  const size_t most = TlsSession::kRecordMost;
  const std::vector<std::vector<size_t>> writes = {{1},
                                                   {most},
                                                   {most + 1},
                                                   {10, 20, 30},
                                                   {most - 1, 1},
                                                   {most - 1, 2},
                                                   {5, 3 * most + 7, 5},
                                                   {1 << 20},
                                                   {0, 0, 1, 0},
                                                   {1000, most, most},
                                                   {most, most},
                                                   {3, most - 3, most, 9}};
  for (const std::vector<size_t>& sizes : writes) {
    std::string all;
    std::vector<std::string> pieces;
    std::vector<iovec> spans;
    for (size_t size : sizes) pieces.push_back(bytes_of(random, size));
    for (std::string& piece : pieces) {
      spans.push_back({piece.data(), piece.size()});
      all += piece;
    }
    std::string cipher;
    ASSERT_TRUE(accepting_->encrypt(spans, cipher));
    EXPECT_EQ(all, peer.hear(cipher));
    size_t records = 0;
    for (size_t at = 0; at < cipher.size(); ++records) {
      const size_t size = static_cast<uint8_t>(cipher[at + 3]) << 8 | static_cast<uint8_t>(cipher[at + 4]);
      EXPECT_LE(size, most + 64);
      at += 5 + size;
    }
    EXPECT_LE(records, (all.size() + most - 1) / most + 1) << sizes.size();
  }
}

TEST_P(TlsVersions, AnEmptyWriteIsNoRecord) {
  RawPeer peer(client_.get());
  ASSERT_TRUE(shake_hands(*accepting_, peer));
  EXPECT_EQ("", encrypt(*accepting_, ""));
}

// T4, T33 and strangers: what is no TLS gets an alert at most.
TEST(TlsSession, WhatIsNoTls) {
  const Ctx server = server_context();
  SEEDED(random);
  std::vector<std::string> openings = {std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8),  // a second SSLRequest
                                       std::string("\0\0\0\x13\0\3\0\0user\0anna\0\0", 19),
                                       "GET / HTTP/1.1\r\n\r\n",
                                       std::string(70000, '\xff'),
                                       std::string(70000, '\0'),
                                       std::string("\x16\x03\x01\xff\xff\x01", 6),  // a record that is too long
                                       std::string("\x17\x03\x03\0\x05hello", 10),  // data before any handshake
                                       std::string("\x15\x03\x03\0\x02\x02\x28", 7)};
  for (int i = 0; i < 200; ++i) {
    openings.push_back(bytes_of(random, 1 + random.below(400)));
    openings.push_back("\x16\x03\x01" + bytes_of(random, 300));
  }
  for (const std::string& opening : openings) {
    for (bool at_once : {true, false}) {
      auto session = TlsSession::accepting(server.get(), false);
      std::string plain, out, error;
      for (size_t at = 0; at < opening.size() && error.empty();) {
        const size_t size = at_once ? opening.size() : std::min<size_t>(opening.size() - at, 1 + random.below(9));
        error = feed(*session, std::string_view(opening).substr(at, size), plain, out).error;
        at += size;
      }
      EXPECT_EQ("", plain);
      EXPECT_FALSE(session->established());
      EXPECT_EQ(session->state() == State::kFailed, !error.empty());
      EXPECT_LT(out.size(), 100u) << "an alert, if that";
      // Nothing brings it back.
      if (session->state() != State::kFailed) continue;
      EXPECT_EQ("", feed(*session, "more", plain, out).error);
      iovec span{plain.data(), 1};
      EXPECT_FALSE(session->encrypt({&span, 1}, out));
    }
  }
}

// The handshake of a real client with bytes of it changed: it fails or (in what nobody signs) goes on, but never
// shows a byte, and never stands still with everything there.
TEST_P(TlsVersions, AChangedHandshakeShowsNothing) {
  SEEDED(random);
  for (int run = 0; run < 300; ++run) {
    auto session = TlsSession::accepting(server_.get(), false);
    RawPeer peer(client_.get());
    const size_t which = random.below(3);
    std::string plain;
    for (size_t round = 0; round < 4 && session->state() == State::kHandshake; ++round) {
      peer.hear({});
      std::string cipher = peer.say(), answer;
      if (round == which && !cipher.empty())
        cipher[random.below(cipher.size())] ^= static_cast<char>(1 << random.below(8));
      feed(*session, cipher, plain, answer);
      peer.hear(answer);
    }
    EXPECT_EQ("", plain);
  }
}

TEST_P(TlsVersions, AnyChangedBitOfARecordIsSeen) {
  for (size_t at = 0; at < 40; ++at) {
    auto session = TlsSession::accepting(server_.get(), false);
    RawPeer peer(client_.get());
    ASSERT_TRUE(shake_hands(*session, peer));
    peer.write("select 1; drop");
    std::string cipher = peer.say();
    if (at >= cipher.size()) break;
    if (at == 3 || at == 4) continue;  // the length: then more is to come
    cipher[at] ^= 1;
    std::string plain, out;
    EXPECT_NE("", feed(*session, cipher, plain, out).error) << at;
    EXPECT_EQ(State::kFailed, session->state());
    EXPECT_EQ("", plain);
    EXPECT_NE("", out) << "an alert";
  }
}

// The end by close_notify, by both; what was written before it is read. A stream that is only cut off has not ended.
TEST_P(TlsVersions, CloseNotify) {
  RawPeer peer(client_.get());
  ASSERT_TRUE(shake_hands(*accepting_, peer));
  peer.write("last");
  SSL_shutdown(peer.ssl);
  const std::string cipher = peer.say();
  EXPECT_EQ("", feed(*accepting_, cipher.substr(0, cipher.size() - 1), plain_, out_).error);
  EXPECT_EQ(State::kOpen, accepting_->state()) << "cut off";
  EXPECT_EQ("last", plain_);
  EXPECT_EQ("", feed(*accepting_, cipher.substr(cipher.size() - 1) + "whatever follows", plain_, out_).error);
  EXPECT_EQ(State::kEnded, accepting_->state());
  EXPECT_EQ("last", plain_);
  EXPECT_EQ("my last", peer.hear(encrypt(*accepting_, "my last"))) << "it may still be answered";
  out_.clear();
  accepting_->close_notify(out_);
  EXPECT_NE("", out_);
  peer.hear(out_);
  EXPECT_EQ(SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN, SSL_get_shutdown(peer.ssl));
  out_.clear();
  accepting_->close_notify(out_);
  EXPECT_EQ("", out_) << "once";
}

TEST(TlsSession, NoCloseNotifyInAHandshake) {
  const Ctx server = server_context();
  auto session = TlsSession::accepting(server.get(), false);
  std::string out;
  session->close_notify(out);
  EXPECT_EQ("", out);
}

TEST(TlsSession, RenegotiationIsRefused) {
  const Ctx server = server_context(TLS1_2_VERSION);
  const Ctx client(SSL_CTX_new(TLS_client_method()));  // ours would not even ask
  auto session = TlsSession::accepting(server.get(), false);
  RawPeer peer(client.get());
  ASSERT_TRUE(shake_hands(*session, peer));
  std::string plain, out;
  ASSERT_EQ(1, SSL_renegotiate(peer.ssl));
  SSL_do_handshake(peer.ssl);
  const std::string hello = peer.say();
  ASSERT_NE("", hello);
  feed(*session, hello, plain, out);
  peer.hear(out);
  EXPECT_LT(out.size(), 100u) << "an alert, no ServerHello";
  EXPECT_EQ("", plain);
}

std::string key_update(RawPeer& peer, int kind) {
  EXPECT_EQ(1, SSL_key_update(peer.ssl, kind));
  EXPECT_EQ(1, SSL_do_handshake(peer.ssl));
  return peer.say();
}

TEST(TlsSession, KeyUpdatesAreObeyed) {
  const Ctx server = server_context(), client = client_context();
  auto session = TlsSession::accepting(server.get(), false);
  RawPeer peer(client.get());
  ASSERT_TRUE(shake_hands(*session, peer));
  for (int i = 0; i < 200; ++i) {
    std::string plain, out;
    std::string cipher = key_update(peer, SSL_KEY_UPDATE_REQUESTED);
    peer.write("ping");
    cipher += peer.say();
    EXPECT_EQ("", feed(*session, cipher, plain, out).error);
    EXPECT_EQ("ping", plain);
    EXPECT_EQ("pong", peer.hear(out + encrypt(*session, "pong"))) << i;
  }
}

// A flood of them without any data costs its sender the connection, and us at most an answer each.
TEST(TlsSession, AFloodOfKeyUpdatesEnds) {
  const Ctx server = server_context(), client = client_context();
  for (bool at_once : {true, false}) {
    auto session = TlsSession::accepting(server.get(), false);
    RawPeer peer(client.get());
    ASSERT_TRUE(shake_hands(*session, peer));
    std::string plain, out, error, all;
    int sent = 0;
    for (; sent < 1000 && error.empty(); ++sent) {
      const std::string cipher = key_update(peer, SSL_KEY_UPDATE_REQUESTED);
      if (at_once) {
        all += cipher;
        if (sent == 200) error = feed(*session, all, plain, out).error;
      } else {
        error = feed(*session, cipher, plain, out).error;
      }
    }
    EXPECT_EQ("too many messages of the TLS protocol without data", error);
    EXPECT_EQ(State::kFailed, session->state());
    EXPECT_LE(sent, at_once ? 201 : TlsSession::kStepsMost);
    EXPECT_LT(out.size(), 10000u);
  }
}

// T33. "postgresql" as one byte of length and the name.
TEST(TlsSession, Alpn) {
  struct Case {
    std::string offer;
    bool required, succeeds;
    std::string agreed;
  };
  const std::string ours = "\x0apostgresql";
  for (const Case& one : std::vector<Case>{{ours, false, true, "postgresql"},
                                           {ours, true, true, "postgresql"},
                                           {"", false, true, ""},
                                           {"", true, false, ""},
                                           {"\x02h2", false, false, ""},
                                           {"\x02h2", true, false, ""},
                                           {"\x02h2" + ours, true, true, "postgresql"},
                                           {"\x0bpostgresqlx", true, false, ""},
                                           {"\x09postgresq", true, false, ""}}) {
    for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      const Ctx server = server_context(version);
      Ctx client(SSL_CTX_new(TLS_client_method()));
      if (!one.offer.empty()) {
        SSL_CTX_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>(one.offer.data()),
                                static_cast<unsigned int>(one.offer.size()));
      }
      auto session = TlsSession::accepting(server.get(), one.required);
      RawPeer peer(client.get());
      EXPECT_EQ(one.succeeds, shake_hands(*session, peer)) << one.offer << one.required;
      EXPECT_EQ(one.agreed, session->alpn());
      if (one.succeeds) continue;
      // The client was told by this alert, and by nothing before it.
      auto again = TlsSession::accepting(server.get(), one.required);
      RawPeer teller(client.get());
      teller.hear({});
      std::string plain, out;
      feed(*again, teller.say(), plain, out);
      EXPECT_EQ(std::string("\x15\x03\x03\0\x02\x02\x78", 7), out);
    }
  }
}

TEST_P(TlsVersions, WhatWasAgreedOn) {
  RawPeer peer(client_.get());
  ASSERT_TRUE(shake_hands(*accepting_, peer));
  const std::string version = GetParam() == TLS1_2_VERSION ? "TLSv1.2/" : "TLSv1.3/";
  EXPECT_EQ(version + SSL_get_cipher_name(peer.ssl), accepting_->describe());
  EXPECT_FALSE(accepting_->resumed());
  EXPECT_FALSE(accepting_->has_peer_certificate());
  EXPECT_EQ("", accepting_->peer_common_name());
  EXPECT_EQ("", accepting_->peer_distinguished_name());
}

// TLS 1.3: with the next bytes, whoever sends them, and not before. In older versions the handshake brings it.
TEST_P(TlsVersions, ATicketForWhoHasProvedItself) {
  const bool late = GetParam() == TLS1_3_VERSION;
  for (const bool peer_speaks : {false, true}) {
    auto session = TlsSession::accepting(server_.get(), false);
    RawPeer peer(client_.get());
    ASSERT_TRUE(shake_hands(*session, peer));
    EXPECT_EQ("before", peer.hear(encrypt(*session, "before")));
    EXPECT_EQ(!late, SSL_SESSION_has_ticket(SSL_get0_session(peer.ssl)));
    session->peer_has_proved();
    if (peer_speaks) {
      plain_.clear(), out_.clear();
      peer.write("question");
      EXPECT_EQ("", feed(*session, peer.say(), plain_, out_).error);
      EXPECT_EQ("question", plain_);
      EXPECT_EQ("", peer.hear(out_));
      EXPECT_EQ("", peer.hear({}));
    }
    EXPECT_EQ("after", peer.hear(encrypt(*session, "after")));
    ASSERT_TRUE(SSL_SESSION_has_ticket(SSL_get0_session(peer.ssl)));
    EXPECT_TRUE(session->established());

    auto second = TlsSession::accepting(server_.get(), false);
    RawPeer again(client_.get());
    SSL_set_shutdown(peer.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_set_session(again.ssl, SSL_get0_session(peer.ssl));
    ASSERT_TRUE(shake_hands(*second, again));
    EXPECT_TRUE(second->resumed());
  }
}

// Found by fuzz_net_tls: the ticket was lost, since OpenSSL sends either.
TEST_P(TlsVersions, ATicketBehindTheAnswerToAKeyUpdate) {
  if (GetParam() != TLS1_3_VERSION) return;  // which alone has key updates
  RawPeer peer(client_.get());
  ASSERT_TRUE(shake_hands(*accepting_, peer));
  accepting_->peer_has_proved();
  ASSERT_EQ(1, SSL_key_update(peer.ssl, SSL_KEY_UPDATE_REQUESTED));
  ASSERT_EQ(1, SSL_do_handshake(peer.ssl));
  EXPECT_EQ("", feed(*accepting_, peer.say(), plain_, out_).error);
  EXPECT_EQ("answered", peer.hear(out_ + encrypt(*accepting_, "answered")));
  EXPECT_EQ("next", peer.hear(encrypt(*accepting_, "next")));
  EXPECT_TRUE(SSL_SESSION_has_ticket(SSL_get0_session(peer.ssl)));
}

TEST_P(TlsVersions, TheClientsCertificate) {
  SSL_CTX_set_verify(server_.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  X509_STORE_add_cert(SSL_CTX_get_cert_store(server_.get()), test_root().cert.get());
  struct Case {
    Names names;
    std::string common, distinguished;
  };
  for (const Case& one : std::vector<Case>{
           {{{"O", "Shop"}, {"CN", "anna"}}, "anna", "CN=anna,O=Shop"},
           {{{"CN", "a,b"}}, "a,b", "CN=a\\,b"},
           {{{"CN", "J\xc3\xbcrgen"}}, "J\xc3\xbcrgen", "CN=J\\C3\\BCrgen"},
           {{{"O", "Shop"}}, "", "O=Shop"},
           {{{"CN", std::string("anna\0.evil", 10)}}, "", "?"},
       }) {
    const Identity who = make_identity(one.names, &test_root());
    Ctx client = client_context(GetParam());
    show(client.get(), who);
    auto session = TlsSession::accepting(server_.get(), false);
    RawPeer peer(client.get());
    ASSERT_TRUE(shake_hands(*session, peer));
    EXPECT_TRUE(session->has_peer_certificate());
    EXPECT_EQ(one.common, session->peer_common_name());
    if (one.distinguished == "?") continue;  // how OpenSSL escapes a zero byte is its own matter
    EXPECT_EQ(one.distinguished, session->peer_distinguished_name());
  }
  std::string error;
  RawPeer none(client_.get());
  auto session = TlsSession::accepting(server_.get(), false);
  EXPECT_FALSE(shake_hands(*session, none, &error));
  EXPECT_EQ("peer did not return a certificate", error);
  const Identity stranger = make_identity({{"CN", "anna"}});
  Ctx client = client_context(GetParam());
  show(client.get(), stranger);
  RawPeer peer(client.get());
  session = TlsSession::accepting(server_.get(), false);
  EXPECT_FALSE(shake_hands(*session, peer, &error));
  EXPECT_EQ("certificate verify failed: self-signed certificate", error);
}

// Both sides bind to the same hash.
TEST_P(TlsVersions, EndPointHash) {
  auto connecting = TlsSession::connecting(client_.get());
  std::string to_server, to_client, plain;
  feed(*connecting, {}, plain, to_server);
  for (int round = 0; round < 4; ++round) {
    feed(*accepting_, std::exchange(to_server, {}), plain, to_client);
    feed(*connecting, std::exchange(to_client, {}), plain, to_server);
  }
  ASSERT_TRUE(accepting_->established() && connecting->established());
  unsigned char hash[32];
  unsigned int size = 0;
  X509_digest(test_server().cert.get(), EVP_sha256(), hash, &size);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(hash), size), accepting_->end_point_hash());
  EXPECT_EQ(accepting_->end_point_hash(), connecting->end_point_hash());
  EXPECT_EQ("localhost", connecting->peer_common_name());
}

}  // namespace
}  // namespace berth::net
