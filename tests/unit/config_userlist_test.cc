// auth_file: quoting, comments, what is refused; no message shows a secret.
#include "config/userlist.h"

#include <gtest/gtest.h>

#include "unit/config_support.h"

namespace berth::config {
namespace {

const std::string kKey = std::string(43, 'A') + "=";
const std::string kScram = "SCRAM-SHA-256$4096:c2FsdA==$" + kKey + ":" + kKey;

TEST(Userlist, Lines) {
  const Userlist list = parse_userlist(
      "; comment\n"
      "# comment\n"
      "\n"
      "\"anna\" \"pass word\"\n"
      "  \"bo\"\"b\"\t\"a\"\"b\" and the rest is ignored\r\n"
      "\"dora\" \"" +
          kScram +
          "\"\n"
          "\"empty\" \"\"",
      "u.txt");
  EXPECT_TRUE(list.mistakes.empty());
  ASSERT_EQ(list.secrets.size(), 4u);
  EXPECT_EQ(list.secrets.at("anna"), "pass word");
  EXPECT_EQ(list.secrets.at("bo\"b"), "a\"b");
  EXPECT_EQ(list.secrets.at("dora").view(), kScram);
  EXPECT_EQ(list.secrets.at("empty"), "");
}

TEST(Userlist, Mistakes) {
  const Userlist list = parse_userlist(
      "anna secret\n"
      "\"anna secret\n"
      "\"anna\"\n"
      "\"anna\" secret\n"
      "\"anna\" \"secret\n"
      "\"\" \"secret\"\n"
      "\"good\" \"x\"\n",
      "u.txt");
  EXPECT_EQ(formatted(list.mistakes),
            (std::vector<std::string>{"u.txt:1: expected \"user\" \"secret\", each in double quotes",
                                      "u.txt:2: expected \"user\" \"secret\", each in double quotes",
                                      "u.txt:3: anna: expected the secret in double quotes after the user",
                                      "u.txt:4: anna: expected the secret in double quotes after the user",
                                      "u.txt:5: anna: expected the secret in double quotes after the user",
                                      "u.txt:6: the user's name is empty"}));
  EXPECT_EQ(list.secrets.size(), 1u);
}

// What is left of a hash must not count as a password: whoever has seen the file could log in with it.
TEST(Userlist, ABrokenScramSecretIsAMistake) {
  const auto mistakes = [](const std::string& secret) {
    const Userlist list = parse_userlist("\"anna\" \"" + secret + "\"\n", "u.txt");
    EXPECT_EQ(list.secrets.empty(), !list.mistakes.empty());
    return formatted(list.mistakes);
  };
  const auto broken = [](const std::string& part) {
    return std::vector<std::string>{"u.txt:1: anna: it begins as a SCRAM secret, but " + part +
                                    " is broken or missing: copy the whole of it"};
  };
  const std::string begin = "SCRAM-SHA-256$", salted = begin + "4096:c2FsdA==$";
  EXPECT_EQ(mistakes(kScram), std::vector<std::string>{});
  for (const char* count : {"", "0", "-1", "4096x", "2147483648"}) {
    EXPECT_EQ(mistakes(begin + count + ":c2FsdA==$" + kKey + ":" + kKey), broken("the number of its iterations"));
  }
  EXPECT_EQ(mistakes(begin + "4096:$" + kKey + ":" + kKey), broken("its salt"));
  EXPECT_EQ(mistakes(begin + "4096:c2FsdA=$" + kKey + ":" + kKey), broken("its salt"));
  EXPECT_EQ(mistakes(salted + "AAAA:" + kKey), broken("its stored key"));
  EXPECT_EQ(mistakes(salted + kKey + ":" + kKey + "AAAA"), broken("its server key"));
  EXPECT_EQ(mistakes(salted + kKey + ":" + kKey + " "), broken("its server key"));
  for (size_t size = begin.size(); size < kScram.size(); ++size) {
    EXPECT_EQ(mistakes(kScram.substr(0, size)).size(), 1u) << size;
  }
  EXPECT_EQ(mistakes("SCRAM-SHA-1$4096:c2FsdA==$a:b"), std::vector<std::string>{}) << "somebody's password";
}

TEST(Userlist, WhatLooksLikeADamagedHashIsWarnedOf) {
  const auto warnings = [](const std::string& secret) {
    const Userlist list = parse_userlist("\"anna\" \"" + secret + "\"\n", "u.txt");
    EXPECT_EQ(list.secrets.at("anna").view(), secret);
    return formatted(list.warnings);
  };
  const std::string hash = "0123456789abcdef0123456789abcdef", upper = "0123456789ABCDEF0123456789abcdef";
  const std::vector<std::string> none,
      damaged{
          "u.txt:1: anna: it looks like an md5 hash, but has not 32 digits 0-9a-f: it counts as a password in clear"};
  EXPECT_EQ(warnings("md5" + hash), none);
  EXPECT_EQ(warnings("md5" + upper), damaged);
  EXPECT_EQ(warnings("md5" + hash.substr(1)), damaged);
  EXPECT_EQ(warnings("md5" + hash + "0"), damaged);
  EXPECT_EQ(warnings("md5" + hash.substr(1) + "l"), damaged) << "of 32 characters, not all digits";
  EXPECT_EQ(warnings("md5"), none);
  EXPECT_EQ(warnings("md5isbroken"), none);
  EXPECT_EQ(warnings("md5cafe"), none);

  const auto with = [](const std::string& count) {
    return "SCRAM-SHA-256$" + count + ":c2FsdA==$" + kKey + ":" + kKey;
  };
  EXPECT_EQ(warnings(with("1000000")), none);
  EXPECT_EQ(
      warnings(with("1000001")),
      std::vector<std::string>{"u.txt:1: anna: 1000001 iterations: each login costs the client that much, and at a "
                               "server that has more than 1000000 the broker does not log in"});
}

TEST(Userlist, Sizes) {
  const auto line = [](size_t user, size_t secret) {
    return "\"" + std::string(user, 'u') + "\" \"" + std::string(secret, 's') + "\"";
  };
  EXPECT_TRUE(parse_userlist(line(kMaxUserNameSize, kMaxSecretSize), "u").mistakes.empty());
  EXPECT_EQ(parse_userlist(line(kMaxUserNameSize + 1, 1), "u").mistakes.size(), 1u);
  EXPECT_EQ(parse_userlist(line(1, kMaxSecretSize + 1), "u").mistakes.size(), 1u);
  EXPECT_EQ(parse_userlist(std::string("\"a\0b\" \"c\"", 9), "u").mistakes.size(), 1u);
}

TEST(Userlist, TheLastLineOfAUserCounts) {
  const Userlist list = parse_userlist("\"a\" \"one\"\n\"a\" \"two\"\n", "u.txt");
  EXPECT_EQ(list.secrets.at("a"), "two");
  EXPECT_EQ(formatted(list.warnings), (std::vector<std::string>{"u.txt:2: a: named before, this line counts"}));
}

}  // namespace
}  // namespace berth::config
