// Certificates for tests: an authority that issues others, made on the spot, so that none of them ever expires in the
// repository. Keys are on P-256, which costs next to nothing.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

namespace berth::test {

struct Issued {
  std::shared_ptr<X509> certificate;
  std::shared_ptr<EVP_PKEY> key;
};

struct Wanted {
  std::string name = "localhost";             // CN
  std::string alternatives;                   // "DNS:localhost,IP:127.0.0.1"; empty: none
  long from = -3600, until = 30 * 24 * 3600;  // seconds from now
  bool authority = false;
  const EVP_MD* digest = EVP_sha256();
  int key_type = EVP_PKEY_EC;  // or EVP_PKEY_RSA, or EVP_PKEY_ED25519, with a null digest
};

// Signed by `by`, or by itself.
inline Issued issue(const Wanted& wanted, const Issued* by = nullptr) {
  static long serial = 1000;
  EVP_PKEY* key = wanted.key_type == EVP_PKEY_EC    ? EVP_EC_gen("P-256")
                  : wanted.key_type == EVP_PKEY_RSA ? EVP_RSA_gen(2048)
                                                    : EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  Issued out{std::shared_ptr<X509>(X509_new(), X509_free), std::shared_ptr<EVP_PKEY>(key, EVP_PKEY_free)};
  X509* made = out.certificate.get();
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(made), wanted.from);
  X509_gmtime_adj(X509_getm_notAfter(made), wanted.until);
  X509_set_pubkey(made, key);
  X509_NAME* name = X509_get_subject_name(made);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(wanted.name.c_str()),
                             -1, -1, 0);
  X509* issuer = by ? by->certificate.get() : made;
  X509_set_issuer_name(made, X509_get_subject_name(issuer));
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, made, nullptr, nullptr, 0);
  const auto extend = [&](int what, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str());
    ASSERT_NE(nullptr, extension) << value;
    X509_add_ext(made, extension, -1);
    X509_EXTENSION_free(extension);
  };
  if (wanted.authority) extend(NID_basic_constraints, "critical,CA:TRUE");
  if (!wanted.alternatives.empty()) extend(NID_subject_alt_name, wanted.alternatives);
  EXPECT_GT(X509_sign(made, by ? by->key.get() : key, wanted.digest), 0);
  return out;
}

inline Issued make_authority(const std::string& name = "test authority") {
  Wanted wanted;
  wanted.name = name;
  wanted.authority = true;
  return issue(wanted);
}

template <typename Write>
std::string pem(const Write& write) {
  BIO* out = BIO_new(BIO_s_mem());
  EXPECT_EQ(1, write(out));
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(out);
  return text;
}
inline std::string certificate_pem(const Issued& issued) {
  return pem([&](BIO* out) { return PEM_write_bio_X509(out, issued.certificate.get()); });
}
inline std::string key_pem(const Issued& issued) {
  return pem([&](BIO* out) {
    return PEM_write_bio_PKCS8PrivateKey(out, issued.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}
// A list of the authority that revokes `revoked`, to be replaced so many seconds from now.
inline std::string crl_pem(const Issued& authority, const Issued& revoked, long until = 24 * 3600) {
  const std::shared_ptr<X509_CRL> list(X509_CRL_new(), X509_CRL_free);
  X509_CRL_set_version(list.get(), 1);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(authority.certificate.get()));
  const std::shared_ptr<ASN1_TIME> now(X509_gmtime_adj(nullptr, std::min(until, 0L) - 60), ASN1_TIME_free);
  const std::shared_ptr<ASN1_TIME> next(X509_gmtime_adj(nullptr, until), ASN1_TIME_free);
  X509_CRL_set1_lastUpdate(list.get(), now.get());
  X509_CRL_set1_nextUpdate(list.get(), next.get());
  X509_REVOKED* entry = X509_REVOKED_new();
  X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked.certificate.get()));
  X509_REVOKED_set_revocationDate(entry, now.get());
  X509_CRL_add0_revoked(list.get(), entry);
  EXPECT_GT(X509_CRL_sign(list.get(), authority.key.get(), EVP_sha256()), 0);
  return pem([&](BIO* out) { return PEM_write_bio_X509_CRL(out, list.get()); });
}

// A directory of its own, gone with the object.
class Directory {
 public:
  Directory() {
    std::string pattern = testing::TempDir() + "berth-tls-XXXXXX";
    EXPECT_NE(nullptr, mkdtemp(pattern.data()));
    path_ = pattern;
  }
  ~Directory() { EXPECT_EQ(0, system(("rm -rf " + path_).c_str())); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // Writes a file with that mode and returns its path.
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    EXPECT_EQ(0, chmod(path.c_str(), mode));
    return path;
  }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace berth::test
