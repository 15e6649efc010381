#include "session/learned.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "session/context.h"

namespace berth::session {

std::string learned_name(std::string_view database, std::string_view user) {
  std::string name(database);
  name += '\0';
  return name.append(user);
}

void Learned::proved(std::string_view clear, std::string_view by) {
  if (!clear.empty()) {
    password = clear;
    proved_by = by;
  } else if (!auth::equal_constant_time(proved_by.view(), by)) {
    password.clear();
    proved_by.clear();
  }
}

static void set_clear(auth::Secret& secret, const SecretString& password) {
  auth::scrub(secret);
  secret.kind = auth::SecretKind::kPlain;
  secret.text = password;
}

static void add_directory(const Learned& learned, bool directory_first, auth::Proof& proof) {
  if (learned.directory.empty()) return;
  if (proof.secret.empty() || (directory_first && proof.secret.kind != auth::SecretKind::kPlain)) {
    set_clear(proof.secret, learned.directory);
  } else {
    proof.otherwise = learned.directory;
  }
}

void add_learned(const Learned& learned, bool directory_first, auth::Proof& proof) {
  proof.keys = learned.keys;
  if (proof.secret.empty()) proof.secret = learned.secret;
  const bool fits = proof.secret.empty() || proof.secret.text == learned.proved_by;
  if (fits && !learned.password.empty()) set_clear(proof.secret, learned.password);
  add_directory(learned, directory_first, proof);
}

auth::Proof LearnedUsers::proof(const config::Config& config, const SecretString& password, std::string_view database,
                                const std::string& user, Micros now) {
  auth::Proof proof;
  const SecretString* text = config.find_secret(user);
  if (!password.empty()) {
    proof.secret.kind = auth::SecretKind::kPlain;
    proof.secret.text = password;
  } else if (text) {
    proof.secret = auth::parse_secret(text->view());
  }
  // A user of auth_file is the same one in every database. Whom auth_query or a directory knows may be somebody else
  // in each: what his login has taught stays with its database.
  const config::AuthType type = config.options.auth_type;
  const bool directory_first = type == config::AuthType::kPam || type == config::AuthType::kLdap;
  const std::string of_database = learned_name(database, user);
  const auto add = [&](const Learned& learned) { add_learned(learned, directory_first, proof); };
  if (!text) {
    use({of_database, user}, now, add);
  } else {
    use({user}, now, add);
    use({of_database}, now, [&](const Learned& learned) { add_directory(learned, directory_first, proof); });
  }
  return proof;
}

bool LearnedUsers::full() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return all_.size() > most_;
}

size_t LearnedUsers::size() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return all_.size();
}

void LearnedUsers::forget(Micros now, const std::function<bool(const std::string& name)>& needed) {
  constexpr size_t kEighth = kLearnedMax / 8;
  const std::lock_guard<std::mutex> guard(mutex_);
  if (all_.size() <= most_) return;  // another thread was faster
  std::vector<Map::iterator> idle;
  for (auto at = all_.begin(); at != all_.end(); ++at) {
    if (now - at->second.used_at >= kLearnedKept && !needed(at->first)) idle.push_back(at);
  }
  const size_t going = std::min(idle.size(), all_.size() - (kLearnedMax - kEighth));
  const auto end = idle.begin() + static_cast<std::ptrdiff_t>(going);
  std::nth_element(idle.begin(), end, idle.end(),
                   [](const auto& a, const auto& b) { return a->second.used_at < b->second.used_at; });
  std::for_each(idle.begin(), end, [this](const Map::iterator& one) { all_.erase(one); });
  most_ = std::max(kLearnedMax, all_.size() + kEighth);
}

void bound_learned(Context& context) {
  Globals& globals = context.globals;
  if (!globals.learned.full()) return;
  const Micros now = context.now();
  std::unordered_set<std::string> in_use;
  globals.registry.each_pool([&](const pool::SharedPool& pool) {
    if (now - pool.used_at.load(std::memory_order_relaxed) >= kLearnedKept) return;
    in_use.insert(learned_name(pool.database, pool.user));
    in_use.insert(pool.user);
  });
  globals.learned.forget(now, [&](const std::string& name) {
    return in_use.contains(name) || context.config->find_secret(name) != nullptr;
  });
}

}  // namespace berth::session
