// Goal: a set of settings is one value with one address, and the difference of two, sent to a server, makes the one
// into the other. Method: sets of dice; the difference is read by a reader of our own, as PostgreSQL would, and
// applied to a map.
#include "pool/params.h"

#include <map>
#include <vector>

#include "unit/seeds.h"

namespace berth::pool {
namespace {

using Values = std::vector<std::pair<std::string, std::string>>;
using Map = std::map<std::string, std::string>;

TEST(ParamSets, EqualSetsHaveOneAddress) {
  const Params a = make_params({{"DateStyle", "ISO"}, {"application_name", "x"}});
  const Params b = make_params({{"application_name", "x"}, {"DateStyle", "ISO"}});
  EXPECT_EQ(a, b);
  EXPECT_EQ(a.get(), b.get());
  EXPECT_NE(a, make_params({{"application_name", "y"}, {"DateStyle", "ISO"}}));
  EXPECT_NE(a, make_params({{"application_name", "x"}}));
  EXPECT_EQ(make_params({}), make_params({}));
}

TEST(ParamSets, NamesHaveNoCaseAndTheLastValueWins) {
  const Params params = make_params({{"TimeZone", "UTC"}, {"timezone", "CET"}, {"a", "1"}, {"TIMEZONE", "EST"}});
  ASSERT_EQ(params->values.size(), 2u);
  EXPECT_EQ(*params->find("timeZone"), "EST");
  EXPECT_EQ(params->find("time"), nullptr);
  EXPECT_EQ(with_value(params, "TIMEZONE", "EST"), params) << "no change, no new set";
  EXPECT_EQ(*with_value(params, "timezone", "UTC")->find("TimeZone"), "UTC");
  EXPECT_EQ(with_value(params, "b", "2")->values.size(), 3u);
  EXPECT_EQ(without_value(params, "nothing"), params);
  EXPECT_EQ(without_value(params, "TIMEzone"), make_params({{"a", "1"}}));
  EXPECT_EQ(without_value(Params(), "a"), Params());
  EXPECT_EQ(with_value(Params(), "a", "1"), make_params({{"a", "1"}}));
}

// No value is taken for a part of the name before it.
TEST(ParamSets, NamesAndValuesAreApart) {
  EXPECT_NE(make_params({{"ab", "c"}}), make_params({{"a", "bc"}}));
  EXPECT_NE(make_params({{"a", ""}, {"b", ""}}), make_params({{"a", "b"}}));
}

TEST(ParamSets, ThePartThatAParseDependsOn) {
  const Params base = make_params({{"DateStyle", "ISO"}, {"search_path", "s"}});
  EXPECT_EQ(plan_params(base), base) << "nothing else in it";
  const Params more = with_value(with_value(base, "application_name", "x"), "statement_timeout", "5");
  EXPECT_NE(more, base);
  EXPECT_EQ(plan_params(more), base);
  EXPECT_NE(plan_params(with_value(more, "DateStyle", "German")), base);
  for (const char* name : {"DATESTYLE", "IntervalStyle", "timezone", "search_path", "client_encoding",
                           "standard_conforming_strings", "transform_null_equals", "array_nulls", "backslash_quote",
                           "xmloption", "lc_monetary", "TimeZone_abbreviations"}) {
    EXPECT_TRUE(is_plan_parameter(name)) << name;
    EXPECT_NE(plan_params(with_value(more, name, "other")), base) << name;
  }
  EXPECT_FALSE(plan_params(Params()));
}

// ---- the difference

// Reads 'text' or E'text' at the start of `sql`, as PostgreSQL does, or NULL.
bool take_literal(std::string_view& sql, std::string& out, bool& null) {
  out.clear();
  null = sql.substr(0, 4) == "NULL";
  if (null) {
    sql.remove_prefix(4);
    return true;
  }
  const bool escapes = sql.substr(0, 1) == "E";
  sql.remove_prefix(escapes ? 1 : 0);
  if (sql.substr(0, 1) != "'") return false;
  for (size_t at = 1; at < sql.size(); ++at) {
    if (sql[at] == '\'' && sql.substr(at, 2) != "''") {
      sql.remove_prefix(at + 1);
      return true;
    }
    if (sql[at] == '\'' || (escapes && sql[at] == '\\')) ++at;
    if (at < sql.size()) out += sql[at];
  }
  return false;
}

bool take(std::string_view& sql, std::string_view text) {
  if (sql.substr(0, text.size()) != text) return false;
  sql.remove_prefix(text.size());
  return true;
}

// What a session has after the SELECT; false if it is none that we can read.
bool carry_out(std::string_view sql, Map& session) {
  if (!take(sql, "SELECT ")) return false;
  do {
    std::string name, value;
    bool null;
    if (!take(sql, "pg_catalog.set_config(") || !take_literal(sql, name, null) || null || !take(sql, ",") ||
        !take_literal(sql, value, null) || !take(sql, ",false)")) {
      return false;
    }
    if (null) {
      session.erase(name);
    } else {
      session[name] = value;
    }
  } while (take(sql, ","));
  return sql.empty();
}

Map settable(const Params& params) {
  Map out;
  if (!params) return out;
  for (const auto& [name, value] : params->values) {
    if (!is_fixed_parameter(name)) out[name] = value;
  }
  return out;
}

Params random_params(Random& dice) {
  static constexpr const char* kNames[] = {"a", "b.c", "d'e", "f\\g", "search_path", "server_version"};
  Values values;
  for (const char* name : kNames) {
    if (dice.below(2)) values.emplace_back(name, random_bytes(dice, 3, "xy'\\\","));
  }
  return dice.below(20) ? make_params(std::move(values)) : Params();
}

TEST(Difference, MakesOneIntoTheOther) {
  SEEDED(dice);
  for (int round = 0; round < 20000; ++round) {
    const Params have = random_params(dice), want = random_params(dice);
    const std::string sql = difference_sql(have, want);
    Map session = settable(have);
    if (sql.empty()) {
      ASSERT_EQ(session, settable(want));
      continue;
    }
    ASSERT_NE(session, settable(want)) << "nothing differs: " << sql;
    ASSERT_TRUE(carry_out(sql, session)) << sql;
    ASSERT_EQ(session, settable(want)) << sql;
  }
}

TEST(Difference, Examples) {
  const Params have = make_params({{"a", "1"}, {"b", "2"}, {"server_version", "15"}});
  EXPECT_EQ(difference_sql(have, have), "");
  EXPECT_EQ(difference_sql(have, make_params({{"A", "1"}, {"b", "2"}, {"server_version", "16"}})), "");
  EXPECT_EQ(difference_sql(have, make_params({{"a", "x'y"}, {"c", "\\"}})),
            "SELECT pg_catalog.set_config('b',NULL,false),pg_catalog.set_config('a','x''y',false),"
            "pg_catalog.set_config('c',E'\\\\',false)");
  EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(quote_literal(""), "''");
}

}  // namespace
}  // namespace berth::pool
