// The cache of derived keys.
#include "auth/key_cache.h"

#include <algorithm>
#include <string>

#include "auth/limits.h"
#include "auth/mock.h"
#include "auth/scram.h"
#include "base/assert.h"

namespace berth::auth {
namespace {

// The sizes are in it, so that no two (password, salt) run together.
Digest name_of(std::string_view password, std::string_view salt, uint32_t iterations) {
  const std::string sizes =
      std::to_string(password.size()) + ' ' + std::to_string(salt.size()) + ' ' + std::to_string(iterations) + ' ';
  return hmac_sha256(view_of(process_secret()), {"key", sizes, salt, password});
}

}  // namespace

KeyCache::KeyCache(size_t max) : max_(max) {
  ASSERT(max_ > 0);
}

KeyCache::~KeyCache() {
  clear();
}

bool KeyCache::find(std::string_view password, std::string_view salt, uint32_t iterations, Digest& out) {
  const Digest name = name_of(password, salt, iterations);
  const std::lock_guard<std::mutex> guard(mutex_);
  return find_locked(name, out);
}

Digest KeyCache::salted(std::string_view password, std::string_view salt, uint32_t iterations) {
  const Digest name = name_of(password, salt, iterations);
  Digest out;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (find_locked(name, out)) return out;
    if (std::find(under_way_.begin(), under_way_.end(), name) == under_way_.end()) break;
    derived_.wait(lock);
  }
  under_way_.push_back(name);
  lock.unlock();
  out = derive(password, salt, iterations);
  lock.lock();
  keep_locked(name, out);
  std::erase(under_way_, name);
  derived_.notify_all();
  return out;
}

Digest KeyCache::salted_unkept(std::string_view password, std::string_view salt, uint32_t iterations) {
  Digest out;
  if (find(password, salt, iterations, out)) return out;
  return derive(password, salt, iterations);
}

void KeyCache::keep(std::string_view password, std::string_view salt, uint32_t iterations, const Digest& salted) {
  const Digest name = name_of(password, salt, iterations);
  const std::lock_guard<std::mutex> guard(mutex_);
  keep_locked(name, salted);
}

void KeyCache::clear() {
  const std::lock_guard<std::mutex> guard(mutex_);
  for (Entry& entry : entries_) scrub(entry.salted);
  entries_.clear();
  index_.clear();
}

size_t KeyCache::size() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  ASSERT(entries_.size() == index_.size() && entries_.size() <= max_);
  return entries_.size();
}

uint64_t KeyCache::derivations() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return derivations_;
}

bool KeyCache::find_locked(const Digest& name, Digest& out) {
  const auto at = index_.find(name);
  if (at == index_.end()) return false;
  entries_.splice(entries_.begin(), entries_, at->second);
  out = at->second->salted;
  return true;
}

void KeyCache::keep_locked(const Digest& name, const Digest& salted) {
  if (index_.contains(name)) return;  // another thread was faster, with the same result
  entries_.push_front({name, salted});
  index_.emplace(name, entries_.begin());
  if (entries_.size() <= max_) return;
  scrub(entries_.back().salted);
  index_.erase(entries_.back().name);
  entries_.pop_back();
}

Digest KeyCache::derive(std::string_view password, std::string_view salt, uint32_t iterations) {
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    ++derivations_;
  }
  return salted_password(password, salt, iterations);
}

KeyCache& client_keys() {
  static KeyCache cache(kClientKeysKeptMax);
  return cache;
}

KeyCache& server_keys() {
  static KeyCache cache(kServerKeysKeptMax);
  return cache;
}

KeyWork::KeyWork(Lane lane_, std::string_view password, std::string_view salt, uint32_t iterations, bool kept)
    : Work(lane_), password_(password), salt_(salt), iterations_(iterations), kept_(kept) {
  ASSERT(lane == Lane::kClientKeys || lane == Lane::kServerKeys);
}

KeyWork::~KeyWork() {
  scrub(salted);
}

void KeyWork::run() {
  KeyCache& cache = lane == Lane::kClientKeys ? client_keys() : server_keys();
  salted = kept_ ? cache.salted(password_.view(), salt_, iterations_)
                 : cache.salted_unkept(password_.view(), salt_, iterations_);
}

}  // namespace berth::auth
