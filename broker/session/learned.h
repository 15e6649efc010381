// What clients' logins have taught that servers may be logged in to with: keys, clear passwords (those that a
// directory has said are right, too), secrets of auth_query; and what of it goes to a server. One for the process,
// shared by its workers; touched when somebody logs in, on either side.
//
// Bounded, and what is forgotten is never missed: only users whom nobody needs go, those that were used longest ago
// first. Their next login teaches it again.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "auth/exchange.h"
#include "auth/secrets.h"
#include "base/secret_memory.h"
#include "base/time.h"
#include "config/config.h"

namespace berth::session {

struct Context;

inline constexpr size_t kLearnedMax = 16384;          // users beyond those that are needed
inline constexpr Micros kLearnedKept = 60 * kSecond;  // whoever was used within this is needed

// What a client's login taught.
struct Learned {
  auth::Secret secret;  // of auth_query
  uint64_t stamp = 0;   // of `secret`
  auth::ScramKeys keys;
  SecretString password;   // in clear, and
  SecretString proved_by;  // the secret that it was proved against
  SecretString directory;  // a clear password that PAM or LDAP has said is right
  Micros used_at = 0;

  // `by` is the user's secret now. What was proved against another one may be older, and goes.
  void proved(std::string_view clear, std::string_view by);
};

// Adds to `proof` what was learned. Its secret goes first, and is replaced only by the password that was proved
// against it: any other one may be older, or another password altogether. A directory's password is what is left
// where the secret cannot answer. `directory_first`: where nobody but a directory is asked, it knows better than
// auth_file.
void add_learned(const Learned& learned, bool directory_first, auth::Proof& proof);

// What a user whom auth_query, PAM or LDAP knows is remembered by: in each database apart.
std::string learned_name(std::string_view database, std::string_view user);

class LearnedUsers {
 public:
  // By user name, or learned_name(). `teach` changes what is known.
  template <typename F>
  void teach(const std::string& name, Micros now, F&& teach) {
    const std::lock_guard<std::mutex> guard(mutex_);
    Learned& learned = all_[name];
    learned.used_at = now;
    teach(learned);
  }
  // Hands what is known of the first of them to `use`; false: of none of them anything is.
  template <typename F>
  bool use(std::initializer_list<std::string_view> names, Micros now, F&& use) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (const std::string_view name : names) {
      const auto at = all_.find(name);
      if (at == all_.end()) continue;
      at->second.used_at = now;
      use(std::as_const(at->second));
      return true;
    }
    return false;
  }

  // What servers of `database` can be logged in to with: the password that its entry has for them, else what
  // auth_file says of the user, and what logins have taught.
  auth::Proof proof(const config::Config& config, const SecretString& password, std::string_view database,
                    const std::string& user, Micros now);

  // There are too many: forget() is due.
  bool full() const;
  // Those who are not needed go, the longest unused first, until an eighth of kLearnedMax is free. If more than that
  // are needed it is full again when an eighth more has come.
  void forget(Micros now, const std::function<bool(const std::string& name)>& needed);
  size_t size() const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };
  using Map = std::unordered_map<std::string, Learned, Hash, std::equal_to<>,
                                 SecretAllocator<std::pair<const std::string, Learned>>>;

  mutable std::mutex mutex_;  // guards the rest
  Map all_;
  size_t most_ = kLearnedMax;
};

// Calls forget() if it is due. Needed are the users of auth_file, who are as many as it has, and those of every pool
// that has, or just had, a client or a server.
void bound_learned(Context& context);

}  // namespace berth::session
