// What net_tls.cc speaks with: dice in place of the operating system's and of OpenSSL's randomness, identities that
// are made of them, and contexts, the broker's own (TlsContext, with roots, client certificates and ticket keys) and
// OpenSSL's alone. All is the same in every process, so that an input replays: no key is written down anywhere, and
// certificates are valid from 2020 to 2120. Only the time that stands in a session's ticket is the clock's.
#pragma once

#define OPENSSL_SUPPRESS_DEPRECATED  // RAND_set_rand_method
#include <openssl/rand.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>

#include "base/assert.h"
#include "base/random.h"
#include "base/time.h"
#include "net/tls_context.h"
#include "net/tls_tickets.h"
#include "unit/certificates.h"
#include "unit/tls_support.h"

namespace berth {

inline Random& tls_dice() {
  static Random dice(0);
  return dice;
}

// In place of base/random.cc, which the linker leaves out then.
void fill_secure(void* out, size_t size) {
  for (size_t at = 0; at < size; ++at)
    static_cast<unsigned char*>(out)[at] = static_cast<unsigned char>(tls_dice().next());
}

}  // namespace berth

namespace berth::net {

// Every input starts with the same dice.
inline void throw_dice_anew(uint64_t seed) {
  static const RAND_METHOD method = [] {
    RAND_METHOD made{};
    made.bytes = made.pseudorand = [](unsigned char* out, int size) {
      fill_secure(out, static_cast<size_t>(size));
      return 1;
    };
    made.status = [] { return 1; };
    return made;
  }();
  ASSERT(RAND_set_rand_method(&method) == 1);
  tls_dice() = Random(seed);
}

// A certificate that any year of this century takes.
inline Identity lasting_identity(const Names& names, const Identity* issuer, uint64_t seed) {
  throw_dice_anew(seed);
  Identity made = make_identity(names, issuer);
  X509* cert = made.cert.get();
  ASSERT(ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), "20200101000000Z") == 1);
  ASSERT(ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), "21200101000000Z") == 1);
  ASSERT(X509_sign(cert, issuer ? issuer->key.get() : made.key.get(), EVP_sha256()) > 0);
  return made;
}

inline std::string pem_of(const Identity& who, bool key) {
  return test::pem([&](BIO* out) {
    return key ? PEM_write_bio_PKCS8PrivateKey(out, who.key.get(), nullptr, nullptr, 0, nullptr, nullptr)
               : PEM_write_bio_X509(out, who.cert.get());
  });
}

constexpr std::array<const char*, 3> kProtocols = {"secure", "tlsv1.2", "tlsv1.3"};

struct TlsWorld {
  Identity root = lasting_identity({{"CN", "Root"}}, nullptr, 1);
  Identity server = lasting_identity({{"CN", "localhost"}}, &root, 2);
  std::array<Identity, 2> people = {lasting_identity({{"O", "Shop"}, {"CN", "anna"}}, &root, 3),
                                    lasting_identity({{"O", "Shop"}, {"CN", "berta"}}, &root, 4)};
  // By protocols and whether a client has to show a certificate; the second of each is what a reload has made.
  std::shared_ptr<const TlsContext> accepting[3][2][2];
  // By protocols and whether the server's name is looked at.
  std::shared_ptr<const TlsContext> connecting[3][2];
  Ctx raw_accepting[3], raw_connecting[3];

  TlsWorld() {
    const test::Directory files;
    const std::string cert = files.write("cert", pem_of(server, false)),
                      key = files.write("key", pem_of(server, true)),
                      roots = files.write("roots", pem_of(root, false));
    for (size_t i = 0; i < kProtocols.size(); ++i) {
      TlsSettings settings;
      settings.protocols = kProtocols[i];
      settings.ca_file = roots;
      for (size_t strict = 0; strict < 2; ++strict) {
        settings.mode = strict ? TlsMode::kVerifyFull : TlsMode::kRequire;
        settings.cert_file = settings.key_file = "";
        connecting[i][strict] = TlsContext::for_servers(settings).value();
        settings.cert_file = cert;
        settings.key_file = key;
        settings.mode = strict ? TlsMode::kVerifyCa : TlsMode::kRequire;
        for (auto& one : accepting[i][strict]) {
          one = TlsContext::for_clients(settings).value();
          // Keys of tickets are drawn when they are needed. An input begins with the same dice as all others, so keys
          // that two of them draw would be equal, and tickets be taken where they must not.
          static_cast<TicketKeys*>(SSL_CTX_get_app_data(one->native()))->sealing(monotonic_now());
        }
      }
      raw_accepting[i] = Ctx(SSL_CTX_new(TLS_server_method()));
      raw_connecting[i] = Ctx(SSL_CTX_new(TLS_client_method()));
      show(raw_accepting[i].get(), server);
      for (SSL_CTX* context : {raw_accepting[i].get(), raw_connecting[i].get()}) {
        SSL_CTX_set_min_proto_version(context, i == 2 ? TLS1_3_VERSION : TLS1_2_VERSION);
        SSL_CTX_set_max_proto_version(context, i == 1 ? TLS1_2_VERSION : TLS1_3_VERSION);
      }
    }
  }
};

}  // namespace berth::net
