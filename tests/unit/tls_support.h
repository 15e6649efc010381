// What the tests of TLS share: certificates made in memory, contexts, and a peer that is OpenSSL alone, so that it
// can do what no session of ours would.
#pragma once

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/tls_session.h"

namespace berth::net {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Freed<X509_free>>;
using Ctx = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;

struct Identity {
  Key key;
  Cert cert;
};

using Names = std::vector<std::pair<std::string, std::string>>;  // {"CN", "anna"}

// Signed by `issuer`, or by itself.
inline Identity make_identity(const Names& names, const Identity* issuer = nullptr) {
  Identity made{Key(EVP_EC_gen("P-256")), Cert(X509_new())};
  X509* cert = made.cert.get();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
  X509_NAME* subject = X509_get_subject_name(cert);
  for (const auto& [field, value] : names) {
    X509_NAME_add_entry_by_txt(subject, field.c_str(), MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(value.data()), static_cast<int>(value.size()),
                               -1, 0);
  }
  X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer->cert.get()) : subject);
  X509_set_pubkey(cert, made.key.get());
  X509V3_CTX nothing;
  X509V3_set_ctx(&nothing, cert, cert, nullptr, nullptr, 0);
  const char* kind = issuer ? "CA:FALSE" : "CA:TRUE";
  std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>> basic(
      X509V3_EXT_conf_nid(nullptr, &nothing, NID_basic_constraints, kind));
  X509_add_ext(cert, basic.get(), -1);
  EXPECT_GT(X509_sign(cert, issuer ? issuer->key.get() : made.key.get(), EVP_sha256()), 0);
  return made;
}

inline const Identity& test_root() {
  static const Identity root = make_identity({{"CN", "Root"}});
  return root;
}
inline const Identity& test_server() {
  static const Identity server = make_identity({{"CN", "localhost"}}, &test_root());
  return server;
}

inline void show(SSL_CTX* context, const Identity& identity) {
  EXPECT_EQ(1, SSL_CTX_use_certificate(context, identity.cert.get()));
  EXPECT_EQ(1, SSL_CTX_use_PrivateKey(context, identity.key.get()));
}

// Both sides, for one version of TLS.
inline Ctx server_context(int version = TLS1_3_VERSION) {
  Ctx context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_min_proto_version(context.get(), version);
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  show(context.get(), test_server());
  TlsSession::prepare_accepting(context.get());
  return context;
}
inline Ctx client_context(int version = TLS1_3_VERSION) {
  Ctx context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), version);
  SSL_CTX_set_max_proto_version(context.get(), version);
  TlsSession::prepare_connecting(context.get());
  return context;
}

inline TlsSession::Fed feed(TlsSession& session, std::string_view cipher, std::string& plain, std::string& out) {
  static std::vector<char> room;
  if (room.size() < cipher.size() + TlsSession::kHeldMost) room.resize(cipher.size() + TlsSession::kHeldMost);
  TlsSession::Fed fed = session.feed(cipher, room, out);
  plain.append(room.data(), fed.plain);
  return fed;
}

inline std::string encrypt(TlsSession& session, std::string_view plain) {
  const iovec span{const_cast<char*>(plain.data()), plain.size()};
  std::string out;
  EXPECT_TRUE(session.encrypt({&span, 1}, out));
  return out;
}

// OpenSSL between two buffers, as everybody uses it.
struct RawPeer {
  explicit RawPeer(SSL_CTX* context, bool accepts = false) : ssl(SSL_new(context)) {
    in = BIO_new(BIO_s_mem());
    out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    accepts ? SSL_set_accept_state(ssl) : SSL_set_connect_state(ssl);
  }
  ~RawPeer() {
    SSL_free(ssl);
    ERR_clear_error();
  }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  // What it has to say, and forgets.
  std::string say() {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out, &bytes);
    std::string said(bytes, static_cast<size_t>(size));
    BIO_reset(out);
    return said;
  }
  // Reads what it is given; shakes hands where that is due.
  std::string hear(std::string_view cipher) {
    if (!cipher.empty()) BIO_write(in, cipher.data(), static_cast<int>(cipher.size()));
    std::string plain;
    char buffer[4096];
    for (int got; (got = SSL_read(ssl, buffer, sizeof buffer)) > 0;) plain.append(buffer, static_cast<size_t>(got));
    ERR_clear_error();
    return plain;
  }
  void write(std::string_view plain) {
    EXPECT_EQ(static_cast<int>(plain.size()), SSL_write(ssl, plain.data(), static_cast<int>(plain.size())));
  }

  SSL* ssl;
  BIO* in;
  BIO* out;
};

// Until neither has anything to say. False: the session has failed.
inline bool shake_hands(TlsSession& session, RawPeer& peer, std::string* error = nullptr) {
  for (int round = 0; round < 10; ++round) {
    peer.hear({});
    std::string plain, answer;
    const TlsSession::Fed fed = feed(session, peer.say(), plain, answer);
    EXPECT_EQ("", plain);
    peer.hear(answer);
    if (error && !fed.error.empty()) *error = fed.error;
    if (session.state() == TlsSession::State::kFailed) return false;
    if (session.established() && SSL_is_init_finished(peer.ssl)) return true;
  }
  return false;
}

}  // namespace berth::net
