// The ini format: each case of the grammar in ini.h, each mistake with its file and line, includes.
#include "config/ini.h"

#include <gtest/gtest.h>

#include "unit/config_support.h"

namespace berth::config {
namespace {

struct Line {
  std::string section, key, value;
  bool operator==(const Line&) const = default;
};
std::vector<Line> settings(const Ini& ini) {
  std::vector<Line> out;
  for (const Setting& s : ini.settings) out.push_back({s.section, s.key, s.value});
  return out;
}

TEST(Ini, Cases) {
  const Ini ini = ini_of(
      "; comment\n"
      "  # comment too\r\n"
      "\n"
      "[databases]\r\n"
      " shop = host=a port=1 \t\r\n"
      "* =\n"
      "\"my \"\"x\"\" = db\" = dbname=b\n"
      "[ pgberth ]\n"
      "a=b ; not a comment # neither\n"
      "last=line");
  EXPECT_TRUE(ini.mistakes.empty());
  EXPECT_EQ(settings(ini), (std::vector<Line>{{"databases", "shop", "host=a port=1"},
                                              {"databases", "*", ""},
                                              {"databases", "my \"x\" = db", "dbname=b"},
                                              {"pgbouncer", "a", "b ; not a comment # neither"},
                                              {"pgbouncer", "last", "line"}}));
  EXPECT_EQ(ini.settings[0].line, 5);
  EXPECT_EQ(ini.settings[4].line, 10);
}

TEST(Ini, AllMistakesAtOnce) {
  const Ini ini = ini_of(
      "early = 1\n"
      "[databases\n"
      "[]\n"
      "[a] b\n"
      "[pgbouncer]\n"
      "no value here\n"
      "= x\n"
      "\"open = x\n"
      "\"\" = x\n"
      "\"a\" b = x\n"
      "%define x\n"
      "%include\n"
      "%includex\n"
      "good = 1\n");
  EXPECT_EQ(formatted(ini.mistakes), (std::vector<std::string>{
                                         "a.ini:1: early: it stands before any [section]",
                                         "a.ini:2: a section is written [name], with nothing after it",
                                         "a.ini:3: a section is written [name], with nothing after it",
                                         "a.ini:4: a section is written [name], with nothing after it",
                                         "a.ini:6: expected \"key = value\", a [section], %include or a comment",
                                         "a.ini:7: expected \"key = value\", a [section], %include or a comment",
                                         "a.ini:8: expected \"key = value\", a [section], %include or a comment",
                                         "a.ini:9: expected \"key = value\", a [section], %include or a comment",
                                         "a.ini:10: expected \"key = value\", a [section], %include or a comment",
                                         "a.ini:11: only %include FILE may start with %",
                                         "a.ini:12: only %include FILE may start with %",
                                         "a.ini:13: only %include FILE may start with %",
                                     }));
  EXPECT_EQ(settings(ini), (std::vector<Line>{{"pgbouncer", "good", "1"}}));
}

TEST(Ini, ZeroByte) {
  const Ini ini = ini_of(std::string("[a]\nb = c\0d\n", 12));
  EXPECT_EQ(formatted(ini.mistakes), (std::vector<std::string>{"a.ini:2: a zero byte in the line"}));
}

TEST(Ini, IncludesShareTheSection) {
  const Ini ini = parse_ini("a.ini", files({{"a.ini", "[pgbouncer]\na = 1\n%include b.ini\nc = 3\n"},
                                            {"b.ini", "b = 2\n[users]\nu = pool_mode=session\n"}}));
  EXPECT_TRUE(ini.mistakes.empty());
  EXPECT_EQ(settings(ini), (std::vector<Line>{{"pgbouncer", "a", "1"},
                                              {"pgbouncer", "b", "2"},
                                              {"users", "u", "pool_mode=session"},
                                              {"users", "c", "3"}}));
  EXPECT_EQ(ini.settings[1].file, "b.ini");
  EXPECT_EQ(ini.settings[1].line, 1);
  EXPECT_EQ(ini.settings[3].file, "a.ini");
}

TEST(Ini, MistakesOfIncludesNameTheirFile) {
  const Ini ini =
      parse_ini("a.ini", files({{"a.ini", "%include b.ini\n%include absent.ini\n"}, {"b.ini", "oops\n"}}));
  EXPECT_EQ(formatted(ini.mistakes),
            (std::vector<std::string>{"b.ini:1: expected \"key = value\", a [section], %include or a comment",
                                      "a.ini:2: %include: cannot read \"absent.ini\""}));
}

TEST(Ini, AFileThatIncludesItselfEnds) {
  const Ini once = parse_ini("a.ini", files({{"a.ini", "%include a.ini\n"}}));
  ASSERT_EQ(once.mistakes.size(), 1u);
  EXPECT_NE(once.mistakes[0].text.find("does \"a.ini\" include itself?"), std::string::npos);
  const Ini many = parse_ini("a.ini", files({{"a.ini", "%include a.ini\n%include a.ini\n%include a.ini\n"}}));
  EXPECT_EQ(many.mistakes.size(), 1u);
}

TEST(Ini, AFileThatIsNoIniIsNotReadToItsEnd) {
  std::string noise;
  for (int i = 0; i < 5000; ++i) noise += "noise\n";
  EXPECT_EQ(ini_of(noise).mistakes.size(), kMaxMistakes);
}

TEST(Ini, AbsentFile) {
  const Ini ini = parse_ini("absent.ini", files({}));
  EXPECT_EQ(formatted(ini.mistakes), (std::vector<std::string>{"absent.ini: cannot read \"absent.ini\""}));
}

}  // namespace
}  // namespace berth::config
