// What the tests of TlsContext share: settings with certificates made on the spot, and two SSL objects that talk
// through memory.
#pragma once

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "net/tls_context.h"
#include "unit/certificates.h"

namespace berth::net {

// An authority, a server's certificate and a client's, as files.
class TlsContextFixture : public testing::Test {
 protected:
  TlsContextFixture() {
    test::Wanted wanted;
    wanted.alternatives = "DNS:localhost,DNS:*.example.org,IP:127.0.0.1";
    server = test::issue(wanted, &authority);
    wanted = {};
    wanted.name = "alice";
    client = test::issue(wanted, &authority);
    roots = directory.write("ca.crt", test::certificate_pem(authority));
    of_clients.mode = of_servers.mode = TlsMode::kRequire;
    of_clients.cert_file = directory.write("server.crt", test::certificate_pem(server));
    of_clients.key_file = directory.write("server.key", test::key_pem(server));
  }

  static std::string refusal(const TlsSettings& settings) {
    const auto made = TlsContext::for_clients(settings);
    return made ? "" : made.error().text;
  }
  static void expect_refused(const TlsSettings& settings, const std::string& key, const std::string& part) {
    const std::string text = refusal(settings);
    EXPECT_TRUE(text.starts_with(key + ": ")) << text;
    EXPECT_NE(std::string::npos, text.find(part)) << text;
  }

  test::Directory directory;
  test::Issued authority = test::make_authority();
  test::Issued server, client;
  std::string roots;
  TlsSettings of_clients, of_servers;
};

struct Handshake {
  bool done = false;
  bool resumed = false;
  std::string alpn, version, cipher;
  std::string group;  // of the key exchange, by OpenSSL's short name; of one without curves "DH" and its bits
  std::string binding_of_client, binding_of_server;  // the certificate of the other as each side sees it
  std::shared_ptr<SSL_SESSION> session;
};

// How both have come to a common secret, as the connecting side sees it.
inline std::string group_of(SSL* ssl) {
  if (const long known = SSL_get_negotiated_group(ssl)) return OBJ_nid2sn(static_cast<int>(known));
  EVP_PKEY* key = nullptr;
  if (SSL_get_peer_tmp_key(ssl, &key) != 1) return "";
  const std::string out = EVP_PKEY_get0_type_name(key) + std::to_string(EVP_PKEY_get_bits(key));
  EVP_PKEY_free(key);
  return out;
}

// Both ends on one pair of memory pipes; what the client's end saw, and whether both are through.
inline Handshake shake(SSL_CTX* accepting, const TlsContext& servers, const std::string& host,
                       SSL_SESSION* resume = nullptr, const std::string& alpn = {}) {
  const std::shared_ptr<SSL> ours(SSL_new(accepting), SSL_free);
  const std::shared_ptr<SSL> theirs(SSL_new(servers.native()), SSL_free);
  BIO *left = nullptr, *right = nullptr;
  BIO_new_bio_pair(&left, 0, &right, 0);
  SSL_set_bio(ours.get(), left, left);
  SSL_set_bio(theirs.get(), right, right);
  SSL_set_accept_state(ours.get());
  SSL_set_connect_state(theirs.get());
  servers.expect_host(theirs.get(), host);
  if (resume) SSL_set_session(theirs.get(), resume);
  if (!alpn.empty()) {
    SSL_set_alpn_protos(theirs.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
  }
  Handshake out;
  for (int i = 0; i < 20; ++i) {
    SSL_do_handshake(theirs.get());
    SSL_do_handshake(ours.get());
  }
  SSL_new_session_ticket(ours.get());  // as TlsSession::peer_has_proved()
  SSL_do_handshake(ours.get());
  char byte;
  SSL_read(theirs.get(), &byte, 1);  // takes the ticket in
  out.done = SSL_is_init_finished(ours.get()) && SSL_is_init_finished(theirs.get());
  out.resumed = SSL_session_reused(theirs.get());
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(theirs.get(), &protocol, &size);
  out.alpn.assign(reinterpret_cast<const char*>(protocol), size);
  out.version = SSL_get_version(theirs.get());
  out.cipher = SSL_get_cipher_name(theirs.get());
  out.group = group_of(theirs.get());
  out.binding_of_server = binding_of(SSL_get0_peer_certificate(theirs.get()));
  out.binding_of_client = binding_of(SSL_get0_peer_certificate(ours.get()));
  // Left as after a proper end: OpenSSL never resumes a session that broke off.
  SSL_set_shutdown(theirs.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  out.session = std::shared_ptr<SSL_SESSION>(SSL_get1_session(theirs.get()), SSL_SESSION_free);
  ERR_clear_error();
  return out;
}

inline Handshake shake(const TlsContext& clients, const TlsContext& servers, const std::string& host,
                       SSL_SESSION* resume = nullptr, const std::string& alpn = {}) {
  return shake(clients.native(), servers, host, resume, alpn);
}

}  // namespace berth::net
