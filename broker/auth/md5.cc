// PostgreSQL's md5 passwords, on OpenSSL.
#include "auth/md5.h"

#include <openssl/evp.h>

#include "auth/secrets.h"
#include "base/assert.h"

namespace berth::auth {
namespace {

constexpr std::string_view kPrefix = "md5";
constexpr size_t kMd5HexSize = 32;

bool prefixed_md5_of(std::string_view first, std::string_view second, std::string& out) {
  std::string joined;
  joined.reserve(first.size() + second.size());
  joined.append(first).append(second);
  std::string hex;
  const bool done = md5_hex(joined, hex);
  scrub(joined);
  out.assign(kPrefix).append(hex);
  scrub(hex);
  return done;
}

}  // namespace

bool md5_hex(std::string_view bytes, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  out.clear();
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_md5(), nullptr) != 1) return false;
  ASSERT(size * 2 == kMd5HexSize);
  out.reserve(kMd5HexSize);
  for (unsigned i = 0; i < size; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return true;
}

bool md5_secret(std::string_view password, std::string_view user, std::string& out) {
  return prefixed_md5_of(password, user, out);
}

bool md5_response(std::string_view secret, std::string_view salt, std::string& out) {
  ASSERT(secret.size() == kPrefix.size() + kMd5HexSize);
  return prefixed_md5_of(secret.substr(kPrefix.size()), salt, out);
}

}  // namespace berth::auth
