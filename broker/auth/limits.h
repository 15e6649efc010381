// Every bound of the login exchanges, in one place. What a peer may send is bounded low and high before it is used.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth::auth {

// A server or a secret may ask for this many PBKDF2 rounds, no more (T12; PgBouncer's bound). At 0.2 microseconds per
// round that is a fifth of a second of one helper thread's time. The least is 1, as for PostgreSQL and libpq.
inline constexpr uint32_t kScramIterationsMax = 1'000'000;
inline constexpr uint32_t kScramIterationsDefault = 4096;  // PostgreSQL's scram_iterations

// Of the peer's nonce and salt, decoded (T8). PostgreSQL's own have 24 characters and 16 bytes.
inline constexpr size_t kScramNonceSizeMax = 1024;
inline constexpr size_t kScramSaltSizeMax = 1024;
inline constexpr size_t kScramMessageSizeMax = 65535;
// Of one message of a client, by what it was asked for: nobody who has not proved anything needs more of our memory.
// PostgreSQL has 1024 for SCRAM.
inline constexpr size_t kScramClientMessageMax = 4096;
inline constexpr size_t kMd5AnswerMax = 256;
inline constexpr size_t kPasswordSizeMax = 65535;  // without the terminating NUL
// A longer password that is not ASCII is hashed as it is. The normalization takes quadratic time for a row of
// combining marks, and whoever sends them has not been authenticated yet: this many bytes cost at most as much as
// 4096 rounds of PBKDF2. PostgreSQL up to 13 had the same bound.
inline constexpr size_t kSaslprepSizeMax = 1024;

// Of our own nonces and salts, before base64; the same as PostgreSQL's, so that nothing tells us apart.
inline constexpr size_t kScramNonceRawSize = 18;
inline constexpr size_t kScramSaltSize = 16;
inline constexpr size_t kMd5SaltSize = 4;

// Derived keys kept for clients' and for servers' logins, about 200 bytes each.
inline constexpr size_t kClientKeysKeptMax = 4096;
inline constexpr size_t kServerKeysKeptMax = 1024;

// Of a text that a peer sent and the log repeats.
inline constexpr size_t kReasonTextMax = 100;

}  // namespace berth::auth
