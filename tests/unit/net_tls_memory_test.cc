// Goal: an idle TLS session costs what a bare connection of OpenSSL with released buffers costs, and its own few
// bytes. Method: OpenSSL's allocations are counted.
#include <malloc.h>
#include <openssl/crypto.h>

#include <cstdlib>

#include "net/tls_session.h"
#include "unit/tls_support.h"

namespace berth::net {
namespace {

size_t openssl_bytes = 0;  // tests are one thread

size_t size_of(void* block) {
  return block ? malloc_usable_size(block) : 0;
}
void* counted_malloc(size_t size, const char*, int) {
  void* block = std::malloc(size);
  openssl_bytes += size_of(block);
  return block;
}
void* counted_realloc(void* old, size_t size, const char*, int) {
  openssl_bytes -= size_of(old);
  void* block = std::realloc(old, size);
  openssl_bytes += size_of(block);
  return block;
}
void counted_free(void* block, const char*, int) {
  openssl_bytes -= size_of(block);
  std::free(block);
}

// Before anything asks OpenSSL for memory: later it would refuse.
const bool counting = CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) == 1;

Ctx bare_context(int version) {
  Ctx context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  show(context.get(), test_server());
  return context;
}

// After a handshake and a few records each way.
size_t bare_connection(SSL_CTX* server, SSL_CTX* client) {
  RawPeer peer(client);
  auto held = std::make_unique<RawPeer>(server, true);
  RawPeer& bare = *held;
  for (int round = 0; round < 4; ++round) {
    peer.hear(bare.say());
    bare.hear(peer.say());
  }
  EXPECT_TRUE(SSL_is_init_finished(bare.ssl));
  peer.write("ping");
  EXPECT_EQ("ping", bare.hear(peer.say()));
  bare.write("pong");
  EXPECT_EQ("pong", peer.hear(bare.say()));
  SSL_set_bio(bare.ssl, nullptr, nullptr);  // two buffers of the test
  const size_t before = openssl_bytes;
  held.reset();
  return before - openssl_bytes;
}

size_t our_session(SSL_CTX* server, SSL_CTX* client, bool asks = true) {
  RawPeer peer(client);
  auto session = TlsSession::accepting(server, false);
  EXPECT_TRUE(shake_hands(*session, peer));
  peer.write("ping");
  std::string plain, out;
  EXPECT_EQ("", feed(*session, peer.say(), plain, out).error);
  session->peer_has_proved();
  EXPECT_EQ("pong", peer.hear(encrypt(*session, "pong")));
  if (!asks) {  // who has logged in and stays silent
    const size_t before = openssl_bytes;
    session.reset();
    return before - openssl_bytes + sizeof(TlsSession);
  }
  // Half a record has come and gone, and a large one.
  peer.write(std::string(8000, 'x'));
  const std::string large = peer.say();
  feed(*session, large.substr(0, 5000), plain, out);
  feed(*session, large.substr(5000), plain, out);
  EXPECT_EQ(8004u, plain.size());
  peer.hear(encrypt(*session, std::string(50000, 'y')));
  const size_t before = openssl_bytes;
  session.reset();  // what goes now was its
  return before - openssl_bytes + sizeof(TlsSession);
}

TEST(TlsMemory, AnIdleSession) {
  ASSERT_TRUE(counting);
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    const Ctx server = server_context(version), client = client_context(version);
    our_session(server.get(), client.get());  // what is made once for all
    const Ctx plain = bare_context(version);
    bare_connection(plain.get(), client.get());
    const size_t bare = bare_connection(plain.get(), client.get());
    const size_t ours = our_session(server.get(), client.get());
    RecordProperty(version == TLS1_2_VERSION ? "bare_tls12" : "bare_tls13", static_cast<int>(bare));
    RecordProperty(version == TLS1_2_VERSION ? "ours_tls12" : "ours_tls13", static_cast<int>(ours));
    EXPECT_LT(ours, bare + 512) << "bare " << bare << ", ours " << ours;
    EXPECT_LT(ours, 16384u);
    EXPECT_LT(our_session(server.get(), client.get(), false), bare + 512);
  }
}

// A burst leaves nothing behind.
TEST(TlsMemory, NothingIsLeftAtTheEnd) {
  const Ctx server = server_context(), client = client_context();
  our_session(server.get(), client.get());
  const size_t before = openssl_bytes;
  for (int i = 0; i < 20; ++i) {
    our_session(server.get(), client.get());
    auto unfinished = TlsSession::accepting(server.get(), false);
    std::string plain, out;
    feed(*unfinished, "\x16\x03\x01\x02", plain, out);
    auto failed = TlsSession::accepting(server.get(), false);
    EXPECT_NE("", feed(*failed, "no TLS at all", plain, out).error);
  }
  ERR_clear_error();
  EXPECT_EQ(before, openssl_bytes);
}

}  // namespace
}  // namespace berth::net
