// Goal: what is freed is overwritten, no dump and no child has the pages, and a secret's text cannot slip into a
// message. Method: dice that allocate and free in the arena; /proc/self/smaps; a fork; and the compiler.
#include "base/secret_memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <list>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/random.h"
#include "unit/seeds.h"

namespace berth {
namespace {

// A secret that is formatted would be a secret in the log.
static_assert(!fmt::is_formattable<SecretString>::value);
static_assert(!std::is_convertible_v<SecretString, std::string>);

// The VmFlags of the mapping that has this address.
std::string flags_of(const void* memory) {
  std::ifstream smaps("/proc/self/smaps");
  const auto address = reinterpret_cast<uintptr_t>(memory);
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long start = 0, end = 0;
    if (sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) inside = start <= address && address < end;
    if (inside && line.starts_with("VmFlags:")) return line.substr(8) + " ";
  }
  return {};
}

// T30.
TEST(SecretMemory, WhatIsFreedIsOverwritten) {
  // The first word of a freed piece links it to the next one.
  for (const size_t size : {1UL, 16UL, 31UL, 32UL, 33UL, 100UL, 4096UL}) {
    auto* memory = static_cast<char*>(secret_allocate(size));
    std::memset(memory, 'x', size);
    secret_free(memory, size);
    for (size_t i = sizeof(void*); i < size; ++i) ASSERT_EQ(memory[i], '\0') << size << " " << i;
  }
}

TEST(SecretMemory, PiecesDoNotOverlap) {
  SEEDED(random);
  struct Piece {
    unsigned char* at;
    size_t size;
    unsigned char mark;
  };
  std::vector<Piece> pieces;
  const size_t before = secret_memory().used;
  size_t held = 0;
  for (int round = 0; round < 20000; ++round) {
    if (pieces.size() < 100 && random.below(2) == 0) {
      const size_t size = 1 + random.below(random.below(10) == 0 ? 20000 : 300);
      auto* at = static_cast<unsigned char*>(secret_allocate(size));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(at) % alignof(std::max_align_t), 0U);
      pieces.push_back({at, size, static_cast<unsigned char>(random.below(256))});
      std::memset(at, pieces.back().mark, size);
      held += size;
    } else if (!pieces.empty()) {
      std::swap(pieces[random.below(pieces.size())], pieces.back());
      const Piece piece = pieces.back();
      pieces.pop_back();
      ASSERT_TRUE(std::all_of(piece.at, piece.at + piece.size, [&](unsigned char c) { return c == piece.mark; }));
      secret_free(piece.at, piece.size);
      held -= piece.size;
    }
    ASSERT_EQ(secret_memory().used, before + held);
  }
  for (const Piece& piece : pieces) secret_free(piece.at, piece.size);
}

TEST(SecretMemory, LargePiecesGoBack) {
  const size_t before = secret_memory().bytes;
  void* large = secret_allocate(1 << 20);
  EXPECT_GE(secret_memory().bytes, before + (1 << 20));
  secret_free(large, 1 << 20);
  EXPECT_EQ(secret_memory().bytes, before);
}

TEST(SecretMemory, NoDumpHasIt) {
  const SecretString small("hunter2"), large(std::string(100'000, 'x'));
  EXPECT_NE(flags_of(small.view().data()).find(" dd "), std::string::npos);
  EXPECT_NE(flags_of(large.view().data()).find(" dd "), std::string::npos);
  const std::string ordinary(100, 'x');
  EXPECT_EQ(flags_of(ordinary.data()).find(" dd "), std::string::npos);
}

TEST(SecretMemory, NoChildHasItOnceSettled) {
  const SecretString before("hunter2");
  settle_secret_memory();
  const SecretString after("hunter3"), large(std::string(100'000, 'x'));
  EXPECT_NE(flags_of(large.view().data()).find(" wf "), std::string::npos);
  const pid_t child = fork();
  if (child == 0) {
    const auto gone = [](const SecretString& text) {
      return std::all_of(text.view().begin(), text.view().end(), [](char c) { return c == '\0'; });
    };
    _exit(gone(before) && gone(after) && gone(large) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(before, "hunter2");
  EXPECT_LE(secret_memory().locked, secret_memory().bytes);
}

TEST(SecretMemory, AThreadsHeap) {
  std::thread([] {
    const bool kept = keep_thread_out_of_dumps();
    EXPECT_NE(flags_of(&kept).find(" dd "), std::string::npos) << "its stack";
    const auto ordinary = std::make_unique<char[]>(5000);
    EXPECT_EQ(kept, flags_of(ordinary.get()).find(" dd ") != std::string::npos);
  }).join();
}

TEST(SecretMemory, Containers) {
  const size_t before = secret_memory().used;
  {
    std::list<int, SecretAllocator<int>> list{1, 2, 3};
    EXPECT_GT(secret_memory().used, before);
    EXPECT_NE(flags_of(&list.front()).find(" dd "), std::string::npos);
  }
  EXPECT_EQ(secret_memory().used, before);
}

TEST(SecretString, Values) {
  SecretString text;
  EXPECT_TRUE(text.empty());
  text = "hunter2";
  EXPECT_EQ(text, "hunter2");
  EXPECT_FALSE(text == "hunter");
  EXPECT_FALSE(text == "hunter3");
  text = text.view().substr(3);  // part of itself
  EXPECT_EQ(text.view(), "ter2");
  text = text.view();
  EXPECT_EQ(text.view(), "ter2");
  SecretString copy = text, moved = std::move(text);
  EXPECT_EQ(copy, moved);
  EXPECT_NE(copy.view().data(), moved.view().data());
  copy = std::string_view();
  EXPECT_TRUE(copy.empty());
  moved.clear();
  EXPECT_EQ(copy, moved);
  const size_t before = secret_memory().used;
  {
    const SecretString short_one("a");
    EXPECT_EQ(secret_memory().used, before + 2);  // not in the object itself; with a zero byte
    EXPECT_STREQ(short_one.c_str(), "a");
  }
  EXPECT_EQ(secret_memory().used, before);
}

}  // namespace
}  // namespace berth
