// SaltedPasswords that were derived before, so that a storm of logins pays PBKDF2 once for each password. Bounded:
// the one used longest ago goes first.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "auth/secrets.h"
#include "auth/work.h"

namespace berth::auth {

// Any thread may call; the lock is never held while a key is derived, and find() never waits for that. What is kept
// is as good as the password (for that salt), so it is overwritten when it goes; the password itself is not kept,
// only its HMAC under the process's secret.
class KeyCache {
 public:
  explicit KeyCache(size_t max);
  ~KeyCache();
  KeyCache(const KeyCache&) = delete;
  KeyCache& operator=(const KeyCache&) = delete;

  // The SaltedPassword if it is kept.
  bool find(std::string_view password, std::string_view salt, uint32_t iterations, Digest& out);
  // Found or else derived (slow) and kept. Of several threads that want the same one, one derives it and the others
  // wait.
  Digest salted(std::string_view password, std::string_view salt, uint32_t iterations);
  // The same, but kept only by a later keep(): for a password that somebody claims, so that guesses do not drive out
  // what is of use.
  Digest salted_unkept(std::string_view password, std::string_view salt, uint32_t iterations);
  void keep(std::string_view password, std::string_view salt, uint32_t iterations, const Digest& salted);

  // Forgets all; for fuzzers, whose inputs must not know of one another.
  void clear();

  size_t size() const;
  uint64_t derivations() const;  // how often PBKDF2 ran

 private:
  struct Entry {
    Digest name;
    Digest salted;
  };
  struct Hash {
    size_t operator()(const Digest& name) const {
      size_t value;
      std::memcpy(&value, name.data(), sizeof value);  // a name is an HMAC: any of its bytes are a hash
      return value;
    }
  };
  bool find_locked(const Digest& name, Digest& out);
  void keep_locked(const Digest& name, const Digest& salted);
  Digest derive(std::string_view password, std::string_view salt, uint32_t iterations);

  const size_t max_;
  mutable std::mutex mutex_;
  std::list<Entry, SecretAllocator<Entry>> entries_;  // used last at the front
  std::unordered_map<Digest, std::list<Entry, SecretAllocator<Entry>>::iterator, Hash> index_;
  uint64_t derivations_ = 0;
  std::vector<Digest> under_way_;  // names that salted() derives just now: not more than there are threads
  std::condition_variable derived_;
};

// Of the clients' logins and of the logins to servers: apart, so that a backend with ever new salts cannot empty the
// clients' cache. Both live as long as the process.
KeyCache& client_keys();
KeyCache& server_keys();

// Derives one SaltedPassword, in the cache of its lane (kClientKeys or kServerKeys). `kept`: by salted(), else by
// salted_unkept().
class KeyWork final : public Work {
 public:
  KeyWork(Lane lane, std::string_view password, std::string_view salt, uint32_t iterations, bool kept);
  ~KeyWork() override;
  void run() override;
  Digest salted{};

 private:
  SecretString password_;
  const std::string salt_;
  const uint32_t iterations_;
  const bool kept_;
};

}  // namespace berth::auth
