// What a secret of the user list looks like, seen by its form alone: whether it is a hash that somebody has damaged,
// which would count as a password in clear. What it is in the end, auth/secrets.h says, by the same rules. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace berth::config {

inline constexpr size_t kSecretSaltSizeMax = 1024;             // in bytes, of a SCRAM secret
inline constexpr uint32_t kSecretIterationsUsual = 1'000'000;  // more, and we do not log in to a server with it
inline constexpr size_t kDamagedMd5SizeMin = 16;               // so many hexadecimal digits behind md5 are no word

// At most one of them is not empty; neither quotes the secret.
struct SecretForm {
  std::string mistake;  // it must not be taken for a password
  std::string warning;
};

SecretForm look_at_secret(std::string_view secret);

}  // namespace berth::config
