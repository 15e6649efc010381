#define OPENSSL_SUPPRESS_DEPRECATED  // RAND_METHOD: the shortest way to dice of our own

#include "sim/tls_keys.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <tuple>

#include "base/assert.h"
#include "base/random.h"

namespace berth::sim {

static Random& dice() {
  static Random instance(1);
  return instance;
}

static int fill(unsigned char* out, int size) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<unsigned char>(dice().below(256));
  return 1;
}
static int ready() {
  return 1;
}

void seed_openssl(uint64_t seed) {
  static const RAND_METHOD kMethod = {nullptr, fill, nullptr, nullptr, fill, ready};
  ASSERT(RAND_set_rand_method(&kMethod) == 1);
  dice() = Random(seed);
}

namespace {

struct Identity {
  std::shared_ptr<X509> cert;
  std::shared_ptr<EVP_PKEY> key;
};

// Of fixed dates and numbers, and with Ed25519: every length is the same at each replay, although tickets have the
// time.
Identity issue(const char* name, int serial, const Identity* by) {
  Identity made{{X509_new(), X509_free}, {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free}};
  X509* cert = made.cert.get();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
  ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), "20200101000000Z");
  ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), "20491231000000Z");
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509* issuer = by ? by->cert.get() : cert;
  X509_set_issuer_name(cert, X509_get_subject_name(issuer));
  X509_set_pubkey(cert, made.key.get());
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  const auto extend = [&](int what, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str());
    ASSERT(extension && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
  };
  extend(NID_basic_constraints, by ? "CA:FALSE" : "critical,CA:TRUE");
  extend(NID_subject_alt_name, std::string("DNS:") + kTlsHost);
  ASSERT(X509_sign(cert, by ? by->key.get() : made.key.get(), nullptr) > 0);
  return made;
}

template <typename Write>
std::string pem(const Write& write) {
  BIO* out = BIO_new(BIO_s_mem());
  ASSERT(write(out) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(out);
  return text;
}

int choose_postgresql(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                      unsigned int offered_size, void*) {
  static const unsigned char kOwn[] = "\x0apostgresql";
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, size, kOwn, sizeof kOwn - 1, offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Everything that is made once.
class Keys {
 public:
  Keys() {
    seed_openssl(1);
    std::string pattern = std::filesystem::temp_directory_path() / "berth-sim-XXXXXX";
    ASSERT(mkdtemp(pattern.data()));
    directory_ = pattern;
    root_ = issue("root", 1, nullptr);
    broker_ = issue("broker", 2, &root_);
    renewed_ = issue("broker", 3, &root_);
    server_ = issue(kTlsHost, 4, &root_);
    stranger_ = issue(kTlsHost, 5, nullptr);
    client_ = issue("u0", 6, &root_);
    put("root", root_);
    put("broker", broker_);
    put("renewed", renewed_);
    for (int role = 0; role <= static_cast<int>(TlsRole::kServerOfHttp); ++role) {
      make_peer(static_cast<TlsRole>(role));
    }
    make_contexts();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  ~Keys() {
    for (auto& [role, context] : peers_) SSL_CTX_free(context);
  }

  SSL_CTX* peer(TlsRole role) { return peers_.at(role); }

  std::shared_ptr<const net::TlsContext> context(bool for_clients, net::TlsMode mode, bool old_version,
                                                 bool renewed) {
    return contexts_.at({for_clients, mode, old_version, renewed});
  }

 private:
  // All there are, so that the files can go at once.
  void make_contexts() {
    for (int mode = static_cast<int>(net::TlsMode::kAllow); mode <= static_cast<int>(net::TlsMode::kVerifyFull);
         ++mode) {
      for (const bool old_version : {false, true}) {
        for (const bool renewed : {false, true})
          make_context(true, static_cast<net::TlsMode>(mode), old_version, renewed);
        make_context(false, static_cast<net::TlsMode>(mode), old_version, false);
      }
    }
  }

  void make_context(bool for_clients, net::TlsMode mode, bool old_version, bool renewed) {
    net::TlsSettings settings;
    settings.mode = mode;
    settings.ca_file = path("root.crt");
    if (old_version) settings.protocols = "tlsv1.2";
    if (for_clients) {
      settings.cert_file = path(renewed ? "renewed.crt" : "broker.crt");
      settings.key_file = path(renewed ? "renewed.key" : "broker.key");
    }
    auto built = for_clients ? net::TlsContext::for_clients(settings) : net::TlsContext::for_servers(settings);
    ASSERT(built);
    contexts_[{for_clients, mode, old_version, renewed}] = built.value();
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }

  void put(const std::string& name, const Identity& identity) const {
    std::ofstream(path(name + ".crt")) << pem([&](BIO* out) { return PEM_write_bio_X509(out, identity.cert.get()); });
    std::ofstream(path(name + ".key")) << pem([&](BIO* out) {
      return PEM_write_bio_PKCS8PrivateKey(out, identity.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
    ASSERT(chmod(path(name + ".key").c_str(), 0600) == 0);
  }

  void make_peer(TlsRole role) {
    const bool server = role >= TlsRole::kServer;
    SSL_CTX* context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    peers_[role] = context;
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (role != TlsRole::kClientWithout) {
      const Identity& own = role == TlsRole::kBadServer ? stranger_ : server ? server_ : client_;
      ASSERT(SSL_CTX_use_certificate(context, own.cert.get()) == 1);
      ASSERT(SSL_CTX_use_PrivateKey(context, own.key.get()) == 1);
    }
    if (server) {
      SSL_CTX_set_options(context, SSL_OP_NO_TICKET);  // as PostgreSQL
      SSL_CTX_set_num_tickets(context, 0);
      if (role != TlsRole::kServerOfHttp) SSL_CTX_set_alpn_select_cb(context, choose_postgresql, nullptr);
      return;
    }
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root_.cert.get());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (role == TlsRole::kClientWithoutAlpn) return;
    const std::string_view offered = role == TlsRole::kClientOfHttp ? "\x02h2" : "\x0apostgresql";
    ASSERT(SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(offered.data()),
                                   static_cast<unsigned>(offered.size())) == 0);
  }

  std::string directory_;
  Identity root_, broker_, renewed_, server_, stranger_, client_;
  std::map<TlsRole, SSL_CTX*> peers_;
  std::map<std::tuple<bool, net::TlsMode, bool, bool>, std::shared_ptr<const net::TlsContext>> contexts_;
};

Keys& keys() {
  static Keys instance;
  return instance;
}

}  // namespace

std::shared_ptr<const net::TlsContext> broker_for_clients(net::TlsMode mode, bool old_version, bool renewed) {
  return keys().context(true, mode, old_version, renewed);
}

std::shared_ptr<const net::TlsContext> broker_for_servers(net::TlsMode mode, bool old_version) {
  return keys().context(false, mode, old_version, false);
}

// ---- the far end

TlsPeer::TlsPeer(TlsRole role, SSL_SESSION* resumes) : ssl_(SSL_new(keys().peer(role))) {
  SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  if (resumes) SSL_set_session(ssl_, resumes);
  role >= TlsRole::kServer ? SSL_set_accept_state(ssl_) : SSL_set_connect_state(ssl_);
}

TlsPeer::~TlsPeer() {
  SSL_free(ssl_);
  ERR_clear_error();
}

std::string TlsPeer::hear(std::string_view cipher, std::string& out) {
  std::string plain;
  if (failed()) return plain;
  if (!cipher.empty()) BIO_write(SSL_get_rbio(ssl_), cipher.data(), static_cast<int>(cipher.size()));
  char buffer[4096];
  int got = 0;
  ERR_clear_error();
  while ((got = SSL_read(ssl_, buffer, sizeof buffer)) > 0) plain.append(buffer, static_cast<size_t>(got));
  if (SSL_get_error(ssl_, got) == SSL_ERROR_SSL) {
    char text[200];
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    error_ = text;
  }
  ERR_clear_error();
  take_output(out);
  return plain;
}

void TlsPeer::write(std::string_view plain, std::string& out) {
  if (plain.empty() || failed()) return;
  ASSERT(SSL_write(ssl_, plain.data(), static_cast<int>(plain.size())) == static_cast<int>(plain.size()));
  take_output(out);
}

void TlsPeer::say_goodbye(std::string& out) {
  if (!open() || failed()) return;
  SSL_shutdown(ssl_);
  ERR_clear_error();
  take_output(out);
}

void TlsPeer::take_output(std::string& out) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(SSL_get_wbio(ssl_), &data);
  out.append(data, static_cast<size_t>(size));
  (void)BIO_reset(SSL_get_wbio(ssl_));
}

bool TlsPeer::open() const {
  return SSL_is_init_finished(ssl_) == 1;
}

bool TlsPeer::resumed() const {
  return SSL_session_reused(ssl_) == 1;
}

SSL_SESSION* TlsPeer::session() const {
  SSL_SESSION* kept = SSL_get1_session(ssl_);
  if (kept && SSL_SESSION_is_resumable(kept) == 1) return kept;
  SSL_SESSION_free(kept);
  return nullptr;
}

}  // namespace berth::sim
