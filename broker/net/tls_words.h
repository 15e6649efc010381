// PgBouncer's words for protocol versions, ciphers and curves, as what OpenSSL takes. Pure. An Error's text says what
// is wrong without naming the setting.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace berth::net {

// Bits, TLS 1.0 first.
enum TlsVersions : unsigned { kTls10 = 1, kTls11 = 2, kTls12 = 4, kTls13 = 8 };

// secure (and default): 1.2 and 1.3; all (and legacy, tlsv1): every version; tlsv1.0 to tlsv1.3. Separated by commas
// or colons, read from left to right, `!` in front takes away.
Result<unsigned> parse_tls_protocols(std::string_view text);
// A cipher list of OpenSSL. Empty: the system's own default, which is meant by default, secure, normal and fast.
std::string tls_cipher_list(std::string_view text);
// Of TLS 1.3, when nothing is configured: OpenSSL's, in another order (docs/decisions/0009-tls.md).
inline constexpr std::string_view kTls13Suites =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
// A list of groups as OpenSSL takes it, from names with commas, colons or spaces between. Empty: OpenSSL's own
// (auto).
std::string tls_groups(std::string_view text);

}  // namespace berth::net
