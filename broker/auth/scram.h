// What both sides of SCRAM-SHA-256 share (RFC 5802, RFC 7677): the arithmetic, on OpenSSL, and the attributes of its
// messages.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "auth/secrets.h"
#include "base/result.h"

namespace berth::auth {

Digest sha256(std::string_view bytes);
// HMAC of the parts as if they were one text. Any thread; no lock and no allocation after a thread's first call.
Digest hmac_sha256(std::string_view key, std::initializer_list<std::string_view> parts);
inline std::string_view view_of(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}
Digest xor_of(const Digest& a, const Digest& b);

// Slow: SASLprep and `iterations` rounds of PBKDF2, 0.2 microseconds each.
Digest salted_password(std::string_view password, std::string_view salt, uint32_t iterations);
Digest client_key(const Digest& salted);
Digest server_key(const Digest& salted);
inline Digest stored_key(const Digest& client_key) {
  return sha256(view_of(client_key));
}
// The secret that PostgreSQL would store; the salt given, so slow as salted_password.
ScramSecret make_scram_secret(std::string_view password, std::string_view salt, uint32_t iterations);
// Its text, as in auth_file and pg_authid.
std::string to_text(const ScramSecret& secret);

// A fresh nonce: kScramNonceRawSize random bytes in base64, as PostgreSQL's.
std::string make_nonce();
// Drops the nonces that this thread has drawn in advance: for fuzzers, whose randomness begins anew with each input.
void forget_nonces();

// "" or why a SCRAM message cannot be one: empty, longer than kScramMessageSizeMax, or with a NUL inside.
std::string_view why_not_a_message(std::string_view message);
// Of a nonce: 1 to `max` printable characters other than the comma.
bool is_nonce(std::string_view text, size_t max);
// The only kind of channel binding that there is here (RFC 5929), as PostgreSQL's; header and end of a gs2 header.
inline constexpr std::string_view kPlusHeader = "p=tls-server-end-point,,";
// What of a peer's text may stand in the log: at most kReasonTextMax characters, all printable.
std::string printable(std::string_view text);

// Walks over `a=value,b=value`. After each comma an attribute must follow (T13).
class Attributes {
 public:
  explicit Attributes(std::string_view text) : rest_(text) {}
  bool take(char name, std::string_view& value);
  bool take_any(char& name, std::string_view& value);
  // The name of the attribute that comes next; NUL when the text is over.
  char next() const { return more_ && !rest_.empty() ? rest_[0] : '\0'; }
  bool at_end() const { return !more_; }
  // Where the next attribute begins, in bytes left to the end.
  size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
  bool more_ = true;  // an attribute must follow
};

}  // namespace berth::auth
