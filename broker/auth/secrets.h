// Secrets as auth_file stores them: a clear password, "md5" + md5(password + user), or a SCRAM-SHA-256 secret in
// PostgreSQL's form. Parsing, making and comparing them; comparison takes constant time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret_memory.h"

namespace berth::auth {

enum class SecretKind : uint8_t { kNone, kPlain, kMd5, kScram };

using Digest = std::array<uint8_t, 32>;

struct ScramSecret {
  uint32_t iterations = 0;
  std::string salt;  // raw bytes
  Digest stored_key{};
  Digest server_key{};
};

// Both overwrite what they hold when they end, so that no copy stays behind in freed memory or on the stack.
struct Secret {
  ~Secret();
  SecretKind kind = SecretKind::kNone;
  SecretString text;  // as written in the file
  ScramSecret scram;  // of kScram
  bool empty() const { return kind == SecretKind::kNone; }
};

// A SCRAM client key, and the server key that must answer it. `known` is false when there is none.
struct ScramKeys {
  ~ScramKeys();
  bool known = false;
  Digest client_key{};
  Digest server_key{};
};

// By its form: "SCRAM-SHA-256$...", "md5" + 32 hex digits, else a clear password. A malformed SCRAM text is taken as
// a clear password, as PostgreSQL does. An empty text gives kNone.
Secret parse_secret(std::string_view text);
// Equal or not, in a time that depends only on the sizes.
bool equal_constant_time(std::string_view a, std::string_view b);
bool equal_constant_time(const Digest& a, const Digest& b);

// Overwrites a secret where it dies, so that no freed memory holds it; the object is empty afterwards.
void scrub(std::string& text);
void scrub(Digest& digest);
void scrub(Secret& secret);
void scrub(ScramKeys& keys);

}  // namespace berth::auth
