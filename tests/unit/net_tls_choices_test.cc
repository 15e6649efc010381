// Goal: what the settings say of protocols, ciphers, suites of TLS 1.3, curves and Diffie-Hellman parameters is what
// two sides agree on, whichever of them has the setting; and nothing else is. Method: one side has a setting that the
// other's defaults would not choose; both are asked what they speak.
#include <openssl/pem.h>

#include "unit/tls_contexts.h"

namespace berth::net {
namespace {

class TlsChoicesTest : public TlsContextFixture {
 protected:
  // With the settings as they are now.
  Handshake agree() {
    const auto ours = TlsContext::for_clients(of_clients);
    const auto theirs = TlsContext::for_servers(of_servers);
    EXPECT_TRUE(ours) << ours.error().text;
    EXPECT_TRUE(theirs) << theirs.error().text;
    return ours && theirs ? shake(*ours.value(), *theirs.value(), "") : Handshake();
  }
  // Clients with an RSA certificate, TLS 1.2 and a cipher without curves.
  void be_rsa() {
    test::Wanted wanted;
    wanted.key_type = EVP_PKEY_RSA;
    const test::Issued rsa = test::issue(wanted, &authority);
    of_clients.cert_file = directory.write("rsa.crt", test::certificate_pem(rsa));
    of_clients.key_file = directory.write("rsa.key", test::key_pem(rsa));
    of_clients.protocols = "tlsv1.2";
    of_clients.ciphers = "DHE-RSA-AES256-GCM-SHA384";
  }
};

std::string parameters_pem(const std::string& group) {
  EVP_PKEY* key = nullptr;
  EVP_PKEY_CTX* maker = EVP_PKEY_CTX_new_from_name(nullptr, "DH", nullptr);
  EXPECT_EQ(1, EVP_PKEY_keygen_init(maker));
  EXPECT_EQ(1, EVP_PKEY_CTX_set_group_name(maker, group.c_str()));
  EXPECT_EQ(1, EVP_PKEY_generate(maker, &key));
  EVP_PKEY_CTX_free(maker);
  const std::string text = test::pem([&](BIO* out) { return PEM_write_bio_Parameters(out, key); });
  EVP_PKEY_free(key);
  return text;
}

TEST_F(TlsChoicesTest, Protocols) {
  EXPECT_EQ("TLSv1.3", agree().version);
  for (TlsSettings* const one : {&of_clients, &of_servers}) {
    one->protocols = "tlsv1.2";
    EXPECT_EQ("TLSv1.2", agree().version);
    TlsSettings& other = one == &of_clients ? of_servers : of_clients;
    other.protocols = "tlsv1.3";
    EXPECT_FALSE(agree().done);
    one->protocols = other.protocols = "secure";
  }
}

TEST_F(TlsChoicesTest, SuitesOfTls13) {
  EXPECT_EQ("TLS_AES_128_GCM_SHA256", agree().cipher);
  for (TlsSettings* const one : {&of_clients, &of_servers}) {
    for (const char* suite : {"TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"}) {
      one->tls13_ciphers = suite;
      const Handshake made = agree();
      EXPECT_TRUE(made.done);
      EXPECT_EQ(suite, made.cipher);
    }
    one->tls13_ciphers = "";
  }
  of_clients.tls13_ciphers = "TLS_CHACHA20_POLY1305_SHA256";
  of_servers.tls13_ciphers = "TLS_AES_256_GCM_SHA384";
  EXPECT_FALSE(agree().done);
  of_servers.tls13_ciphers += ":TLS_CHACHA20_POLY1305_SHA256";
  of_clients.tls13_ciphers += ":TLS_AES_256_GCM_SHA384";
  EXPECT_EQ("TLS_CHACHA20_POLY1305_SHA256", agree().cipher) << "the order of who accepts counts";
}

TEST_F(TlsChoicesTest, CiphersOfTls12) {
  constexpr const char* kFew = "ECDHE-ECDSA-AES256-SHA384";
  constexpr const char* kOther = "ECDHE-ECDSA-CHACHA20-POLY1305";
  of_clients.protocols = "tlsv1.2";
  const std::string usual = agree().cipher;
  EXPECT_NE(kFew, usual);
  EXPECT_NE(kOther, usual);
  for (TlsSettings* const one : {&of_clients, &of_servers}) {
    for (const char* cipher : {kFew, kOther}) {
      one->ciphers = cipher;
      const Handshake made = agree();
      EXPECT_TRUE(made.done);
      EXPECT_EQ(cipher, made.cipher);
    }
    one->ciphers = "default";
    EXPECT_EQ(usual, agree().cipher);
  }
  of_clients.ciphers = kFew;
  of_servers.ciphers = kOther;
  EXPECT_FALSE(agree().done);
  of_clients.ciphers = std::string(kFew) + ":" + kOther;
  of_servers.ciphers = std::string(kOther) + ":" + kFew;
  EXPECT_EQ(kFew, agree().cipher) << "the order of who accepts counts";
}

TEST_F(TlsChoicesTest, CiphersSayNothingOfTls13) {
  of_clients.ciphers = of_servers.ciphers = "ECDHE-ECDSA-AES256-SHA384";
  EXPECT_EQ("TLS_AES_128_GCM_SHA256", agree().cipher);
}

TEST_F(TlsChoicesTest, Curves) {
  for (const char* version : {"tlsv1.2", "tlsv1.3"}) {
    of_clients.protocols = version;
    of_clients.ecdhcurve = "auto";
    EXPECT_EQ("X25519", agree().group);
    for (const char* curve : {"P-384", "secp384r1", "secp384r1, P-521", "X448:secp384r1"}) {
      of_clients.ecdhcurve = curve;
      const Handshake made = agree();
      EXPECT_TRUE(made.done) << curve;
      EXPECT_EQ(std::string(curve).starts_with("X448") ? "X448" : "secp384r1", made.group) << version;
    }
  }
  of_clients.ecdhcurve = "none";
  const Handshake made = agree();
  EXPECT_TRUE(made.done);
  EXPECT_EQ("ffdhe2048", made.group);
}

TEST_F(TlsChoicesTest, DiffieHellman) {
  be_rsa();
  const auto expect_bits = [&](const std::string& parameters, const std::string& group) {
    of_clients.dheparams = parameters;
    const Handshake made = agree();
    EXPECT_EQ(group != "", made.done) << parameters;
    EXPECT_EQ(group, made.group) << parameters;
    EXPECT_EQ(made.done ? "DHE-RSA-AES256-GCM-SHA384" : "(NONE)", made.cipher);
  };
  expect_bits("auto", "DH2048");
  expect_bits("", "DH2048");
  expect_bits("legacy", "DH2048");
  expect_bits("none", "");
  expect_bits(directory.write("dh.pem", parameters_pem("ffdhe3072")), "DH3072");
  of_clients.dheparams = of_clients.cert_file;
  expect_refused(of_clients, "client_tls_dheparams", "no Diffie-Hellman parameters in \"" + of_clients.cert_file);
}

}  // namespace
}  // namespace berth::net
