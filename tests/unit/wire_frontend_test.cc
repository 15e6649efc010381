// Goal: the heads of Parse, Bind, Describe and Close are read as PostgreSQL reads them, from any part of the message,
// and only what is nothing but a DEALLOCATE or DISCARD ALL is taken for one. Method: examples from PostgreSQL's
// grammar, and the laws of wire_laws.h over bytes of dice.
#include "unit/seeds.h"
#include "unit/wire_laws.h"

namespace berth::wire {
namespace {

using Kind = StatementCommand::Kind;
using namespace std::string_literals;

TEST(ParseMessageTest, Examples) {
  ParseMessage read;
  const std::string good = "name\0select $1\0\0\1\0\0\0\x17"s;
  ASSERT_TRUE(parse_parse(good, read));
  EXPECT_EQ(read.name, "name");
  EXPECT_EQ(read.sql, "select $1");
  EXPECT_EQ(read.types, "\0\1\0\0\0\x17"s);
  EXPECT_TRUE(parse_parse("\0\0\0\0"s, read));
  for (const std::string& body : {""s, "a"s, "a\0"s, "a\0b"s, "a\0b\0"s, "a\0b\0\0"s, "a\0b\0\0\1"s,
                                  "a\0b\0\0\1\0\0\0"s, "a\0b\0\0\0x"s, "a\0b\0\xff\xff"s, "a\0b\0\0\1\0\0\0\1\0"s}) {
    EXPECT_FALSE(parse_parse(body, read)) << testing::PrintToString(body);
  }
}

TEST(BindHeadTest, LimitOfNamesThatDoNotEnd) {
  BindHead head;
  const std::string name(2 * kNameSizeMax + 1, 'n');
  EXPECT_EQ(parse_bind_head(std::string_view(name).substr(1), UINT32_MAX, head), 0);
  EXPECT_EQ(parse_bind_head(name, UINT32_MAX, head), -1);
  EXPECT_EQ(parse_bind_head("", 0, head), -1);
  EXPECT_EQ(parse_bind_head("a"s, 1, head), -1);
  EXPECT_EQ(parse_bind_head("a\0b"s, 3, head), -1);
  EXPECT_EQ(parse_bind_head("\0\0"s, 2, head), 1);
}

TEST(FrontendLaws, AnyBytes) {
  SEEDED(dice);
  for (int round = 0; round < 30000; ++round) {
    const std::string body = random_bytes(dice, 30, "ab\0\0\0\1SP"s);
    const char* broken = nullptr;
    if (!broken) broken = parse_law(body);
    if (!broken) broken = bind_law(body, dice.below(40));
    if (!broken) broken = target_law(body);
    if (!broken) broken = target_law("S" + body + '\0');
    if (!broken) broken = quoted_name_law(body);
    ASSERT_FALSE(broken) << broken << ": " << testing::PrintToString(body);
  }
  for (int round = 0; round < 20; ++round) {
    const std::string body = std::string(dice.below(2 * kNameSizeMax + 500), 'n') + "\0s\0"s;
    ASSERT_FALSE(bind_law(body, UINT32_MAX)) << body.size();
  }
}

TEST(StatementCommandTest, Examples) {
  struct Case {
    std::string sql;
    Kind kind;
    std::string name = {};
  };
  for (const Case& c : {
           Case{"deallocate all", Kind::kDeallocateAll},
           {"DEALLOCATE PREPARE ALL;", Kind::kDeallocateAll},
           {"Discard All", Kind::kDiscardAll},
           {"/* a */ discard -- b\n all ; ;", Kind::kDiscardAll},
           {"deallocate s1", Kind::kDeallocate, "s1"},
           {"deallocate S1", Kind::kDeallocate, "s1"},
           {"deallocate \"S 1\"\"\"", Kind::kDeallocate, "S 1\""},
           {"deallocate\"all\"", Kind::kDeallocate, "all"},
           {"deallocate prepare \"prepare\"", Kind::kDeallocate, "prepare"},
           {"deallocate/*x*/a$1", Kind::kDeallocate, "a$1"},
           {"deallocate \xc3\xa4", Kind::kDeallocate, "\xc3\xa4"},
           {"deallocate " + std::string(100, 'a'), Kind::kDeallocate, std::string(63, 'a')},
           {"deallocate", Kind::kNone},
           {"deallocate ;", Kind::kNone},
           {"deallocate prepare;", Kind::kDeallocate, "prepare"},
           {"deallocate prepare =", Kind::kNone},
           {"deallocate a b", Kind::kNone},
           {"deallocate a; select 1", Kind::kNone},
           {"select 1; deallocate a", Kind::kNone},
           {"deallocate 'a'", Kind::kNone},
           {"deallocate \"a", Kind::kNone},
           {"discard", Kind::kNone},
           {"discard plans", Kind::kNone},
           {"discard all plans", Kind::kNone},
           {"discard \"all\"", Kind::kNone},
           {"\"discard\" all", Kind::kNone},
           {"deallocates all", Kind::kNone},
           {"reset all", Kind::kResetAll},
           {"RESET \"TimeZone\"", Kind::kReset, "TimeZone"},
           {"reset time zone;", Kind::kReset, "timezone"},
           {"reset DateStyle", Kind::kReset, "datestyle"},
           {"set x to default", Kind::kReset, "x"},
           {"/* a */ SET SESSION x=DEFAULT;", Kind::kReset, "x"},
           {"set time zone local", Kind::kReset, "timezone"},
           {"reset", Kind::kNone},
           {"reset all; select 1", Kind::kNone},
           {"reset session authorization", Kind::kNone},
           {"set local x to default", Kind::kNone},
           {"set x to 'default'", Kind::kNone},
           {"set x to defaults", Kind::kNone},
           {"set x to", Kind::kNone},
           {"set x default", Kind::kNone},
           {"set time zone to default", Kind::kNone},
           {"select 1", Kind::kNone},
           {"delete from t", Kind::kNone},
           {"", Kind::kNone},
           {";;", Kind::kNone},
           {"deallocate a" + std::string(600, ' '), Kind::kNone},
       }) {
    const StatementCommand read = parse_statement_command(c.sql);
    EXPECT_EQ(static_cast<int>(read.kind), static_cast<int>(c.kind)) << c.sql;
    EXPECT_EQ(read.name, c.name) << c.sql;
    const char* broken = command_law(c.sql);
    EXPECT_FALSE(broken) << broken << ": " << c.sql;
  }
}

// Words of the grammar in any order: what surrounds a command changes nothing, and the filter misses none.
TEST(StatementCommandTest, AnyWords) {
  SEEDED(dice);
  static constexpr std::string_view kWords[] = {"deallocate", "Discard", "all",  "prepare", " ", "\n",   ";",
                                                "/*",         "*/",      "--\n", "\"",      "a", "\"\"", " ",
                                                "reset",      "set",     "to",   "default", "=", "time", "zone"};
  int commands = 0;
  for (int round = 0; round < 100000; ++round) {
    const uint64_t first = dice.below(4);
    std::string sql = first == 0 ? "deallocate " : first == 1 ? "reset " : first == 2 ? "set a to " : "";
    for (uint64_t words = dice.below(6); words > 0; --words) sql += kWords[dice.below(std::size(kWords))];
    commands += parse_statement_command(sql).kind != Kind::kNone;
    const char* broken = command_law(sql);
    ASSERT_FALSE(broken) << broken << ": " << sql;
  }
  EXPECT_GT(commands, 1000);
}

// As IsTransactionExitStmt() of PostgreSQL, whatever stands in front; fuzz_wire_sql asks PostgreSQL's own parser.
TEST(FailedTransaction, WhatRunsInIt) {
  for (const char* sql :
       {"rollback", "COMMIT", "end;", "Abort work", "rollback to savepoint a", "prepare transaction 'x'", "", " ;; ",
        "/* a /* b */ */ rollback", "-- commit prepared\n commit", ";rollback", "prepare/**/transaction 'x'",
        "rollback \"prepared\""}) {
    EXPECT_TRUE(runs_in_failed_transaction(sql)) << sql;
  }
  for (const char* sql : {"select 1", "commit prepared 'x'", "rollback/**/prepared 'x'", "prepare x as select 1",
                          "prepare \"transaction\" as select 1", "\"commit\"", "\"\"", "commits", "begin",
                          "savepoint a", "(select 1)", "release a"}) {
    EXPECT_FALSE(runs_in_failed_transaction(sql)) << sql;
  }
}

TEST(SetParameter, WhatOutlivesTheTransaction) {
  const auto name = [](std::string_view sql) { return may_be_set(sql) ? std::string(set_parameter(sql)) : "-"; };
  EXPECT_EQ(name("set statement_timeout = 1"), "statement_timeout");
  EXPECT_EQ(name("SET\n  Work_Mem='1MB';"), "Work_Mem");
  EXPECT_EQ(name("set session work_mem to 1"), "work_mem");
  EXPECT_EQ(name("set \"my.own\"=1"), "my.own");
  EXPECT_EQ(name("set time zone utc"), "TimeZone");
  EXPECT_EQ(name("set names 'utf8'"), "client_encoding");
  EXPECT_EQ(name("set schema 'a'"), "search_path");
  EXPECT_EQ(name("set schema'a'"), "search_path");
  EXPECT_EQ(name("set session authorization bob"), "session_authorization");
  EXPECT_EQ(name("set role bob"), "role");
  for (const char* sql : {"set local work_mem = 1", "set transaction read only", "set constraints all deferred",
                          "set session characteristics as transaction read only", "setting", "set   "}) {
    EXPECT_EQ(name(sql), "") << sql;
  }
  for (const char* sql : {"select 1", "set", "", "s", "update t set a = 1", "begin; set a = 1"}) {
    EXPECT_EQ(name(sql), "-") << sql;
  }
}

// fuzz_wire_sql asks PostgreSQL's own parser.
TEST(StatementTraits, ToldByTheFirstWords) {
  const auto traits = [](std::string_view sql) {
    const StatementTraits t = statement_traits(sql);
    return std::string(t.changes_settings ? "c" : "") + (t.copies ? "o" : "") + (t.reads_settings ? "r" : "");
  };
  for (const char* sql :
       {"select 1", "(select 1)", "with a as (select 1) table a", "/* a */ insert into t values (1)",
        "EXPLAIN select 1", "declare c cursor for select 1", "create temp table t as select 1",
        "create/**/table t (i int)", "; ;values (1)", "comment on table t is 'a\\b'", "vacuum \"\303\251\""}) {
    EXPECT_EQ(traits(sql), "r") << sql;
  }
  for (const char* sql :
       {"begin", "start transaction read only", "vacuum t", "savepoint a", "release a", "", "create database d",
        "create index concurrently i on t (a)", "fetch c", "\"select\"", " ; /* a */"}) {
    EXPECT_EQ(traits(sql), "") << sql;
  }
  for (const char* sql : {" SET a = 1", "-- a\nset a = 1", "commit", "end", "abort", "rollback to a", "reset all",
                          "discard all", "do $$ begin end $$", "prepare transaction 'a'", "execute a"}) {
    EXPECT_EQ(traits(sql), "c") << sql;
  }
  EXPECT_EQ(traits("select pg_catalog.Set_Config('a', 'b', true)"), "cr");
  EXPECT_EQ(traits("call p()"), "cr");
  EXPECT_EQ(traits("copy t from stdin"), "o");
}

}  // namespace
}  // namespace berth::wire
