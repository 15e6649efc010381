// Made-up secrets.
#include "auth/mock.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "auth/limits.h"
#include "auth/md5.h"
#include "auth/scram.h"
#include "base/assert.h"
#include "base/random.h"
#include "base/siphash.h"

namespace berth::auth {
namespace {

// Of salts; empty: the process's secret.
SecretString& salt_secret() {
  static SecretString secret;
  return secret;
}

// `size` bytes, at most 32, that nobody can guess who has not `secret`, 32 bytes. SipHash is enough for that, and
// this is paid at every login.
Digest derive(std::string_view secret, char purpose, std::string_view user, size_t size) {
  SipKey halves[2];
  static_assert(sizeof halves == sizeof(Digest));
  ASSERT(secret.size() == sizeof halves);
  std::memcpy(halves, secret.data(), sizeof halves);
  const SipKey of_user{siphash(halves[0], user), siphash(halves[1], user)};
  Digest out{};
  ASSERT(size <= out.size());
  for (char part = 0; static_cast<size_t>(part) * 8 < size; ++part) {
    const char text[] = {purpose, part};
    const uint64_t word = siphash(of_user, {text, sizeof text});
    std::memcpy(out.data() + 8 * part, &word, sizeof word);
  }
  wipe(halves, sizeof halves);
  return out;
}

}  // namespace

const Digest& process_secret() {
  static const Digest& secret = *[] {
    auto* const random = new (secret_allocate(sizeof(Digest))) Digest;
    fill_secure(random->data(), random->size());
    return random;
  }();
  return secret;
}

void make_salts_from(std::string_view secret) {
  ASSERT(!secret.empty());
  Digest key = hmac_sha256(secret, {"pgberth salts"});
  salt_secret() = view_of(key);
  scrub(key);
}

std::string user_salt(std::string_view user, size_t size) {
  ASSERT(size >= 1);
  const std::string_view lasting = salt_secret().view();
  const Digest salt = derive(lasting.empty() ? view_of(process_secret()) : lasting, 's', user, size);
  return std::string(view_of(salt).substr(0, size));
}

Secret mock_secret(std::string_view user, const MockProfile& profile) {
  Secret secret;
  secret.kind = profile.kind;
  const Digest text = derive(view_of(process_secret()), 'm', user, sizeof(Digest));
  switch (profile.kind) {
    case SecretKind::kNone: ASSERT(profile.kind != SecretKind::kNone); break;
    case SecretKind::kPlain: secret.text = view_of(text); break;
    case SecretKind::kMd5: {
      std::string hash;
      if (!md5_secret(view_of(text), user, hash)) hash.assign("md5").append(32, '0');
      secret.text = hash;
      break;
    }
    case SecretKind::kScram:
      secret.scram.iterations = profile.iterations;
      secret.scram.salt = user_salt(user, kScramSaltSize);
      secret.scram.stored_key = text;
      secret.scram.server_key = text;  // only who has proved the other one is ever shown what it signs
      break;
  }
  return secret;
}

MockProfile most_common_profile(const std::vector<const Secret*>& secrets) {
  std::map<SecretKind, size_t> kinds;
  std::map<uint32_t, size_t> iterations;
  for (const Secret* secret : secrets) {
    if (!secret->empty()) ++kinds[secret->kind];
    if (secret->kind == SecretKind::kScram) ++iterations[secret->scram.iterations];
  }
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  MockProfile profile;
  const auto kind = std::max_element(kinds.begin(), kinds.end(), less);
  if (kind != kinds.end()) profile.kind = kind->first;
  const auto count = std::max_element(iterations.begin(), iterations.end(), less);
  if (count != iterations.end()) profile.iterations = count->first;
  return profile;
}

}  // namespace berth::auth
