// What failed logins cost their address and their user. Pure: names, addresses and time come as arguments. One for
// the process, shared by its workers; a login that fails takes a lock, and one that succeeds or only asks takes
// another, since the table is in shards.
//
// Three kinds of entry: a user at one address, an address whatever the user, a user whatever the address.
//  - The answer to a failure waits, the longer the more failures there were (failed()). Only failures wait: whoever
//    knows the password is let in at once, from wherever.
//  - A guesser need not wait for an answer that is always no. So the proofs that are looked at are limited, too: a
//  user
//    at one address has kPairBurst failures and then kPairRefill in a second, an address has kAddressBurst and
//    kAddressRefill; beyond that nobody's proof is looked at (may_try()). A success forgets the failures of its user
//    at its address. A user who has logged in from an address within kKnownFor is not refused for what others try
//    there. A user as such is never refused: else anybody could lock anybody out by name.
//
// Memory: at most kThrottleEntriesMax entries of failures and kKnownMax of users known at an address. Both tables are
// made of sets; where a set is full, the entry with the least score goes, so that the many entries of one failure
// each that a guesser can make displace one another before they displace what is remembered of him. The sets are
// chosen by a keyed hash: nobody can aim.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "session/address_key.h"

namespace berth::session {

inline constexpr size_t kThrottleEntriesMax = 8192;
inline constexpr size_t kKnownMax = 16384;
inline constexpr Micros kForgetEvery = 10 * kSecond;        // one failure of the score is forgotten
inline constexpr Micros kDelayFirst = 100 * kMillisecond;   // of the first answer that waits; doubled by each further
inline constexpr Micros kKnownFor = 24 * 3600 * kSecond;    // a success is remembered
inline constexpr double kPairBurst = 200, kPairRefill = 5;  // failures at once, and in a second
inline constexpr double kAddressBurst = 1000, kAddressRefill = 20;
inline constexpr int kAddressPatience = 10;  // times the threshold of a user at an address
inline constexpr int kUserPatience = 20;

class Throttle {
 public:
  // threshold: failures of a user at an address that are answered at once; 0: nothing is throttled. Any thread.
  void configure(int64_t threshold, Micros delay_max);

  // `name` says whose secret is tried: the user's name, or learned_name() where users are a database's own. Of two
  // databases' users of one name neither answers for the other. The entry of a user as such is for both.

  // May a proof be looked at now?
  bool may_try(const AddressKey& who, std::string_view name, Micros now);
  // It was wrong: how long the answer is to wait.
  Micros failed(const AddressKey& who, std::string_view name, Micros now);
  // It was right.
  void succeeded(const AddressKey& who, std::string_view name, Micros now);
  // Everything, at the DBA's word.
  void forget();

  enum class Kind : uint8_t { kPair, kAddress, kUser };
  struct Row {
    Kind kind;
    std::string address, user;  // of kUser no address, of kAddress no user
    double failures;            // what is left of them
    Micros delay;               // of the next failure's answer
    bool refused;               // no proof is looked at now
  };
  // Those with the most failures, at most so many. For the console: it looks at everything.
  std::vector<Row> worst(size_t most, Micros now);

 private:
  static constexpr size_t kShards = 64, kWays = 8, kKnownWays = 4;
  static constexpr size_t kEntriesPerShard = kThrottleEntriesMax / kShards, kKnownPerShard = kKnownMax / kShards;
  static constexpr size_t kUserMax = 63;
  struct Entry {
    uint64_t hash = 0;  // 0: free
    Micros seen = 0;    // when score and debt were right
    double score = 0, debt = 0;
    AddressKey who;
    Kind kind = Kind::kPair;
    uint8_t user_size = 0;
    char user[kUserMax];
  };
  struct Known {
    uint64_t hash = 0;
    Micros at = 0;
  };
  struct Shard {
    std::mutex mutex;
    std::vector<Entry> entries;  // empty until the first failure
    std::vector<Known> known;    // empty until the first success
  };

  static uint64_t hash_of_entry(Kind kind, const AddressKey& who, std::string_view name);
  static void age(Entry& entry, Micros now);
  static Entry* find(Shard& shard, uint64_t hash);
  Entry& find_or_make(Shard& shard, uint64_t hash, Kind kind, const AddressKey& who, std::string_view name,
                      Micros now);
  Micros delay_of(Kind kind, double score) const;
  Micros count(Kind kind, const AddressKey& who, std::string_view name, Micros now);
  bool exhausted(Kind kind, const AddressKey& who, std::string_view name, Micros now);
  bool is_known(uint64_t hash, Micros now);

  std::array<Shard, kShards> shards_;
  // Whether there is any entry: written under a shard's lock, read without. Who reads false too long looks at one
  // more proof.
  std::atomic<bool> any_{false};
  std::atomic<int64_t> threshold_{0};
  std::atomic<Micros> delay_max_{0};
};

}  // namespace berth::session
