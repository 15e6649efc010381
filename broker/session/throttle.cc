#include "session/throttle.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/assert.h"
#include "base/fault.h"
#include "base/siphash.h"

namespace berth::session {
namespace {

constexpr double kScoreOver = 20;  // the score stops so far above its threshold: what is over is over in minutes

double refill_of(Throttle::Kind kind) {
  return kind == Throttle::Kind::kPair ? kPairRefill : kAddressRefill;
}

double burst_of(Throttle::Kind kind) {
  return kind == Throttle::Kind::kPair ? kPairBurst : kAddressBurst;
}

int patience_of(Throttle::Kind kind) {
  switch (kind) {
    case Throttle::Kind::kPair: return 1;
    case Throttle::Kind::kAddress: return kAddressPatience;
    case Throttle::Kind::kUser: return kUserPatience;
  }
  return 1;
}

std::string_view user_of(std::string_view name) {
  return name.substr(name.rfind('\0') + 1);
}

}  // namespace

void Throttle::configure(int64_t threshold, Micros delay_max) {
  threshold_.store(threshold, std::memory_order_relaxed);
  delay_max_.store(delay_max, std::memory_order_relaxed);
}

uint64_t Throttle::hash_of_entry(Kind kind, const AddressKey& who, std::string_view name) {
  char input[18 + kUserMax];
  const std::string_view user = user_of(name).substr(0, kUserMax);
  const std::string_view database = name.substr(0, name.size() - user_of(name).size());
  const uint64_t of_database = database.empty() ? 0 : siphash(process_key(), database);
  input[0] = static_cast<char>(kind);
  input[1] = static_cast<char>(who.kind);
  std::memcpy(input + 2, &who.prefix, 8);
  std::memcpy(input + 10, &of_database, 8);
  user.copy(input + 18, user.size());
  return std::max<uint64_t>(1, siphash(process_key(), {input, 18 + user.size()}));
}

void Throttle::age(Entry& entry, Micros now) {
  const double passed = static_cast<double>(std::max<Micros>(0, now - entry.seen));
  entry.score = std::max(0.0, entry.score - passed / static_cast<double>(kForgetEvery));
  entry.debt = std::max(0.0, entry.debt - passed / static_cast<double>(kSecond) * refill_of(entry.kind));
  entry.seen = std::max(entry.seen, now);
}

// The shard is chosen by the hash's lower bits, the set by its upper ones.
Throttle::Entry* Throttle::find(Shard& shard, uint64_t hash) {
  if (shard.entries.empty()) return nullptr;
  Entry* set = &shard.entries[(hash >> 32) % (kEntriesPerShard / kWays) * kWays];
  for (size_t i = 0; i < kWays; ++i) {
    if (set[i].hash == hash) return set + i;
  }
  return nullptr;
}

Throttle::Entry& Throttle::find_or_make(Shard& shard, uint64_t hash, Kind kind, const AddressKey& who,
                                        std::string_view name, Micros now) {
  if (Entry* known = find(shard, hash)) {
    age(*known, now);
    return *known;
  }
  if (shard.entries.empty()) shard.entries.resize(kEntriesPerShard);
  Entry* set = &shard.entries[(hash >> 32) % (kEntriesPerShard / kWays) * kWays];
  Entry* place = set;
  for (size_t i = 0; i < kWays; ++i) {
    if (set[i].hash != 0) age(set[i], now);
    if (set[i].hash == 0 || (place->hash != 0 && set[i].score < place->score)) place = set + i;
    if (place->hash == 0) break;
  }
  *place = Entry{};
  place->hash = hash;
  place->seen = now;
  place->who = who;
  place->kind = kind;
  const std::string_view user = user_of(name).substr(0, kUserMax);
  place->user_size = static_cast<uint8_t>(user.size());
  user.copy(place->user, user.size());
  any_.store(true, std::memory_order_relaxed);
  return *place;
}

Micros Throttle::delay_of(Kind kind, double score) const {
  const int64_t threshold = threshold_.load(std::memory_order_relaxed) * patience_of(kind);
  const Micros most = delay_max_.load(std::memory_order_relaxed);
  const double over = std::ceil(score - static_cast<double>(threshold));
  if (over < 1 || threshold <= 0) return 0;
  const int doublings = static_cast<int>(std::min(over, kScoreOver)) - 1;
  return std::min(most, kDelayFirst << doublings);
}

Micros Throttle::count(Kind kind, const AddressKey& who, std::string_view name, Micros now) {
  const uint64_t hash = hash_of_entry(kind, who, name);
  Shard& shard = shards_[hash % kShards];
  const std::lock_guard<std::mutex> guard(shard.mutex);
  Entry& entry = find_or_make(shard, hash, kind, who, name, now);
  const double threshold = static_cast<double>(threshold_.load(std::memory_order_relaxed) * patience_of(kind));
  entry.score = std::min(entry.score + 1, threshold + kScoreOver);
  entry.debt = std::min(entry.debt + 1, burst_of(kind));
  return delay_of(kind, entry.score);
}

Micros Throttle::failed(const AddressKey& who, std::string_view name, Micros now) {
  if (threshold_.load(std::memory_order_relaxed) <= 0 || !who.counts() || FAULT(failures_not_counted)) return 0;
  const Micros of_pair = count(Kind::kPair, who, name, now);
  const Micros of_address = count(Kind::kAddress, who, {}, now);
  const Micros of_user = count(Kind::kUser, {}, user_of(name), now);
  return std::max({of_pair, of_address, of_user});
}

bool Throttle::exhausted(Kind kind, const AddressKey& who, std::string_view name, Micros now) {
  const uint64_t hash = hash_of_entry(kind, who, name);
  Shard& shard = shards_[hash % kShards];
  const std::lock_guard<std::mutex> guard(shard.mutex);
  Entry* entry = find(shard, hash);
  if (!entry) return false;
  age(*entry, now);
  return entry->debt + 1 > burst_of(kind);
}

bool Throttle::may_try(const AddressKey& who, std::string_view name, Micros now) {
  if (!any_.load(std::memory_order_relaxed) || threshold_.load(std::memory_order_relaxed) <= 0 || !who.counts())
    return true;
  if (exhausted(Kind::kPair, who, name, now)) return false;
  if (!exhausted(Kind::kAddress, who, {}, now)) return true;
  return is_known(hash_of_entry(Kind::kPair, who, name), now);
}

bool Throttle::is_known(uint64_t hash, Micros now) {
  Shard& shard = shards_[hash % kShards];
  const std::lock_guard<std::mutex> guard(shard.mutex);
  if (shard.known.empty()) return false;
  const Known* set = &shard.known[(hash >> 32) % (kKnownPerShard / kKnownWays) * kKnownWays];
  return std::any_of(set, set + kKnownWays,
                     [&](const Known& one) { return one.hash == hash && now - one.at < kKnownFor; });
}

void Throttle::succeeded(const AddressKey& who, std::string_view name, Micros now) {
  if (threshold_.load(std::memory_order_relaxed) <= 0 || !who.counts()) return;
  const uint64_t hash = hash_of_entry(Kind::kPair, who, name);
  Shard& shard = shards_[hash % kShards];
  const std::lock_guard<std::mutex> guard(shard.mutex);
  if (Entry* entry = find(shard, hash)) *entry = Entry{};
  if (shard.known.empty()) shard.known.resize(kKnownPerShard);
  Known* set = &shard.known[(hash >> 32) % (kKnownPerShard / kKnownWays) * kKnownWays];
  Known* place = set;
  for (size_t i = 0; i < kKnownWays; ++i) {
    if (set[i].hash == hash) {
      place = set + i;
      break;
    }
    if (set[i].at < place->at) place = set + i;
  }
  *place = {hash, now};
}

void Throttle::forget() {
  for (Shard& shard : shards_) {
    const std::lock_guard<std::mutex> guard(shard.mutex);
    shard.entries.clear();
  }
}

std::vector<Throttle::Row> Throttle::worst(size_t most, Micros now) {
  std::vector<Row> rows;
  for (Shard& shard : shards_) {
    const std::lock_guard<std::mutex> guard(shard.mutex);
    for (Entry& entry : shard.entries) {
      if (entry.hash == 0) continue;
      age(entry, now);
      if (entry.score <= 0 && entry.debt <= 0) continue;
      rows.push_back({entry.kind, entry.who.text(), std::string(entry.user, entry.user_size), entry.score,
                      delay_of(entry.kind, entry.score + 1),
                      entry.kind != Kind::kUser && entry.debt + 1 > burst_of(entry.kind)});
    }
  }
  const auto worse = [](const Row& a, const Row& b) { return a.failures > b.failures; };
  const size_t count = std::min(most, rows.size());
  std::partial_sort(rows.begin(), rows.begin() + static_cast<long>(count), rows.end(), worse);
  rows.resize(count);
  return rows;
}

}  // namespace berth::session
