// SCRAM-SHA-256's arithmetic and the attributes of its messages.
#include "auth/scram.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <memory>

#include "auth/limits.h"
#include "auth/saslprep.h"
#include "base/assert.h"
#include "base/base64.h"
#include "base/random.h"

namespace berth::auth {
namespace {

const uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// SHA-256 with one context per thread. OpenSSL 3 looks an algorithm up under a process-wide lock whenever a context
// is made, which caps the logins of all threads together; and its own HMAC costs twice what two digests do.
class Sha256 {
 public:
  static constexpr size_t kBlock = 64;

  static Sha256& of_thread() {
    thread_local Sha256 one;
    return one;
  }
  void start() { ASSERT(EVP_DigestInit_ex2(context_.get(), algorithm(), nullptr) == 1); }
  void add(const void* bytes, size_t size) { ASSERT(EVP_DigestUpdate(context_.get(), bytes, size) == 1); }
  void add(std::string_view bytes) { add(bytes.data(), bytes.size()); }
  Digest result() {
    Digest out;
    unsigned size = 0;
    ASSERT(EVP_DigestFinal_ex(context_.get(), out.data(), &size) == 1 && size == out.size());
    return out;
  }
  // The context holds the last block of what was added, which may be a secret: over it goes as much of nothing.
  void forget() {
    static constexpr char kNothing[kBlock - 1] = {};
    start();
    add(kNothing, sizeof kNothing);
  }

 private:
  Sha256() { ASSERT(context_); }
  static const EVP_MD* algorithm() {
    static const EVP_MD* const found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    ASSERT(found);
    return found;
  }
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Drawn in advance, so that a login does not pay a system call: whoever can read this memory can do worse than to
// know the nonces of logins to come.
struct Nonces {
  char drawn[32][kScramNonceRawSize];
  size_t left = 0;
};
thread_local Nonces nonces;

}  // namespace

Digest sha256(std::string_view bytes) {
  Sha256& hash = Sha256::of_thread();
  hash.start();
  hash.add(bytes);
  const Digest out = hash.result();
  hash.forget();
  return out;
}

// RFC 2104: H(key ^ opad, H(key ^ ipad, text)).
Digest hmac_sha256(std::string_view key, std::initializer_list<std::string_view> parts) {
  Digest short_key{};
  if (key.size() > Sha256::kBlock) {
    short_key = sha256(key);
    key = view_of(short_key);
  }
  unsigned char inner[Sha256::kBlock], outer[Sha256::kBlock];
  for (size_t i = 0; i < Sha256::kBlock; ++i) {
    const auto byte = static_cast<unsigned char>(i < key.size() ? key[i] : 0);
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  Sha256& hash = Sha256::of_thread();
  hash.start();
  hash.add(inner, sizeof inner);
  for (const std::string_view part : parts) hash.add(part);
  const Digest digest = hash.result();
  hash.start();
  hash.add(outer, sizeof outer);
  hash.add(view_of(digest));
  const Digest out = hash.result();
  hash.forget();
  wipe(inner, sizeof inner);
  wipe(outer, sizeof outer);
  scrub(short_key);
  return out;
}

Digest xor_of(const Digest& a, const Digest& b) {
  Digest out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = a[i] ^ b[i];
  return out;
}

Digest salted_password(std::string_view password, std::string_view salt, uint32_t iterations) {
  ASSERT(iterations >= 1 && iterations <= kScramIterationsMax);
  ASSERT(salt.size() <= kScramSaltSizeMax);
  std::string prepared = saslprep(password);
  ASSERT(prepared.size() <= std::numeric_limits<int>::max());
  Digest out;
  const int done = PKCS5_PBKDF2_HMAC(prepared.data(), static_cast<int>(prepared.size()), bytes_of(salt),
                                     static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
                                     static_cast<int>(out.size()), out.data());
  ASSERT(done == 1);
  scrub(prepared);
  return out;
}

Digest client_key(const Digest& salted) {
  return hmac_sha256(view_of(salted), {"Client Key"});
}

Digest server_key(const Digest& salted) {
  return hmac_sha256(view_of(salted), {"Server Key"});
}

ScramSecret make_scram_secret(std::string_view password, std::string_view salt, uint32_t iterations) {
  Digest salted = salted_password(password, salt, iterations);
  Digest client = client_key(salted);
  ScramSecret secret{iterations, std::string(salt), stored_key(client), server_key(salted)};
  scrub(salted);
  scrub(client);
  return secret;
}

std::string to_text(const ScramSecret& secret) {
  return fmt::format("{}${}:{}${}:{}", "SCRAM-SHA-256", secret.iterations, base64_encode(secret.salt),
                     base64_encode(view_of(secret.stored_key)), base64_encode(view_of(secret.server_key)));
}

std::string make_nonce() {
  if (nonces.left == 0) {
    fill_secure(nonces.drawn, sizeof nonces.drawn);
    nonces.left = std::size(nonces.drawn);
  }
  return base64_encode({nonces.drawn[--nonces.left], kScramNonceRawSize});
}

void forget_nonces() {
  nonces.left = 0;
}

std::string_view why_not_a_message(std::string_view message) {
  if (message.empty()) return "empty SCRAM message";
  if (message.size() > kScramMessageSizeMax) return "SCRAM message too long";
  if (message.find('\0') != std::string_view::npos) return "NUL in SCRAM message";
  return {};
}

bool is_nonce(std::string_view text, size_t max) {
  if (text.empty() || text.size() > max) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x21 && c <= 0x7e && c != ','; });
}

std::string printable(std::string_view text) {
  std::string out(text.substr(0, kReasonTextMax));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return out;
}

bool Attributes::take(char name, std::string_view& value) {
  char found = '\0';
  return next() == name && take_any(found, value);
}

bool Attributes::take_any(char& name, std::string_view& value) {
  if (!more_ || rest_.size() < 2 || !is_letter(rest_[0]) || rest_[1] != '=') return false;
  name = rest_[0];
  const size_t comma = rest_.find(',');
  more_ = comma != std::string_view::npos;
  value = rest_.substr(2, more_ ? comma - 2 : comma);
  rest_.remove_prefix(more_ ? comma + 1 : rest_.size());
  return true;
}

}  // namespace berth::auth
