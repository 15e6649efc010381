// See tls_context.h: each setting becomes one step of the builder, and the first that fails says which it was.
#include "net/tls_context.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/time.h"
#include "net/openssl_memory.h"
#include "net/tls_session.h"
#include "net/tls_tickets.h"
#include "net/tls_words.h"

namespace berth::net {

namespace {

constexpr std::string_view kModes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
constexpr long kSessionSeconds = 2 * 3600;

struct Free {
  void operator()(BIO* of) const { BIO_free(of); }
  void operator()(X509* of) const { X509_free(of); }
  void operator()(EVP_PKEY* of) const { EVP_PKEY_free(of); }
  void operator()(STACK_OF(X509_INFO) * of) const { sk_X509_INFO_pop_free(of, X509_INFO_free); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<BIO> reader_of(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string digest_of(std::string_view text) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), bytes, &size, EVP_sha256(), nullptr);
  return {reinterpret_cast<const char*>(bytes), size};
}

// A key with a passphrase: there is nobody to ask.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

}  // namespace

std::string_view to_string(TlsMode mode) {
  return kModes[static_cast<size_t>(mode)];
}

Result<TlsMode> parse_tls_mode(std::string_view text) {
  const auto* at = std::find(std::begin(kModes), std::end(kModes), text);
  if (at != std::end(kModes)) return static_cast<TlsMode>(at - std::begin(kModes));
  return Error{fmt::format("\"{}\" is not one of disable, allow, prefer, require, verify-ca, verify-full", text), {}};
}

TlsContext::~TlsContext() {
  SSL_CTX_free(ctx_);
}

// Those that a context speaks, in its order.
static std::string tls13_suites(SSL_CTX* ctx) {
  std::string out;
  const STACK_OF(SSL_CIPHER)* all = SSL_CTX_get_ciphers(ctx);
  for (int i = 0; i < sk_SSL_CIPHER_num(all); ++i) {
    const SSL_CIPHER* one = sk_SSL_CIPHER_value(all, i);
    if (SSL_CIPHER_get_version(one) != std::string_view("TLSv1.3")) continue;
    if (!out.empty()) out += ':';
    out += SSL_CIPHER_get_name(one);
  }
  return out;
}

// One context in the making. `prefix` is that of the settings' names, for what is told.
class TlsContextBuilder {
 public:
  TlsContextBuilder(const TlsSettings& settings, bool for_clients)
      : settings_(settings), for_clients_(for_clients), made_(new TlsContext) {
    ASSERT(settings.mode != TlsMode::kDisable);
    made_->settings_ = settings;
    made_->loaded_at_ = wall_now() / kSecond;
  }

  Result<std::shared_ptr<const TlsContext>> build() {
    ERR_clear_error();
    made_->ctx_ = ctx_ = SSL_CTX_new(for_clients_ ? TLS_server_method() : TLS_client_method());
    if (!ctx_) return Error{fmt::format("cannot set up TLS: {}", tls_error()), {}};
    set_options();
    const bool good = set_protocols() && set_ciphers() && set_curve() && set_dheparams() && load_certificate() &&
                      load_key() && load_roots() && set_verification();
    if (!good) {
      ERR_clear_error();
      return Error{std::move(why_), {}};
    }
    set_sessions();
    return std::shared_ptr<const TlsContext>(std::move(made_));
  }

 private:
  bool fail(std::string_view key, std::string_view why) {
    why_ = fmt::format("{}_tls_{}: {}", for_clients_ ? "client" : "server", key, why);
    return false;
  }

  void set_options() {
    if (!for_clients_) return TlsSession::prepare_connecting(ctx_);
    SSL_CTX_set_options(ctx_, SSL_OP_CIPHER_SERVER_PREFERENCE);
    TlsSession::prepare_accepting(ctx_);
  }

  bool set_protocols() {
    const Result<unsigned> parsed = parse_tls_protocols(settings_.protocols);
    if (!parsed) return fail("protocols", parsed.error().text);
    struct Version {
      unsigned bit;
      int number;
      uint64_t leave_out;
    };
    constexpr Version kVersions[] = {{kTls10, TLS1_VERSION, SSL_OP_NO_TLSv1},
                                     {kTls11, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
                                     {kTls12, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
                                     {kTls13, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3}};
    // The bounds set aside those of the system's openssl.cnf: what is written here is meant.
    int low = 0, high = 0;
    for (const Version& version : kVersions) {
      if (parsed.value() & version.bit) {
        low = low ? low : version.number;
        high = version.number;
      } else {
        SSL_CTX_set_options(ctx_, version.leave_out);
      }
    }
    SSL_CTX_set_min_proto_version(ctx_, low);
    SSL_CTX_set_max_proto_version(ctx_, high);
    return true;
  }

  // Never those without a certificate or without encryption, whatever the list says: with an anonymous one OpenSSL
  // checks nothing, not even in verify-full.
  bool set_ciphers() {
    std::string list = tls_cipher_list(settings_.ciphers);
    if (!list.empty()) list += ":!aNULL:!eNULL";
    if (!list.empty() && SSL_CTX_set_cipher_list(ctx_, list.c_str()) != 1) {
      return fail("ciphers", fmt::format("no cipher of \"{}\" is known: {}", settings_.ciphers, tls_error()));
    }
    if (settings_.tls13_ciphers.empty()) {
      // A system whose openssl.cnf leaves one out, or wants another order, has reasons: that stays.
      if (!for_clients_ || tls13_suites(ctx_) != OSSL_default_ciphersuites()) return true;
      return SSL_CTX_set_ciphersuites(ctx_, std::string(kTls13Suites).c_str()) == 1;
    }
    if (SSL_CTX_set_ciphersuites(ctx_, settings_.tls13_ciphers.c_str()) == 1) return true;
    why_ = fmt::format("{}_tls13_ciphers: \"{}\" is not a list of cipher suites of TLS 1.3: {}",
                       for_clients_ ? "client" : "server", settings_.tls13_ciphers, tls_error());
    return false;
  }

  bool set_curve() {
    const std::string groups = tls_groups(settings_.ecdhcurve);
    if (groups.empty() || SSL_CTX_set1_groups_list(ctx_, groups.c_str()) == 1) return true;
    return fail("ecdhcurve", fmt::format("\"{}\" names a curve that OpenSSL does not know", settings_.ecdhcurve));
  }

  // For clients with DHE ciphers only. 1024 bits, PgBouncer's `legacy`, are too few for any OpenSSL of today.
  bool set_dheparams() {
    const std::string& text = settings_.dheparams;
    if (!for_clients_ || text == "none") return true;
    if (text.empty() || text == "auto" || text == "legacy") return SSL_CTX_set_dh_auto(ctx_, 1) == 1;
    FileText file;
    if (!take_file("dheparams", read_tls_file(text), file)) return false;
    Owned<EVP_PKEY> parameters(PEM_read_bio_Parameters(reader_of(file.text).get(), nullptr));
    if (!parameters || SSL_CTX_set0_tmp_dh_pkey(ctx_, parameters.get()) != 1) {
      return fail("dheparams", fmt::format("no Diffie-Hellman parameters in \"{}\": {}", text, tls_error()));
    }
    (void)parameters.release();  // the context owns them now
    return true;
  }

  bool take_file(std::string_view key, Result<FileText> read, FileText& out) {
    if (!read) return fail(key, read.error().text);
    out = std::move(read.value());
    made_->files_.push_back(out.stamp);
    if (!out.warning.empty()) made_->warnings_.push_back(out.warning);
    return true;
  }

  bool load_certificate() {
    const std::string& path = settings_.cert_file;
    if (path.empty() != settings_.key_file.empty()) {
      return path.empty() ? fail("key_file", "a key without a certificate")
                          : fail("cert_file", "no key for it is set");
    }
    if (path.empty()) {
      return for_clients_ ? fail("cert_file", "TLS for clients needs a certificate and its key") : true;
    }
    FileText file;
    if (!take_file("cert_file", read_tls_file(path), file)) return false;
    certificate_digest_ = digest_of(file.text);
    const Owned<BIO> reader = reader_of(file.text);
    const Owned<X509> own(PEM_read_bio_X509_AUX(reader.get(), nullptr, no_passphrase, nullptr));
    if (!own) return fail("cert_file", fmt::format("no certificate in \"{}\": {}", path, tls_error()));
    if (SSL_CTX_use_certificate(ctx_, own.get()) != 1) {
      return fail("cert_file", fmt::format("cannot use the certificate of \"{}\": {}", path, tls_error()));
    }
    made_->certificate_ = facts_of(own.get());
    note_own(path);
    // The intermediate ones follow.
    while (X509* next = PEM_read_bio_X509(reader.get(), nullptr, no_passphrase, nullptr)) {
      if (SSL_CTX_add0_chain_cert(ctx_, next) != 1) {
        X509_free(next);
        return fail("cert_file", fmt::format("cannot use the chain of \"{}\": {}", path, tls_error()));
      }
      note_other(next, path);
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
      return fail("cert_file", fmt::format("a broken certificate in \"{}\": {}", path, tls_error()));
    }
    ERR_clear_error();
    return true;
  }

  void note_own(const std::string& path) {
    const CertificateFacts& facts = made_->certificate_;
    made_->terms_.push_back({fmt::format("the certificate of \"{}\"", path), facts.not_after});
    if (facts.not_before > made_->loaded_at_) {
      made_->warnings_.push_back(fmt::format("the certificate of \"{}\" is not valid yet", path));
    }
  }

  void note_other(const X509* certificate, const std::string& path) {
    const CertificateFacts facts = facts_of(certificate);
    made_->terms_.push_back({fmt::format("the certificate \"{}\" of \"{}\"", facts.subject, path), facts.not_after});
  }

  bool load_key() {
    const std::string& path = settings_.key_file;
    if (path.empty()) return true;
    const WipeFreed wiped;
    FileText file;
    if (!take_file("key_file", read_key_file(path), file)) return false;
    if (!for_clients_ && !file.warning.empty()) {
      made_->warnings_.back() += ", and the link is made by libpq, which refuses it";
    }
    const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(reader_of(file.text).get(), nullptr, no_passphrase, nullptr));
    OPENSSL_cleanse(file.text.data(), file.text.size());
    if (!key) {
      return fail("key_file", fmt::format("no private key without a passphrase in \"{}\": {}", path, tls_error()));
    }
    note_key(key.get());
    if (SSL_CTX_use_PrivateKey(ctx_, key.get()) == 1 && SSL_CTX_check_private_key(ctx_) == 1) return true;
    return fail("key_file", fmt::format("the key of \"{}\" does not belong to the certificate of \"{}\": {}", path,
                                        settings_.cert_file, tls_error()));
  }

  void note_key(const EVP_PKEY* key) {
    unsigned char* bytes = nullptr;
    const int size = i2d_PrivateKey(key, &bytes);
    if (size <= 0) return;
    std::string digest = digest_of({reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)});
    OPENSSL_clear_free(bytes, static_cast<size_t>(size));
    made_->key_digest_ = digest;
    OPENSSL_cleanse(digest.data(), digest.size());
  }

  bool load_roots() {
    const std::string& path = settings_.ca_file;
    if (path.empty()) {
      if (settings_.mode < TlsMode::kVerifyCa) return true;
      return fail("ca_file", fmt::format("{} needs root certificates{}", to_string(settings_.mode),
                                         for_clients_ ? "" : " (a file, or system for those of the system)"));
    }
    if (!for_clients_ && path == kSystemRoots) {
      note_system_roots();
      if (SSL_CTX_set_default_verify_paths(ctx_) != 1) return fail("ca_file", "the system has no root certificates");
      // Anybody may have a certificate of a public authority.
      if (settings_.mode != TlsMode::kVerifyCa) return true;
      return fail("ca_file", "the system's root certificates prove a server only with verify-full");
    }
    FileText file;
    if (!take_file("ca_file", read_tls_file(path), file)) return false;
    made_->roots_digest_ = digest_of(file.text);
    const Owned<STACK_OF(X509_INFO)> all(
        PEM_X509_INFO_read_bio(reader_of(file.text).get(), nullptr, no_passphrase, nullptr));
    if (!all) return fail("ca_file", fmt::format("a broken certificate in \"{}\": {}", path, tls_error()));
    int count = 0;
    for (int i = 0; i < sk_X509_INFO_num(all.get()); ++i) count += take_root(*sk_X509_INFO_value(all.get(), i));
    return count > 0 || fail("ca_file", fmt::format("no certificate in \"{}\"", path));
  }

  // Before OpenSSL reads them, by its own rules: a file, and directories in which it looks for one certificate at a
  // time. Any of them may be absent.
  void note_system_roots() {
    const auto place = [](const char* variable, const char* otherwise) {
      const char* named = secure_getenv(variable);
      return std::string(named ? named : otherwise);
    };
    std::string known;
    const auto note = [&](const std::string& path) {
      if (path.empty()) return;
      const FileStamp stamp = stamp_of(path);
      made_->files_.push_back(stamp);
      known += fmt::format("{}\n{} {} {} {}\n", path, stamp.device, stamp.inode, stamp.size, stamp.changed_at);
    };
    note(place(X509_get_default_cert_file_env(), X509_get_default_cert_file()));
    std::string directories = place(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
    for (directories += ':'; !directories.empty(); directories.erase(0, directories.find(':') + 1)) {
      note(directories.substr(0, directories.find(':')));
    }
    made_->roots_digest_ = digest_of(known);
  }

  // Lists of revoked certificates in the same file are obeyed, for every certificate of a chain: with one list, each
  // authority needs its own.
  int take_root(const X509_INFO& info) {
    X509_STORE* store = SSL_CTX_get_cert_store(ctx_);
    if (info.crl) {
      X509_STORE_add_crl(store, info.crl);
      X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
      note_list(facts_of(info.crl));
    }
    if (!info.x509) return 0;
    note_other(info.x509, settings_.ca_file);
    X509_STORE_add_cert(store, info.x509);
    if (for_clients_) SSL_CTX_add_client_CA(ctx_, info.x509);  // tells clients whose certificates are wanted
    return 1;
  }

  // Of one authority's lists the one that lasts longest counts: the older may stay in the file.
  void note_list(const ListFacts& facts) {
    if (facts.next_update <= 0) return;
    const auto [at, is_new] = list_at_.try_emplace(facts.issuer, made_->terms_.size());
    if (is_new) {
      made_->terms_.push_back(
          {fmt::format("the list of revoked certificates of \"{}\" in \"{}\"", facts.issuer, settings_.ca_file),
           facts.next_update, true});
    } else {
      int64_t& until = made_->terms_[at->second].until;
      until = std::max(until, facts.next_update);
    }
  }

  // A client's certificate is asked for when there is something to check it by, and must be there from verify-ca on.
  // A server's is checked from verify-ca on only, as PgBouncer's documentation says.
  bool set_verification() {
    int how = SSL_VERIFY_NONE;
    if (settings_.mode >= TlsMode::kVerifyCa) {
      how = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    } else if (for_clients_ && !settings_.ca_file.empty()) {
      how = SSL_VERIFY_PEER;
    }
    SSL_CTX_set_verify(ctx_, how, nullptr);
    return true;
  }

  void set_sessions() {
    SSL_CTX_set_session_cache_mode(ctx_, SSL_SESS_CACHE_OFF);  // what is resumed, the client keeps in its ticket
    if (!for_clients_) return;
    // Our certificate as well: a client that resumes binds its login to the one that it has seen.
    const std::string likeness = fmt::format(
        "{}\n{}\n{}\n{}\n{}\n{}\n{}{}", to_string(settings_.mode), settings_.protocols, settings_.ciphers,
        settings_.tls13_ciphers, settings_.ecdhcurve, settings_.ca_file, made_->roots_digest_, certificate_digest_);
    made_->ticket_keys_ = TicketKeys::shared(likeness);
    TicketKeys::install(ctx_, made_->ticket_keys_.get());
    SSL_CTX_set_timeout(ctx_, kSessionSeconds);
    SSL_CTX_set_session_id_context(ctx_, reinterpret_cast<const unsigned char*>(kTlsProtocol.data()),
                                   static_cast<unsigned>(kTlsProtocol.size()));
  }

  const TlsSettings& settings_;
  const bool for_clients_;
  std::unique_ptr<TlsContext> made_;
  SSL_CTX* ctx_ = nullptr;
  std::string certificate_digest_;
  std::map<std::string, size_t> list_at_;  // by the authority's name: where its term stands
  std::string why_;
};

Result<std::shared_ptr<const TlsContext>> TlsContext::for_clients(const TlsSettings& settings) {
  return TlsContextBuilder(settings, true).build();
}

Result<std::shared_ptr<const TlsContext>> TlsContext::for_servers(const TlsSettings& settings) {
  return TlsContextBuilder(settings, false).build();
}

void TlsContext::expect_host(SSL* ssl, const std::string& host) const {
  unsigned char address[sizeof(in6_addr)];
  const bool is_address =
      inet_pton(AF_INET, host.c_str(), address) == 1 || inet_pton(AF_INET6, host.c_str(), address) == 1;
  // RFC 6066: a name, never an address.
  if (!is_address && !host.empty()) SSL_set_tlsext_host_name(ssl, host.c_str());
  if (settings_.mode != TlsMode::kVerifyFull) return;
  X509_VERIFY_PARAM* expected = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool set = is_address ? X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str()) == 1
                              : X509_VERIFY_PARAM_set1_host(expected, host.data(), host.size()) == 1;
  ASSERT(set && !host.empty());  // without a name to check, verify-full would check nothing
}

}  // namespace berth::net
