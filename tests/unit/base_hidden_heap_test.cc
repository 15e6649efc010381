// Goal: pieces of the hidden heap do not overlap, no dump has them, and memory that nobody uses goes back. Method:
// dice that allocate and free, threads that free what others have allocated, /proc/self/smaps.
#include "base/hidden_heap.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "unit/seeds.h"

namespace berth {
namespace {

struct Block {
  unsigned char* at;
  size_t size;
  unsigned char mark;
};

Block make(size_t size, unsigned char mark) {
  auto* const at = static_cast<unsigned char*>(hidden_allocate(size));
  EXPECT_NE(at, nullptr);
  std::memset(at, mark, hidden_size(at));
  return {at, size, mark};
}

bool intact(const Block& block) {
  for (size_t i = 0; i < hidden_size(block.at); ++i) {
    if (block.at[i] != block.mark) return false;
  }
  return true;
}

class HiddenHeapTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(hidden_reserve()); }
};

TEST_F(HiddenHeapTest, EverySizeFits) {
  for (size_t size = 0; size <= kHiddenMost; ++size) {
    void* const at = hidden_allocate(size);
    ASSERT_NE(at, nullptr);
    ASSERT_TRUE(is_hidden(at));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(at) % 16, 0u) << size;
    ASSERT_GE(hidden_size(at), size);
    ASSERT_LE(hidden_size(at), size + std::max<size_t>(16, size / 8)) << "at most an eighth is lost";
    std::memset(at, 1, hidden_size(at));
    hidden_free(at);
  }
  EXPECT_EQ(hidden_allocate(kHiddenMost + 1), nullptr);
}

TEST_F(HiddenHeapTest, PiecesDoNotOverlap) {
  SEEDED(dice);
  std::vector<Block> blocks;
  for (int round = 0; round < 20000; ++round) {
    if (blocks.empty() || dice.below(5) < 3) {
      blocks.push_back(make(dice.below(2) ? dice.below(300) : dice.below(kHiddenMost + 1),
                            static_cast<unsigned char>(dice.below(256))));
    } else {
      std::swap(blocks[dice.below(blocks.size())], blocks.back());
      ASSERT_TRUE(intact(blocks.back()));
      hidden_free(blocks.back().at);
      blocks.pop_back();
    }
  }
  for (const Block& block : blocks) {
    EXPECT_TRUE(intact(block));
    hidden_free(block.at);
  }
}

TEST_F(HiddenHeapTest, ThreadsFreeWhatOthersHaveMade) {
  constexpr int kThreads = 4, kRounds = 3000;
  const size_t before = hidden_heap().given;
  std::mutex mutex;
  std::vector<Block> pot;
  std::atomic<int> broken = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random dice(static_cast<uint64_t>(t) + 1);
      for (int round = 0; round < kRounds; ++round) {
        Block block = make(dice.below(2000), static_cast<unsigned char>(dice.below(256)));
        {
          const std::lock_guard<std::mutex> guard(mutex);
          pot.push_back(block);
          std::swap(pot[dice.below(pot.size())], pot.back());
          block = pot.back();
          if (pot.size() < 200) continue;
          pot.pop_back();
        }
        broken += !intact(block);
        hidden_free(block.at);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(broken, 0);
  EXPECT_EQ(hidden_heap().given, before + pot.size()) << "what the threads have kept is given back when they end";
  for (const Block& block : pot) hidden_free(block.at);
}

TEST_F(HiddenHeapTest, MemoryThatNobodyUsesGoesBack) {
  const HiddenHeap before = hidden_heap();
  std::thread([] {
    std::vector<Block> blocks;
    for (int i = 0; i < 2000; ++i) blocks.push_back(make(5000, 1));
    for (const Block& block : blocks) hidden_free(block.at);
  }).join();
  const HiddenHeap after = hidden_heap();
  EXPECT_EQ(after.given, before.given);
  EXPECT_LE(after.slabs, before.slabs + 1) << "a class keeps one";
  EXPECT_GE(after.empty, 100u);
  std::thread([] {
    std::vector<Block> blocks;
    for (int i = 0; i < 2000; ++i) blocks.push_back(make(100, 2));  // of another class
    for (const Block& block : blocks) EXPECT_TRUE(intact(block));
    for (const Block& block : blocks) hidden_free(block.at);
  }).join();
  EXPECT_LE(hidden_heap().slabs + hidden_heap().empty, after.slabs + after.empty) << "empty slabs are used again";
}

TEST_F(HiddenHeapTest, NoDumpHasIt) {
  const Block block = make(100, 'x');
  const auto address = reinterpret_cast<uintptr_t>(block.at);
  std::ifstream smaps("/proc/self/smaps");
  std::string flags;
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long start = 0, end = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) inside = start <= address && address < end;
    if (inside && line.starts_with("VmFlags:")) flags = line.substr(8) + " ";
  }
  EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;
  hidden_free(block.at);
}

}  // namespace
}  // namespace berth
