// Goal: the first packet is understood in all its forms, to the byte, and anything else is refused with its reason
// (T1, T7, T14, T24). Method: examples of each form, every length, the law of wire_laws.h over packets that dice have
// damaged.
#include "unit/seeds.h"
#include "unit/wire_laws.h"

namespace berth::wire {
namespace {

using Kind = Startup::Kind;

std::string packet(uint32_t code, std::string_view rest = {}) {
  std::string out(4, '\0');
  put32(out, code);
  out.append(rest);
  store32(out.data(), static_cast<uint32_t>(out.size()));
  return out;
}

std::string cancel(size_t key_size) {
  std::string rest;
  put32(rest, 4711);
  return packet(kCancelRequestCode, rest.append(key_size, 'k'));
}

TEST(StartupPacket, VersionsAndParameters) {
  for (uint32_t version : {kProtocol30, kProtocol32, (3u << 16) | 9999, (3u << 16) | 0xffff}) {
    std::string bytes;
    put_startup(bytes, version, {{"user", "me"}, {"database", "db"}, {"_pq_.some_option", "1"}, {"empty", ""}});
    const Startup read = parse_startup(bytes);
    ASSERT_EQ(read.kind, Kind::kStartup) << read.why;
    EXPECT_EQ(read.version, version);
    EXPECT_EQ(read.size, bytes.size());
    const std::vector<std::pair<std::string_view, std::string_view>> expected = {
        {"user", "me"}, {"database", "db"}, {"_pq_.some_option", "1"}, {"empty", ""}};
    EXPECT_EQ(read.parameters, expected);
    EXPECT_FALSE(startup_law(bytes)) << startup_law(bytes);
  }
  EXPECT_EQ(parse_startup(packet(kProtocol30, std::string(1, '\0'))).kind, Kind::kStartup) << "without any parameter";
}

TEST(StartupPacket, OtherMajorVersionsAreRefused) {
  for (uint32_t version : {0u, 1u, 2u << 16, 4u << 16, (1234u << 16) | 5677, (1234u << 16) | 5681, UINT32_MAX}) {
    EXPECT_EQ(parse_startup(packet(version, std::string(1, '\0'))).kind, Kind::kBad) << version;
  }
}

TEST(StartupPacket, EncryptionRequestsHaveNoBody) {
  EXPECT_EQ(parse_startup(packet(kSslRequestCode)).kind, Kind::kSsl);
  EXPECT_EQ(parse_startup(packet(kGssEncRequestCode)).kind, Kind::kGssEnc);
  EXPECT_EQ(parse_startup(packet(kSslRequestCode, "x")).kind, Kind::kBad);
  EXPECT_EQ(parse_startup(packet(kGssEncRequestCode, "x")).kind, Kind::kBad);
  // T2: what comes right behind is not part of it.
  const Startup read = parse_startup(packet(kSslRequestCode) + "stuffed");
  EXPECT_EQ(read.kind, Kind::kSsl);
  EXPECT_EQ(read.size, 8u);
}

TEST(StartupPacket, CancelKeysOfEverySize) {
  for (size_t size = 0; size <= 300; ++size) {
    const std::string bytes = cancel(size);
    const Startup read = parse_startup(bytes);
    ASSERT_EQ(read.kind == Kind::kCancel, size >= 4 && size <= 256) << size;
    EXPECT_FALSE(startup_law(bytes)) << startup_law(bytes);
    if (read.kind != Kind::kCancel) continue;
    EXPECT_EQ(read.cancel_pid, 4711u);
    EXPECT_EQ(read.cancel_key, std::string(size, 'k'));
  }
}

// T1.
TEST(StartupPacket, HostileLengths) {
  for (uint32_t length : {0u, 1u, 3u, 4u, 7u, 10005u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    std::string bytes;
    put32(bytes, length);
    EXPECT_EQ(parse_startup(bytes).kind, Kind::kBad) << length;
    put32(bytes, kProtocol30);
    EXPECT_EQ(parse_startup(bytes).kind, Kind::kBad) << length;
  }
  // PostgreSQL's limit does not count the four bytes of the length.
  std::string largest(10004 - 8, 'x');
  largest.back() = '\0';
  largest[largest.size() - 2] = '\0';
  const std::string bytes = packet(kProtocol30, largest);
  EXPECT_EQ(bytes.size(), kStartupSizeMax);
  EXPECT_EQ(parse_startup(bytes.substr(0, 4)).size, kStartupSizeMax);
  EXPECT_FALSE(startup_law(bytes)) << startup_law(bytes);
}

// The list ends with an empty name that is the packet's last byte.
TEST(StartupPacket, ListsThatDoNotEndAsTheyMust) {
  for (std::string_view rest :
       {std::string_view("", 0), std::string_view("user", 4), std::string_view("user\0", 5),
        std::string_view("user\0me", 7), std::string_view("user\0me\0", 8), std::string_view("\0\0", 2),
        std::string_view("user\0me\0\0more", 13), std::string_view("user\0me\0\0\0", 10)}) {
    EXPECT_EQ(parse_startup(packet(kProtocol30, rest)).kind, Kind::kBad) << rest;
  }
}

TEST(StartupPacket, DamagedPackets) {
  SEEDED(dice);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    if (dice.below(2)) {
      std::string rest;
      for (uint64_t pairs = dice.below(6); pairs > 0; --pairs) {
        put_cstring(rest, random_bytes(dice, 12, "abc_.-"));
        put_cstring(rest, random_bytes(dice, 40, "abc =-"));
      }
      bytes = packet(kProtocol30 | static_cast<uint32_t>(dice.below(4)), rest + '\0');
    } else {
      bytes =
          dice.below(2) ? cancel(dice.below(300)) : packet(kSslRequestCode + static_cast<uint32_t>(dice.below(2)));
    }
    for (uint64_t damage = dice.below(3); damage > 0; --damage) {
      bytes[dice.below(bytes.size())] = static_cast<char>(dice.below(2) ? 0 : dice.below(256));
    }
    bytes.resize(bytes.size() - dice.below(2) * dice.below(bytes.size()));
    const char* broken = startup_law(bytes);
    ASSERT_FALSE(broken) << broken << " in round " << round;
  }
}

TEST(StartupPacket, WhatIsNegotiatedAway) {
  const auto answer = [](uint32_t version, std::string_view option) {
    std::string bytes, out;
    put_startup(bytes, version, {{"user", "me"}, {option, "1"}});
    put_negotiation(out, parse_startup(bytes));
    return out;
  };
  using namespace std::string_literals;
  EXPECT_EQ(answer(kProtocol30, "a"), "");
  EXPECT_EQ(answer(kProtocol32, "_pq_"), "");
  EXPECT_EQ(answer(kProtocol32 + 1, "a"), "v\0\0\0\xc\0\3\0\2\0\0\0\0"s);
  EXPECT_EQ(answer(kProtocol30, "_pq_.a"), "v\0\0\0\x13\0\3\0\0\0\0\0\1_pq_.a\0"s);
}

TEST(StartupPacket, ReplicationAsPostgresqlReadsBooleans) {
  std::string_view read;
  for (const char* text : {"T", "tRue", "y", "yes", "on", "ON", "1"}) {
    EXPECT_TRUE(parse_replication(text, read) && read == "true") << text;
  }
  for (const char* text : {"f", "False", "n", "no", "of", "OFF", "0"}) {
    EXPECT_TRUE(parse_replication(text, read) && read.empty()) << text;
  }
  EXPECT_TRUE(parse_replication("database", read) && read == "database");
  for (const char* text : {"", "o", "truex", "on ", "2", "10", "Database", "data"}) {
    EXPECT_FALSE(parse_replication(text, read)) << text;
    EXPECT_FALSE(replication_law(text)) << text;
  }
}

// ---- the parameter `options`

using Settings = std::vector<std::pair<std::string, std::string>>;

TEST(StartupOptionsTest, EverySpelling) {
  StartupOptions read;
  ASSERT_TRUE(parse_startup_options("  -c a=1 -cb=2\t--c-d=3 -c e=4 -c f=x\\ y\\\\z -c g= -F -d2 -c h== --", read));
  EXPECT_EQ(read.settings,
            (Settings{{"a", "1"}, {"b", "2"}, {"c_d", "3"}, {"e", "4"}, {"f", "x y\\z"}, {"g", ""}, {"h", "="}}));
  EXPECT_EQ(read.others, (std::vector<std::string>{"-F", "-d2"}));
}

// T14: a name that is empty, or not there, is an end.
TEST(StartupOptionsTest, Malformed) {
  for (const char* text : {"-c", "-c novalue", "--novalue", "-c =1", "--=1", "-c a=1 -c", "-- e=4", "-- -c e=4"}) {
    StartupOptions read;
    EXPECT_FALSE(parse_startup_options(text, read)) << text;
  }
  StartupOptions nothing;
  EXPECT_TRUE(parse_startup_options("", nothing) && parse_startup_options(" \t\n", nothing));
  EXPECT_TRUE(parse_startup_options("--", nothing)) << "the end of all switches";
  EXPECT_TRUE(nothing.settings.empty() && nothing.others.empty());
}

TEST(StartupOptionsTest, WrittenAgainTheyAreTheSame) {
  SEEDED(dice);
  for (int round = 0; round < 20000; ++round) {
    const std::string text = random_bytes(dice, 60, "-c-c  ab=\\_\t");
    const char* broken = options_law(text);
    ASSERT_FALSE(broken) << broken << ": " << text;
  }
}

}  // namespace
}  // namespace berth::wire
