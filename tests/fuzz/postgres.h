// PostgreSQL 15's own arithmetic of logins, from libpgcommon of its development files: what the targets of auth are
// compared with. Texts must not hold NUL bytes, which no password of PostgreSQL can.
#pragma once

#include <string>
#include <string_view>

namespace berth::postgres {

// As a server and libpq use it: a password that SASLprep refuses stays as it is.
std::string saslprep(std::string_view password);

std::string base64_encode(std::string_view bytes);
// Not strict: white space is skipped and unused bits are ignored.
bool base64_decode(std::string_view text, std::string& out);
// RFC 4648 to the letter: what is written again as it was read.
bool base64_decode_strict(std::string_view text, std::string& out);

// "md5" + md5(first + second).
std::string md5(std::string_view first, std::string_view second);

std::string sha256(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view text);

// Of a password that has been prepared; 32 bytes each.
struct ScramKeys {
  std::string client, stored, server;
};
ScramKeys scram_keys(std::string_view prepared, std::string_view salt, int iterations);
// The text that pg_authid would hold.
std::string scram_secret(std::string_view prepared, std::string_view salt, int iterations);

}  // namespace berth::postgres
