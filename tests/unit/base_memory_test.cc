// Goal: the containers and pools of base hold what they are given, once, and show nobody's old bytes (failure classes
// 3, 60). Method: dice against the standard library's containers; limits counted.
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/block_pool.h"
#include "base/intrusive_list.h"
#include "base/result.h"
#include "base/shared_table.h"
#include "base/slab.h"
#include "unit/seeds.h"

namespace berth {
namespace {

struct ByAge;
struct ByName;
struct Item : ListHook<ByAge>, ListHook<ByName> {
  int number = 0;
};

TEST(IntrusiveListTest, LikeAList) {
  SEEDED(dice);
  std::vector<Item> items(12);
  for (size_t i = 0; i < items.size(); ++i) items[i].number = static_cast<int>(i);
  IntrusiveList<Item, ByAge> list;
  std::list<Item*> model;
  for (int i = 0; i < 20000; ++i) {
    Item* item = &items[dice.below(items.size())];
    const auto at = std::find(model.begin(), model.end(), item);
    ASSERT_EQ(static_cast<ListHook<ByAge>*>(item)->linked(), at != model.end());
    if (at != model.end()) {
      ASSERT_EQ(list.next(item), std::next(at) == model.end() ? nullptr : *std::next(at));
      ASSERT_EQ(list.previous(item), at == model.begin() ? nullptr : *std::prev(at));
      list.remove(item);
      model.erase(at);
    } else if (dice.below(2)) {
      list.push_back(item);
      model.push_back(item);
    } else {
      list.push_front(item);
      model.push_front(item);
    }
    if (dice.below(10) == 0) {
      Item* first = model.empty() ? nullptr : model.front();
      ASSERT_EQ(list.pop_front(), first);
      if (first) model.pop_front();
    }
    ASSERT_EQ(list.size(), model.size());
    ASSERT_EQ(list.empty(), model.empty());
    ASSERT_EQ(list.front(), model.empty() ? nullptr : model.front());
    ASSERT_EQ(list.back(), model.empty() ? nullptr : model.back());
  }
}

TEST(IntrusiveListTest, OnTwoListsAtOnceAndOnOneOnce) {
  Item item;
  IntrusiveList<Item, ByAge> by_age;
  IntrusiveList<Item, ByName> by_name;
  by_age.push_back(&item);
  by_name.push_back(&item);
  by_age.remove(&item);
  EXPECT_EQ(by_name.front(), &item);
  EXPECT_DEATH(by_name.push_back(&item), "linked");
  EXPECT_DEATH(by_age.remove(&item), "linked");
}

struct Counted {
  explicit Counted(int* alive) : alive(alive) { ++*alive; }
  ~Counted() { --*alive; }
  int* alive;
  char padding[40] = {};
};

TEST(SlabTest, AddressesStayAndPlacesAreUsedAgain) {
  SEEDED(dice);
  int alive = 0;
  Slab<Counted, 8> slab;
  std::set<Counted*> model;
  size_t peak = 0;
  for (int i = 0; i < 20000; ++i) {
    if (model.empty() || dice.below(2)) {
      ASSERT_TRUE(model.insert(slab.make(&alive)).second) << "an address in use is given out";
    } else {
      const auto at = std::next(model.begin(), static_cast<long>(dice.below(model.size())));
      slab.destroy(*at);
      model.erase(at);
    }
    peak = std::max(peak, model.size());
    ASSERT_EQ(slab.in_use(), model.size());
    ASSERT_EQ(static_cast<size_t>(alive), model.size());
  }
  EXPECT_LT(slab.bytes(), (peak + 8) * (sizeof(Counted) + 8)) << "the memory of the peak, once";
  for (Counted* item : model) slab.destroy(item);
  EXPECT_TRUE(slab.empty());
  EXPECT_EQ(alive, 0);
}

TEST(BlockPoolTest, SizesAndWhatIsKept) {
  BlockPool pool;
  for (size_t size :
       {size_t{0}, size_t{1}, BlockPool::kSmall, BlockPool::kSmall + 1, BlockPool::kLarge, size_t{1000000}}) {
    Block* block = pool.take(size);
    EXPECT_GE(block->room(), size);
    EXPECT_EQ(block->size(), 0u);
    EXPECT_EQ(pool.blocks_in_use(), 1u);
    pool.give(block);
  }
  EXPECT_EQ(pool.blocks_in_use(), 0u);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
  EXPECT_LE(pool.bytes_pooled(), BlockPool::kSmall + BlockPool::kLarge) << "the largest block is not kept (60)";
  // No more than the bounds is kept, whatever was in use at once.
  std::vector<Block*> blocks;
  for (int i = 0; i < 300; ++i) blocks.push_back(pool.take(i % 2 ? BlockPool::kSmall : BlockPool::kLarge));
  for (Block* block : blocks) pool.give(block);
  EXPECT_EQ(pool.bytes_pooled(),
            BlockPool::kSmallKept * BlockPool::kSmall + BlockPool::kLargeKept * BlockPool::kLarge);
  const size_t before = pool.allocations();
  for (int round = 0; round < 100; ++round) {
    Block* small = pool.take(10);
    pool.give(pool.take(BlockPool::kLarge));
    pool.give(small);
  }
  EXPECT_EQ(pool.allocations(), before) << "a steady state allocates nothing";
}

// Class 3, T30: what one user left in a block is never shown to the next.
TEST(BlockPoolTest, OldBytesAreNotShown) {
  BlockPool pool;
  Block* block = pool.take(100);
  block->append("a secret of somebody");
  block->begin = 2;
  pool.give(block);
  Block* again = pool.take(50);
  EXPECT_EQ(again->bytes(), "");
  again->append("mine");
  EXPECT_EQ(again->bytes(), "mine");
  pool.give(again);
}

TEST(BlockPoolTest, BytesInABlock) {
  BlockPool pool;
  Block* block = pool.take(10);
  block->append("0123456789");
  block->begin += 4;
  EXPECT_EQ(block->bytes(), "456789");
  const size_t room = block->room();
  block->compact();
  EXPECT_EQ(block->bytes(), "456789");
  EXPECT_EQ(block->room(), room + 4);
  block->compact();
  EXPECT_EQ(block->bytes(), "456789");
  EXPECT_DEATH(block->append(std::string(block->room() + 1, 'x')), "room");
  pool.give(block);
}

// ---- values with one address

struct Text {
  std::string text;
  uint64_t hash = 0;
  bool same(const Text& other) const { return text == other.text; }
};
using HeldText = Held<Text>;

HeldText intern(SharedTable<Text>& table, const std::string& text) {
  return HeldText(table.intern(Text{text, text.size()}));  // hashes that meet: equal sizes
}

TEST(SharedTableTest, OneAddressAsLongAsSomebodyHolds) {
  SharedTable<Text> table;
  {
    const HeldText one = intern(table, "one");
    const HeldText two = intern(table, "two");
    EXPECT_NE(one, two) << "one hash, two values";
    EXPECT_EQ(intern(table, "one"), one);
    HeldText copy = one;
    HeldText moved = std::move(copy);
    EXPECT_FALSE(copy);  // NOLINT: moved from, which is what is asked
    EXPECT_EQ(moved->text, "one");
    moved = two;
    EXPECT_EQ(moved, two);
    moved.reset();
    EXPECT_FALSE(moved);
    EXPECT_EQ(table.size(), 2u);
  }
  EXPECT_EQ(table.size(), 0u);
}

TEST(SharedTableTest, ThreadsThatHoldAndDrop) {
  SharedTable<Text> table;
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    threads.emplace_back([&table, seed] {
      Random dice(seed);
      std::vector<HeldText> held(6);
      for (int i = 0; i < 20000; ++i) {
        HeldText& one = held[dice.below(held.size())];
        switch (dice.below(3)) {
          case 0: one = intern(table, std::string(1, static_cast<char>('a' + dice.below(4)))); break;
          case 1: one = held[dice.below(held.size())]; break;
          default: one.reset();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(table.size(), 0u);
}

TEST(ResultTest, AValueOrAnError) {
  const Result<int> good = 5;
  ASSERT_TRUE(good);
  EXPECT_EQ(good.value(), 5);
  EXPECT_DEATH((void)good.error(), "value_");
  const Result<int> bad = Error{"no", "08P01"};
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().sqlstate, "08P01");
  EXPECT_DEATH((void)bad.value(), "value_");
}

}  // namespace
}  // namespace berth
