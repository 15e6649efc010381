// What an unknown user is measured against: a made-up secret that nobody's password fits, the same each time that the
// same name is asked for (T3). And the salts of secrets that are made from clear passwords, by the same rule, so that
// salts tell nothing about who exists.
#pragma once

#include <string>
#include <string_view>

#include "auth/exchange.h"
#include "auth/secrets.h"

namespace berth::auth {

// 32 random bytes, drawn at the first call, for the life of the process.
const Digest& process_secret();
// From now on salts are made from a secret that outlives the process, so that those of unknown users do, as those of
// stored SCRAM secrets do. It must not be one that can be guessed, a password say: everybody sees salts, and could
// try his guesses against them. Before threads start.
void make_salts_from(std::string_view secret);
// A salt of `size` bytes (at most 32) for this user.
std::string user_salt(std::string_view user, size_t size);
// The made-up secret of a kind.
Secret mock_secret(std::string_view user, const MockProfile& profile);

}  // namespace berth::auth
