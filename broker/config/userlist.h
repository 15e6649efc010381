// PgBouncer's auth_file: lines of "user" "secret", the rest of a line is ignored, "" inside quotes is one quote;
// comments start with ; or #. Pure; no mistake quotes a secret.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace berth::config {

inline constexpr size_t kMaxUserNameSize = 10000;     // what fits in a startup packet
inline constexpr size_t kMaxSecretSize = 65535;       // PgBouncer 1.26's limit for a password
inline constexpr size_t kMaxUserlistMistakes = 1000;  // then it is no user list

struct Userlist {
  StringMap<SecretString> secrets;  // the last line of a user counts
  std::vector<Remark> mistakes;
  std::vector<Remark> warnings;
};

Userlist parse_userlist(std::string_view text, const std::string& file);

}  // namespace berth::config
