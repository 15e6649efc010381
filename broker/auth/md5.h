// PostgreSQL's md5 passwords: the stored form and the answer to a salt. All return false where this OpenSSL refuses
// MD5 (FIPS mode); nobody can then log in that way.
#pragma once

#include <string>
#include <string_view>

namespace berth::auth {

// 32 lower-case hex digits.
bool md5_hex(std::string_view bytes, std::string& out);
// "md5" + md5(password + user): what auth_file and pg_authid store.
bool md5_secret(std::string_view password, std::string_view user, std::string& out);
// "md5" + md5(the secret's 32 digits + salt): what goes over the wire. `secret` is what md5_secret gives.
bool md5_response(std::string_view secret, std::string_view salt, std::string& out);

}  // namespace berth::auth
