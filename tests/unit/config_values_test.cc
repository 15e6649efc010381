// Values as text: each accepted spelling, each refused one, the borders of ranges.
#include "config/values.h"

#include <gtest/gtest.h>

namespace berth::config {
namespace {

TEST(Values, Bool) {
  for (const char* yes : {"1", "true", "TRUE", "t", "yes", "Y", "on", "On", "2", "-1", "0x1"}) {
    ASSERT_TRUE(parse_bool(yes)) << yes;
    EXPECT_TRUE(parse_bool(yes).value()) << yes;
  }
  for (const char* no : {"0", "false", "f", "no", "n", "OFF", "00"}) {
    ASSERT_TRUE(parse_bool(no)) << no;
    EXPECT_FALSE(parse_bool(no).value()) << no;
  }
  for (const char* bad : {"", "tru", "enabled", "1.0", " 1"}) EXPECT_FALSE(parse_bool(bad)) << bad;
  EXPECT_EQ(parse_bool("maybe").error().text, "\"maybe\" is not 0 or 1 (nor true, false, yes, no, on, off)");
}

TEST(Values, Number) {
  const auto value = [](const char* text) { return parse_number(text, -1000000, 1000000).value(); };
  EXPECT_EQ(value("0"), 0);
  EXPECT_EQ(value("42"), 42);
  EXPECT_EQ(value("+42"), 42);
  EXPECT_EQ(value("-7"), -7);
  EXPECT_EQ(value("0777"), 511);  // octal, as unix_socket_mode needs it
  EXPECT_EQ(value("0x1F"), 31);
  for (const char* bad : {"", "-", "+", "+-5", "--5", "5 ", " 5", "5s", "1.5", "089", "0x", "0xg", "five"}) {
    EXPECT_FALSE(parse_number(bad, -1000000, 1000000)) << bad;
  }
}

TEST(Values, NumberAtTheBorders) {
  EXPECT_TRUE(parse_number("1", 1, 65535));
  EXPECT_TRUE(parse_number("65535", 1, 65535));
  EXPECT_EQ(parse_number("0", 1, 65535).error().text, "0 is out of range, allowed is 1 to 65535");
  EXPECT_FALSE(parse_number("65536", 1, 65535));
  EXPECT_EQ(parse_number("9223372036854775807", 0, INT64_MAX).value(), INT64_MAX);
  EXPECT_FALSE(parse_number("9223372036854775808", 0, INT64_MAX));
  EXPECT_FALSE(parse_number("18446744073709551617", 0, INT64_MAX));
  EXPECT_EQ(parse_number("-9223372036854775808", INT64_MIN, INT64_MAX).value(), INT64_MIN);
  EXPECT_FALSE(parse_number("-9223372036854775808", INT64_MIN + 1, INT64_MAX));
  EXPECT_FALSE(parse_number("-9223372036854775809", INT64_MIN, INT64_MAX));
}

TEST(Values, TimeAndBack) {
  EXPECT_EQ(parse_time("120").value(), 120 * kSecond);
  EXPECT_EQ(parse_time("0.5").value(), kSecond / 2);
  EXPECT_EQ(parse_time("5.0").value(), 5 * kSecond);
  EXPECT_EQ(parse_time("0.000001").value(), 1);
  EXPECT_EQ(parse_time("1e+06").value(), 1000000 * kSecond);
  EXPECT_EQ(parse_time("0").value(), 0);
  for (const char* bad : {"", "5s", "1 min", "inf", "nan", "-1", "1e10", "1e999", "0x10", "abc", "."}) {
    EXPECT_FALSE(parse_time(bad)) << bad;
  }
  // As PgBouncer's SHOW CONFIG prints them, %g.
  EXPECT_EQ(format_time(3600 * kSecond), "3600");
  EXPECT_EQ(format_time(kSecond / 2), "0.5");
  EXPECT_EQ(format_time(1000000 * kSecond), "1e+06");
  EXPECT_EQ(format_time(0), "0");
}

TEST(Values, Words) {
  EXPECT_EQ(parse_pool_mode("Transaction").value(), PoolMode::kTransaction);
  EXPECT_EQ(parse_pool_mode("bogus").error().text, "\"bogus\" is not one of session, transaction, statement");
  EXPECT_EQ(parse_auth_type("scram-sha-256").value(), AuthType::kScramSha256);
  EXPECT_FALSE(parse_auth_type("crypt"));
  EXPECT_EQ(parse_load_balance("disable").value(), LoadBalance::kDisable);
  for (const AuthType type :
       {AuthType::kTrust, AuthType::kAny, AuthType::kPlain, AuthType::kMd5, AuthType::kScramSha256, AuthType::kCert,
        AuthType::kHba, AuthType::kPam, AuthType::kLdap}) {
    EXPECT_EQ(parse_auth_type(to_string(type)).value(), type);
  }
  for (const PoolMode mode : {PoolMode::kSession, PoolMode::kTransaction, PoolMode::kStatement}) {
    EXPECT_EQ(parse_pool_mode(to_string(mode)).value(), mode);
  }
}

TEST(Values, SplitList) {
  EXPECT_EQ(split_list(""), std::vector<std::string>{});
  EXPECT_EQ(split_list(" , ,"), std::vector<std::string>{});
  EXPECT_EQ(split_list("a, b,c ,"), (std::vector<std::string>{"a", "b", "c"}));
}

}  // namespace
}  // namespace berth::config
