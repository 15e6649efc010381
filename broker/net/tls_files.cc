// See tls_files.h.
#include "net/tls_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>

namespace berth::net {

namespace {

FileStamp stamp_from(const std::string& path, const struct stat& found) {
  FileStamp out;
  out.path = path;
  out.device = found.st_dev;
  out.inode = found.st_ino;
  out.size = found.st_size;
  out.changed_at = found.st_ctim.tv_sec * 1'000'000'000 + found.st_ctim.tv_nsec;
  return out;
}

Error cannot(std::string_view what, const std::string& path) {
  return Error{fmt::format("cannot {} \"{}\": {}", what, path, std::strerror(errno)), {}};
}

// "" or why a key must not be used, by PostgreSQL's rule; `warning` for what it would refuse and we only mention.
std::string why_too_open(const struct stat& found, const std::string& path, std::string& warning) {
  const bool roots = found.st_uid == 0;
  if (!roots && found.st_uid != geteuid()) {
    return fmt::format("private key file \"{}\" must belong to the broker's user or to root", path);
  }
  if (found.st_mode & (S_IRWXO | S_IWGRP)) {
    return fmt::format(
        "private key file \"{}\" has group or world access (mode {:04o}): at most 0600 is allowed, or 0640 if it "
        "belongs to root",
        path, found.st_mode & 07777);
  }
  if (!roots && (found.st_mode & S_IRWXG)) {
    warning = fmt::format("private key file \"{}\" may be read by its group (mode {:04o}): 0600 is what it should be",
                          path, found.st_mode & 07777);
  }
  return {};
}

Result<FileText> read_file(const std::string& path, bool is_key) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return cannot("open", path);
  const std::unique_ptr<const int, void (*)(const int*)> closer(&fd, [](const int* of) { close(*of); });
  struct stat found {};
  if (fstat(fd, &found) != 0) return cannot("look at", path);
  if (!S_ISREG(found.st_mode)) return Error{fmt::format("\"{}\" is not a file", path), {}};
  if (found.st_size > kTlsFileMax) return Error{fmt::format("\"{}\" is too large", path), {}};
  FileText out;
  out.stamp = stamp_from(path, found);
  if (is_key) {
    if (std::string why = why_too_open(found, path, out.warning); !why.empty()) return Error{std::move(why), {}};
  }
  out.text.resize(static_cast<size_t>(found.st_size));
  size_t have = 0;
  while (have < out.text.size()) {
    const ssize_t got = read(fd, out.text.data() + have, out.text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot("read", path);
    if (got == 0) break;  // it was cut short meanwhile: the stamp will tell
    have += static_cast<size_t>(got);
  }
  out.text.resize(have);
  return out;
}

std::string name_text(const X509_NAME* name) {
  BIO* out = BIO_new(BIO_s_mem());
  X509_NAME_print_ex(out, name, 0, (XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB));
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(out);
  return text;
}

int64_t time_of(const ASN1_TIME* time) {
  tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<int64_t>(timegm(&parts)) : 0;
}

std::string serial_text(const ASN1_INTEGER* serial) {
  BIGNUM* number = ASN1_INTEGER_to_BN(serial, nullptr);
  char* text = number ? BN_bn2hex(number) : nullptr;
  std::string out = text ? text : "";
  OPENSSL_free(text);
  BN_free(number);
  return out;
}

}  // namespace

FileStamp stamp_of(const std::string& path) {
  struct stat found {};
  if (stat(path.c_str(), &found) == 0) return stamp_from(path, found);
  FileStamp missing;
  missing.path = path;
  return missing;
}

Result<FileText> read_tls_file(const std::string& path) {
  return read_file(path, false);
}

Result<FileText> read_key_file(const std::string& path) {
  return read_file(path, true);
}

CertificateFacts facts_of(const X509* certificate) {
  CertificateFacts out;
  if (!certificate) return out;
  out.present = true;
  out.subject = name_text(X509_get_subject_name(certificate));
  out.issuer = name_text(X509_get_issuer_name(certificate));
  out.serial = serial_text(X509_get0_serialNumber(certificate));
  out.not_before = time_of(X509_get0_notBefore(certificate));
  out.not_after = time_of(X509_get0_notAfter(certificate));
  return out;
}

ListFacts facts_of(const X509_CRL* list) {
  const ASN1_TIME* next = X509_CRL_get0_nextUpdate(list);
  return {name_text(X509_CRL_get_issuer(list)), next ? time_of(next) : 0};
}

std::string binding_of(const X509* certificate) {
  int hash = NID_undef;
  if (!certificate ||
      X509_get_signature_info(const_cast<X509*>(certificate), &hash, nullptr, nullptr, nullptr) != 1) {
    return {};
  }
  if (hash == NID_md5 || hash == NID_sha1) hash = NID_sha256;  // RFC 5929 §4.1
  const EVP_MD* digest = EVP_get_digestbynid(hash);
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!digest || X509_digest(certificate, digest, bytes, &size) != 1) return {};
  return {reinterpret_cast<const char*>(bytes), size};
}

std::string tls_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : fmt::format("error {:x}", code);
}

}  // namespace berth::net
