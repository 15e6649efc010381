// What all TLS connections of one side share: protocol versions, ciphers, certificate, key, roots, ticket keys. Made
// from settings and files when the process starts or reloads, never changed afterwards, and shared by all threads; a
// connection keeps the one that it began with. What one connection does with it is net/tls_session.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret_memory.h"
#include "net/tls_files.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX
struct ssl_st;      // and SSL

namespace berth::net {

// PgBouncer's and libpq's modes, in the order of their strictness.
enum class TlsMode : uint8_t { kDisable, kAllow, kPrefer, kRequire, kVerifyCa, kVerifyFull };

// As the configuration writes it.
std::string_view to_string(TlsMode mode);
Result<TlsMode> parse_tls_mode(std::string_view text);

// The settings client_tls_* or server_tls_*, by PgBouncer's names and with its values.
struct TlsSettings {
  TlsMode mode = TlsMode::kDisable;
  std::string ca_file;  // towards servers also "system": the roots of the operating system
  std::string cert_file;
  std::string key_file;
  std::string protocols = "secure";  // secure, all, legacy, tlsv1.0 ... tlsv1.3; a list; ! in front takes one away
  std::string ciphers = "default";   // default, secure, normal, fast, all, or a list of OpenSSL's
  std::string tls13_ciphers;         // empty: OpenSSL's own
  std::string ecdhcurve = "auto";    // auto, none, or names
  std::string dheparams = "auto";    // auto, none, legacy, or a file

  bool operator==(const TlsSettings&) const = default;
};

// In place of a file of roots: those of the operating system.
inline constexpr std::string_view kSystemRoots = "system";

// The name of the protocol that PostgreSQL's clients and servers agree on (ALPN).
inline constexpr std::string_view kTlsProtocol = "postgresql";

class TicketKeys;

// Something of a context that ends some day.
struct TlsTerm {
  std::string what;      // for people: `the certificate of "FILE"`
  int64_t until = 0;     // seconds since 1970
  bool is_list = false;  // of revoked certificates: while it is overdue, no certificate of its authority is taken
};

class TlsContext {
 public:
  // Reads and checks all that the settings name. An Error's text is `KEY: what is wrong`, where KEY is the setting
  // with its prefix (client_tls_key_file), and names the file if it is about one. The mode must not be kDisable.
  static Result<std::shared_ptr<const TlsContext>> for_clients(const TlsSettings& settings);
  static Result<std::shared_ptr<const TlsContext>> for_servers(const TlsSettings& settings);

  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ~TlsContext();

  const TlsSettings& settings() const { return settings_; }
  TlsMode mode() const { return settings_.mode; }
  // SSL_new() counts a reference of its own, so that an SSL may outlive this object.
  ssl_ctx_st* native() const { return ctx_; }

  // Our own certificate; without one (towards servers it need not be there) `present` is false.
  const CertificateFacts& certificate() const { return certificate_; }
  // The files that it was made from, as they were.
  const std::vector<FileStamp>& files() const { return files_; }
  // What does no harm but should be known: a key that the group may read, a certificate that is not valid yet.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Our certificate and those behind it, then root certificates and lists of revoked ones; not the system's.
  const std::vector<TlsTerm>& terms() const { return terms_; }
  // Of the root certificates: equal digests, equal trust.
  const std::string& roots_digest() const { return roots_digest_; }
  // Of the private key, and as secret; empty: there is none.
  const SecretString& key_digest() const { return key_digest_; }
  int64_t loaded_at() const { return loaded_at_; }  // seconds since 1970

  // Prepares one connection to a server: SNI, and in verify-full the name or address that the certificate must have.
  // `host` is what the configuration names, not what it resolved to.
  void expect_host(ssl_st* ssl, const std::string& host) const;

 private:
  friend class TlsContextBuilder;
  TlsContext() = default;

  TlsSettings settings_;
  ssl_ctx_st* ctx_ = nullptr;
  CertificateFacts certificate_;
  std::string roots_digest_;
  SecretString key_digest_;
  std::vector<FileStamp> files_;
  std::vector<std::string> warnings_;
  std::vector<TlsTerm> terms_;
  int64_t loaded_at_ = 0;
  std::shared_ptr<TicketKeys> ticket_keys_;
};

}  // namespace berth::net
