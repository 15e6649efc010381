// What logins have taught: how much of it is kept, and that nobody who is needed is forgotten.
#include "session/learned.h"

#include <gtest/gtest.h>

#include <set>

#include "pool/shared.h"

namespace berth::session {
namespace {

constexpr Micros kStart = 1000 * kSecond, kLater = kStart + 3600 * kSecond;

std::string name_of(size_t number) {
  return "user" + std::to_string(number);
}

// One after the other, a microsecond apart.
void teach(LearnedUsers& users, size_t first, size_t count) {
  for (size_t i = first; i < first + count; ++i) {
    users.teach(name_of(i), kStart + static_cast<Micros>(i), [](Learned& learned) { learned.password = "x"; });
  }
}

bool knows(LearnedUsers& users, const std::string& name) {
  bool has_password = false;
  return users.use({name}, kStart, [&](const Learned& learned) { has_password = !learned.password.empty(); }) &&
         has_password;
}

bool nobody(const std::string&) {
  return false;
}

TEST(LearnedUsers, TheFirstNameThatIsKnown) {
  LearnedUsers users;
  users.teach(learned_name("d", "u"), kStart, [](Learned& learned) { learned.stamp = 1; });
  users.teach("u", kStart, [](Learned& learned) { learned.stamp = 2; });
  uint64_t stamp = 0;
  const auto read = [&](const Learned& learned) { stamp = learned.stamp; };
  EXPECT_TRUE(users.use({learned_name("d", "u"), "u"}, kStart, read));
  EXPECT_EQ(stamp, 1u);
  EXPECT_TRUE(users.use({learned_name("other", "u"), "u"}, kStart, read));
  EXPECT_EQ(stamp, 2u);
  EXPECT_FALSE(users.use({learned_name("d", "v"), "v"}, kStart, read));
}

TEST(LearnedUsers, TheLongestUnusedGo) {
  LearnedUsers users;
  teach(users, 0, kLearnedMax);
  EXPECT_FALSE(users.full());
  teach(users, kLearnedMax, 1);
  EXPECT_TRUE(users.full());
  users.use({name_of(0)}, kStart + kSecond, [](const Learned&) {});
  users.forget(kLater, nobody);
  EXPECT_EQ(users.size(), kLearnedMax - kLearnedMax / 8);
  EXPECT_FALSE(users.full());
  EXPECT_TRUE(knows(users, name_of(0)));  // used since
  EXPECT_FALSE(knows(users, name_of(1)));
  EXPECT_FALSE(knows(users, name_of(kLearnedMax / 8 + 1)));
  EXPECT_TRUE(knows(users, name_of(kLearnedMax / 8 + 2)));
  EXPECT_TRUE(knows(users, name_of(kLearnedMax)));
  teach(users, 1, 1);  // and learns again
  EXPECT_TRUE(knows(users, name_of(1)));
}

TEST(LearnedUsers, WhoIsNeededStays) {
  LearnedUsers users;
  teach(users, 0, kLearnedMax + 1);
  std::set<std::string> needed;
  for (size_t i = 0; i < 100; ++i) needed.insert(name_of(i));
  users.forget(kLater, [&](const std::string& name) { return needed.contains(name); });
  EXPECT_EQ(users.size(), kLearnedMax - kLearnedMax / 8);
  for (const std::string& name : needed) EXPECT_TRUE(knows(users, name)) << name;
}

TEST(LearnedUsers, NobodyGoesWhoHasJustBeenUsed) {
  LearnedUsers users;
  teach(users, 0, kLearnedMax + 1);
  users.forget(kStart + kLearnedKept - 1, nobody);
  EXPECT_EQ(users.size(), kLearnedMax + 1);
}

// Then it is not looked at at each login.
TEST(LearnedUsers, WhenAllAreNeededMoreAreKept) {
  LearnedUsers users;
  teach(users, 0, kLearnedMax + 1);
  users.forget(kLater, [](const std::string&) { return true; });
  EXPECT_EQ(users.size(), kLearnedMax + 1);
  EXPECT_FALSE(users.full());
  teach(users, kLearnedMax + 1, kLearnedMax / 8 + 1);
  EXPECT_TRUE(users.full());
  users.forget(kLater, nobody);
  EXPECT_EQ(users.size(), kLearnedMax - kLearnedMax / 8);
}

// What a server is logged in to with: a password goes before the secret that it was proved against, and no other.
std::string proof_of(std::string_view secret, const Learned& learned, bool directory_first = false) {
  auth::Proof proof;
  proof.secret = auth::parse_secret(secret);
  add_learned(learned, directory_first, proof);
  std::string text(proof.secret.text.view());
  if (!proof.otherwise.empty()) text.append(" or ").append(proof.otherwise.view());
  return text;
}

constexpr std::string_view kScram =
    "SCRAM-SHA-256$4096:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAA=";
constexpr std::string_view kMd5 =
    "md5"
    "0123456789abcdef0123456789abcdef";
constexpr std::string_view kMd5Later =
    "md5"
    "fedcba9876543210fedcba9876543210";

TEST(Learned, APasswordServesForTheSecretThatItWasProvedAgainst) {
  for (const std::string_view secret : {kScram, kMd5}) {
    Learned learned;
    learned.proved("old", secret);
    EXPECT_EQ(proof_of(secret, learned), "old");
    EXPECT_EQ(proof_of(kMd5Later, learned), kMd5Later);
    EXPECT_EQ(proof_of("clear", learned), "clear");
    EXPECT_EQ(proof_of("", learned), "old");  // auth_file does not have the user any more
    learned.proved({}, secret);               // a login that tells no password
    EXPECT_EQ(proof_of(secret, learned), "old");
    learned.proved({}, kMd5Later);
    EXPECT_EQ(proof_of(secret, learned), secret);
    learned.proved("new", kMd5Later);
    EXPECT_EQ(proof_of(kMd5Later, learned), "new");
  }
}

// auth_query has read another secret since, at a login by certificate, say.
TEST(Learned, ASecretThatWasReadLaterCounts) {
  Learned learned;
  learned.secret = auth::parse_secret(kMd5);
  learned.proved("old", kMd5);
  EXPECT_EQ(proof_of("", learned), "old");
  learned.secret = auth::parse_secret(kMd5Later);
  EXPECT_EQ(proof_of("", learned), kMd5Later);
}

TEST(Learned, ADirectorysPasswordIsForWhatTheSecretCannotAnswer) {
  Learned learned;
  learned.directory = "told";
  EXPECT_EQ(proof_of("", learned), "told");
  EXPECT_EQ(proof_of(kMd5, learned), std::string(kMd5) + " or told");
  EXPECT_EQ(proof_of(kMd5, learned, true), "told");
  EXPECT_EQ(proof_of("clear", learned, true), "clear or told");
  learned.proved("proved", kMd5);
  EXPECT_EQ(proof_of(kMd5, learned), "proved or told");
}

TEST(SharedRegistry, AskingWhetherADatabaseIsDisabledMakesNone) {
  pool::SharedRegistry registry;
  EXPECT_FALSE(registry.disabled("made_up"));
  size_t databases = 0;
  registry.each_database([&](const pool::SharedDatabase&) { ++databases; });
  EXPECT_EQ(databases, 0u);
  registry.database("d")->disabled = true;
  EXPECT_TRUE(registry.disabled("d"));
}

}  // namespace
}  // namespace berth::session
