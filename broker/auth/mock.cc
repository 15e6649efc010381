// Made-up secrets.
#include "auth/mock.h"

#include <algorithm>
#include <map>

#include "auth/limits.h"
#include "auth/md5.h"
#include "auth/scram.h"
#include "base/assert.h"
#include "base/random.h"

namespace berth::auth {
namespace {

Digest derive(std::string_view purpose, std::string_view user) {
  return hmac_sha256(view_of(process_secret()), {purpose, ":", user});
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

std::string user_salt(std::string_view user, size_t size) {
  const Digest salt = derive("salt", user);
  ASSERT(size >= 1 && size <= salt.size());
  return std::string(view_of(salt).substr(0, size));
}

Secret mock_secret(std::string_view user, const MockProfile& profile) {
  Secret secret;
  secret.kind = profile.kind;
  const Digest text = derive("mock", user);
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
      secret.scram.server_key = derive("mock_server", user);
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
