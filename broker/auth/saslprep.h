// SASLprep (RFC 4013) of a password before it is hashed for SCRAM, as PostgreSQL does it.
#pragma once

#include <string>
#include <string_view>

namespace berth::auth {

// The prepared form. A password of ASCII only stays as it is. One that is not UTF-8, or that SASLprep prohibits,
// stays as it is too: PostgreSQL hashes the raw bytes then, and so must we, or a login with it would fail only
// through the broker. Likewise one that is longer than kSaslprepSizeMax and not ASCII.
std::string saslprep(std::string_view password);

}  // namespace berth::auth
