// The files of TLS: read whole, with what tells whether they have changed since; keys only if nobody else may read
// them; and what people want to know of a certificate. Any thread, but never a worker's: it waits for the disk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

struct x509_st;      // OpenSSL's X509
struct X509_crl_st;  // and X509_CRL

namespace berth::net {

// One file as it was when it was read.
struct FileStamp {
  std::string path;
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = -1;       // -1: it was not there
  int64_t changed_at = 0;  // nanoseconds since 1970; of its owner and mode, too

  bool operator==(const FileStamp&) const = default;
};

// The file as it is now; size -1 if it cannot be looked at.
FileStamp stamp_of(const std::string& path);

struct FileText {
  std::string text;
  FileStamp stamp;
  std::string warning;  // of a key file: it may be read by its group, which is allowed but seldom meant
};

// A whole file of at most kTlsFileMax bytes; the text may hold a secret: wipe it. The Error says why without the
// setting's name.
Result<FileText> read_tls_file(const std::string& path);
// Likewise, and with PostgreSQL's rule for keys: others may neither read nor write it, the group may read it only if
// it belongs to root. (Group-readable and not root's: a warning here, since container platforms mount secrets so.)
Result<FileText> read_key_file(const std::string& path);
inline constexpr int64_t kTlsFileMax = 1 << 20;

struct CertificateFacts {
  bool present = false;
  std::string subject;  // RFC 2253, as PostgreSQL's pg_stat_ssl shows it
  std::string issuer;
  std::string serial;      // hexadecimal
  int64_t not_before = 0;  // seconds since 1970
  int64_t not_after = 0;
};

CertificateFacts facts_of(const x509_st* certificate);

// Of a list of revoked certificates.
struct ListFacts {
  std::string issuer;
  int64_t next_update = 0;  // seconds since 1970; 0: it does not say
};

ListFacts facts_of(const X509_crl_st* list);
// tls-server-end-point of RFC 5929; empty for certificates whose signature has no hash of its own (Ed25519).
std::string binding_of(const x509_st* certificate);
// OpenSSL's reason for its oldest error on this thread, and forgets all of them; never empty.
std::string tls_error();

}  // namespace berth::net
