// auth_file: quoting, comments, what is refused; no message shows a secret.
#include "config/userlist.h"

#include <gtest/gtest.h>

#include "unit/config_support.h"

namespace berth::config {
namespace {

TEST(Userlist, Lines) {
  const Userlist list = parse_userlist(
      "; comment\n"
      "# comment\n"
      "\n"
      "\"anna\" \"pass word\"\n"
      "  \"bo\"\"b\"\t\"a\"\"b\" and the rest is ignored\r\n"
      "\"dora\" \"SCRAM-SHA-256$4096:c2FsdA==$a:b\"\n"
      "\"empty\" \"\"",
      "u.txt");
  EXPECT_TRUE(list.mistakes.empty());
  ASSERT_EQ(list.secrets.size(), 4u);
  EXPECT_EQ(list.secrets.at("anna"), "pass word");
  EXPECT_EQ(list.secrets.at("bo\"b"), "a\"b");
  EXPECT_EQ(list.secrets.at("dora"), "SCRAM-SHA-256$4096:c2FsdA==$a:b");
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
