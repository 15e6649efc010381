// SCRAM-SHA-256's arithmetic and the attributes of its messages.
#include "auth/scram.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "auth/base64.h"
#include "auth/limits.h"
#include "auth/saslprep.h"
#include "base/assert.h"
#include "base/random.h"

namespace berth::auth {
namespace {

const uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// One HMAC context per thread. OpenSSL 3 looks the algorithm up under a process-wide lock whenever a context is made,
// which caps the logins of all threads together; a context that only gets a new key does not.
class Hmac {
 public:
  Hmac() {
    const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr),
                                                                EVP_MAC_free);
    ASSERT(mac);
    context_.reset(EVP_MAC_CTX_new(mac.get()));
    ASSERT(context_);
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    ASSERT(EVP_MAC_CTX_set_params(context_.get(), params) == 1);
  }
  Digest run(std::string_view key, std::initializer_list<std::string_view> parts) {
    set_key(key);
    for (const std::string_view part : parts) {
      ASSERT(EVP_MAC_update(context_.get(), bytes_of(part), part.size()) == 1);
    }
    Digest out;
    size_t size = 0;
    ASSERT(EVP_MAC_final(context_.get(), out.data(), &size, out.size()) == 1 && size == out.size());
    set_key(std::string_view("\0", 1));  // so that the context does not keep the secret one
    return out;
  }

 private:
  void set_key(std::string_view key) {
    ASSERT(EVP_MAC_init(context_.get(), bytes_of(key), key.size(), nullptr) == 1);
  }
  struct Free {
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
  };
  std::unique_ptr<EVP_MAC_CTX, Free> context_;
};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

Digest sha256(std::string_view bytes) {
  Digest out;
  unsigned size = 0;
  ASSERT(EVP_Digest(bytes.data(), bytes.size(), out.data(), &size, EVP_sha256(), nullptr) == 1 && size == out.size());
  return out;
}

Digest hmac_sha256(std::string_view key, std::initializer_list<std::string_view> parts) {
  ASSERT(!key.empty());  // an empty key would mean "the key of last time" to OpenSSL
  thread_local Hmac hmac;
  return hmac.run(key, parts);
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
  char raw[kScramNonceRawSize];
  fill_secure(raw, sizeof raw);
  return base64_encode({raw, sizeof raw});
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
