// Goal: message boundaries are the same whatever the chunks, and no length, however hostile, is believed (T7, T11,
// T29). Method: the laws of wire_laws.h over streams of dice, every border of a length, every cut of a small stream.
#include <climits>

#include "unit/seeds.h"
#include "unit/wire_laws.h"

namespace berth::wire {
namespace {

std::string head(char tag, uint32_t length) {
  std::string out(1, tag);
  put32(out, length);
  return out;
}

// T7, T11, T29.
TEST(Frame, LengthsAtEveryBorder) {
  constexpr uint64_t kMax = 1 << 20;
  struct Case {
    uint32_t length;
    bool valid;
  };
  for (const Case& c : {Case{0, false},
                        {1, false},
                        {3, false},
                        {4, true},
                        {5, true},
                        {(1 << 20) - 1, true},
                        {1 << 20, false},
                        {INT32_MAX - 1u, false},
                        {INT32_MAX, false},
                        {1u + INT32_MAX, false},
                        {UINT32_MAX - 1, false},
                        {UINT32_MAX, false}}) {
    const Exact bytes(head('Q', c.length));
    const Head read = read_head(bytes.bytes().data(), kMax);
    EXPECT_EQ(read.valid, c.valid) << c.length;
    EXPECT_EQ(read.tag, 'Q');
    EXPECT_EQ(read.size, uint64_t{c.length} + 1) << "a sum in 64 bits";
  }
  // Where a whole int32 is allowed, that is the limit.
  EXPECT_TRUE(read_head(head('D', INT32_MAX).data(), uint64_t{1} << 31).valid);
  EXPECT_FALSE(read_head(head('D', 1u + INT32_MAX).data(), uint64_t{1} << 31).valid);
}

TEST(Frame, EveryCutOfASmallStream) {
  std::string stream;
  put_query(stream, "select 1");
  put_empty(stream, kSync);
  put_parse(stream, "s", "select $1", std::string_view("\0\0", 2));
  const Frames whole = reference_frames(stream, 1000);
  ASSERT_EQ(whole.messages.size(), 3u);
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    const Frames left = reference_frames(std::string_view(stream).substr(0, cut), 1000);
    std::vector<std::string> all = left.messages;
    const Frames right = reference_frames(left.tail + stream.substr(cut), 1000);
    all.insert(all.end(), right.messages.begin(), right.messages.end());
    EXPECT_EQ(all, whole.messages) << cut;
  }
}

TEST(Frame, AnyChunkingGivesTheSameFrames) {
  SEEDED(dice);
  for (int round = 0; round < 3000; ++round) {
    std::string stream;
    for (uint64_t count = dice.below(12); count > 0; --count) {
      Message message(stream, static_cast<char>('A' + dice.below(26)));
      stream.append(dice.below(dice.below(5) ? 20 : 6000), 'x');
    }
    if (dice.below(3) == 0) stream += head('Q', static_cast<uint32_t>(dice.next()));
    if (dice.below(3) == 0) stream += head('Q', static_cast<uint32_t>(dice.below(9)));
    if (!stream.empty() && dice.below(3) == 0)
      stream[dice.below(stream.size())] ^= static_cast<char>(1 << dice.below(8));
    const char* broken = frame_law(stream, 5000, dice);
    ASSERT_FALSE(broken) << broken;
  }
}

TEST(Frame, NumbersInNetworkOrder) {
  char bytes[4];
  for (uint32_t value : {0u, 1u, 0x01020304u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    store32(bytes, value);
    EXPECT_EQ(read32(bytes), value);
    EXPECT_EQ(static_cast<unsigned char>(bytes[0]), value >> 24);
    EXPECT_EQ(read16(bytes), value >> 16);
  }
}

// T24: a string without its NUL is none.
TEST(Frame, Strings) {
  std::string_view rest("one\0\0three", 10), out;
  EXPECT_TRUE(take_cstring(rest, out));
  EXPECT_EQ(out, "one");
  EXPECT_TRUE(take_cstring(rest, out));
  EXPECT_EQ(out, "");
  EXPECT_FALSE(take_cstring(rest, out));
  EXPECT_EQ(rest, "three");
  rest = {};
  EXPECT_FALSE(take_cstring(rest, out));
}

}  // namespace
}  // namespace berth::wire
