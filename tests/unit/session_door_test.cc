// Goal: the counts of connections before their login are exact, whatever the order of events, and end at zero; limits
// hold at every step. Method: all short sequences of a small door, dice against a model, threads.
#include "session/door.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

#include "base/random.h"
#include "unit/seeds.h"

namespace berth::session {
namespace {

AddressKey key(std::string_view host) {
  return key_of(net::shorten(net::parse_ip(host, 1).value()));
}

TEST(AddressKeyTest, WhomAnAddressCountsFor) {
  EXPECT_EQ(key("10.1.2.3").text(), "10.1.2.3");
  EXPECT_EQ(key("2001:db8:1:2:3:4:5:6").text(), "2001:db8:1:2::/64");
  EXPECT_EQ(key("2001:db8:1:2::9"), key("2001:db8:1:2:ffff::1"));
  EXPECT_FALSE(key("2001:db8:1:2::9") == key("2001:db8:1:3::9"));
  EXPECT_FALSE(key("10.1.2.3") == key("10.1.2.4"));
  EXPECT_EQ(key("::ffff:10.1.2.3"), key("10.1.2.3"));
  EXPECT_FALSE(key("::ffff:10.1.2.3") == key("::ffff:10.1.2.4"));
  EXPECT_EQ(key("::1").text(), "::/64");
  EXPECT_TRUE(key("::1").counts());
  EXPECT_FALSE(key_of(net::ShortAddress{}).counts());
  EXPECT_FALSE(key_of(net::shorten(net::unix_address("/tmp", 6432).value())).counts());
  EXPECT_EQ(hash_of(key("::ffff:10.1.2.3")), hash_of(key("10.1.2.3")));
}

// What a door should say, in the plainest words.
struct Model {
  int64_t newcomers = 0, most, of_address_most, clients_most;
  std::map<int, Door::Counts> of;

  Door::Answer enter(int who, bool counts) {
    if (most > 0 && newcomers >= most) return Door::Answer::kFull;
    if (counts && of_address_most > 0 && of[who].newcomers >= of_address_most) return Door::Answer::kAddressFull;
    ++newcomers;
    if (counts) ++of[who].newcomers;
    return Door::Answer::kIn;
  }
  void leave(int who, bool counts) {
    --newcomers;
    if (counts) --of[who].newcomers;
  }
  bool admit(int who, bool counts) {
    if (!counts) return true;
    if (clients_most > 0 && of[who].clients >= clients_most) return false;
    ++of[who].clients;
    return true;
  }
};

// One door, three addresses (the last one a Unix socket), everybody's places, and the model beside it.
class Pair {
 public:
  Pair(int64_t most, int64_t of_address, int64_t clients) : model_{0, most, of_address, clients, {}} {
    door_.set_limits(most, of_address, clients);
  }
  // False: it makes no sense now.
  bool step(int action, int who) {
    const AddressKey& key = keys_[static_cast<size_t>(who)];
    auto& [inside, clients] = places_[who];
    switch (action) {
      case 0: {
        const Door::Answer answer = door_.enter(key);
        EXPECT_EQ(answer, model_.enter(who, key.counts()));
        inside += answer == Door::Answer::kIn;
        break;
      }
      case 1:  // gone
      case 2:  // has logged in
        if (inside == 0) return false;
        --inside;
        door_.leave(key);
        model_.leave(who, key.counts());
        if (action == 2) {
          const bool in = door_.admit(key);
          EXPECT_EQ(in, model_.admit(who, key.counts()));
          clients += in;
        }
        break;
      default:
        if (clients == 0) return false;
        --clients;
        door_.discharge(key);
        if (key.counts()) --model_.of[who].clients;
    }
    check();
    return true;
  }
  void check() {
    EXPECT_EQ(door_.newcomers(), model_.newcomers);
    size_t addresses = 0;
    for (int who = 0; who < 3; ++who) {
      EXPECT_EQ(door_.of(keys_[static_cast<size_t>(who)]), model_.of[who]);
      addresses += !(model_.of[who] == Door::Counts{});
    }
    EXPECT_EQ(door_.addresses(), addresses);  // nothing is kept of who has nothing
  }
  void everybody_leaves() {
    for (int who = 0; who < 3; ++who) {
      while (step(1, who)) continue;
      while (step(3, who)) continue;
    }
    EXPECT_EQ(door_.newcomers(), 0);
    EXPECT_EQ(door_.addresses(), 0u);
  }

 private:
  Door door_;
  Model model_;
  std::map<int, std::pair<int, int>> places_;
  std::vector<AddressKey> keys_{key("10.0.0.1"), key("2001:db8::1"), AddressKey{}};
};

TEST(DoorTest, EveryShortSequence) {
  for (int limits = 0; limits < 27; ++limits) {
    for (int sequence = 0; sequence < 12 * 12 * 12 * 12; ++sequence) {
      Pair pair(limits % 3, limits / 3 % 3, limits / 9);
      bool sense = true;
      for (int rest = sequence, i = 0; i < 4 && sense; ++i, rest /= 12) sense = pair.step(rest % 4, rest / 4 % 3);
      if (sense) pair.everybody_leaves();
      if (HasFailure()) FAIL() << "limits " << limits << " sequence " << sequence;
    }
  }
}

TEST(DoorTest, Dice) {
  SEEDED(random);
  for (int round = 0; round < 50; ++round) {
    Pair pair(static_cast<int64_t>(random.below(8)), static_cast<int64_t>(random.below(5)),
              static_cast<int64_t>(random.below(5)));
    for (int i = 0; i < 300; ++i) pair.step(static_cast<int>(random.below(4)), static_cast<int>(random.below(3)));
    pair.everybody_leaves();
    ASSERT_FALSE(HasFailure());
  }
}

// Lowered limits hold for who comes from then on.
TEST(DoorTest, LimitsAreLowered) {
  Door door;
  const AddressKey who = key("10.0.0.1");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(door.enter(who), Door::Answer::kIn);
  door.set_limits(0, 3, 0);
  EXPECT_EQ(door.enter(who), Door::Answer::kAddressFull);
  door.set_limits(4, 0, 0);
  EXPECT_EQ(door.enter(who), Door::Answer::kFull);
  EXPECT_EQ(door.enter(AddressKey{}), Door::Answer::kFull);
  for (int i = 0; i < 2; ++i) door.leave(who);
  EXPECT_EQ(door.enter(who), Door::Answer::kIn);
  EXPECT_EQ(door.most().newcomers, 4);
}

// Whoever owes a place passes the limits by a little, and by no more.
TEST(DoorTest, OwingHasAnEnd) {
  for (const int64_t limit : {1, 8, 40, 100000}) {
    for (const bool per_address : {false, true}) {
      Door door;
      door.set_limits(per_address ? 0 : limit, per_address ? limit : 0, 0);
      const AddressKey who = key("10.0.0.1");
      int64_t in = 0;
      while (door.enter(who) == Door::Answer::kIn) ++in;
      EXPECT_EQ(in, limit);
      while (door.enter(who, 0, true) == Door::Answer::kIn) ++in;
      EXPECT_EQ(in, limit + Door::extra_of(limit));
      EXPECT_LE(Door::extra_of(limit), Door::kExtraMax);
      EXPECT_EQ(door.of(who).newcomers, in);
      for (; in > 0; --in) door.leave(who);
      EXPECT_EQ(door.newcomers(), 0);
      EXPECT_EQ(door.addresses(), 0u);
    }
  }
}

TEST(DoorTest, TheFullestWorker) {
  Door door;
  EXPECT_EQ(door.fullest(3), 3);
  door.enter(AddressKey{}, 3);
  for (int i = 0; i < 2; ++i) door.enter(AddressKey{}, 5);
  EXPECT_EQ(door.fullest(3), 3);  // not more than twice as many
  EXPECT_EQ(door.fullest(1), 5);
  door.enter(AddressKey{}, 5);
  EXPECT_EQ(door.fullest(3), 5);
  EXPECT_EQ(door.fullest(5), 5);
  door.leave(AddressKey{}, 5);
  EXPECT_EQ(door.fullest(3), 3);
}

// Workers come and go at once: no limit is passed at any time, and nothing is left.
TEST(DoorTest, Threads) {
  Door door;
  door.set_limits(6, 4, 3);
  const AddressKey whom[] = {key("10.0.0.1"), key("10.0.0.2")};
  std::vector<std::thread> threads;
  std::atomic<bool> passed{false};
  for (uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      Random random(thread + 1);
      for (int i = 0; i < 20000; ++i) {
        const AddressKey& who = whom[random.below(2)];
        if (door.enter(who) != Door::Answer::kIn) continue;
        const Door::Counts counts = door.of(who);
        if (door.newcomers() > 6 || counts.newcomers > 4 || counts.newcomers < 1 || counts.clients > 3) passed = true;
        door.leave(who);
        if (door.admit(who)) door.discharge(who);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(passed);
  EXPECT_EQ(door.newcomers(), 0);
  EXPECT_EQ(door.addresses(), 0u);
}

}  // namespace
}  // namespace berth::session
