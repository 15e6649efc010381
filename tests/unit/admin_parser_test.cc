// The console's parser: every command in its forms, what drivers say, and what is refused with which words.
#include "admin/parser.h"

#include <gtest/gtest.h>

#include "admin/tokens.h"

namespace berth::admin {
namespace {

Command one(std::string_view sql) {
  Parsed parsed = parse_commands(sql);
  EXPECT_EQ(parsed.error, "") << sql;
  EXPECT_EQ(parsed.commands.size(), 1u) << sql;
  return parsed.commands.empty() ? Command{} : parsed.commands[0];
}

std::string error_of(std::string_view sql) {
  Parsed parsed = parse_commands(sql);
  EXPECT_TRUE(parsed.error.empty() || parsed.commands.empty());
  return parsed.error;
}

TEST(AdminParser, EveryShowInAnyCaseAndByItsAlias) {
  for (const ShowInfo& info : all_shows()) {
    std::string name(info.name);
    for (std::string_view verb : {"SHOW ", "show ", "SELECT ", "  sHoW\t\n"}) {
      for (std::string_view tail : {"", ";", " ; ", "\n"}) {
        const Command command = one(std::string(verb) + name + std::string(tail));
        EXPECT_EQ(command.verb, Verb::kShow);
        EXPECT_EQ(command.show, info.kind) << name;
        EXPECT_EQ(command_tag(command), "SHOW");
      }
    }
    for (char& letter : name) letter = static_cast<char>(tolower(letter));
    EXPECT_EQ(one("SHOW " + name).show, info.kind);
  }
}

TEST(AdminParser, VerbsTakeTheArgumentThatTheyDeclare) {
  for (const VerbInfo& info : all_verbs()) {
    const std::string name(info.name);
    const bool alone = error_of(name).empty(), with = error_of(name + " shop").empty();
    switch (info.argument) {
      case Argument::kNone: EXPECT_TRUE(alone && !with) << name; break;
      case Argument::kDatabaseFor:
      case Argument::kDatabaseOptional: EXPECT_TRUE(alone && with) << name; break;
      case Argument::kDatabase:
      case Argument::kClient: EXPECT_TRUE(alone && with) << name; break;
      case Argument::kShutdownMode: EXPECT_TRUE(alone && !with) << name; break;
      case Argument::kSetting:
      case Argument::kTable: EXPECT_TRUE(!alone && !with) << name; break;
    }
    EXPECT_NE(error_of(name + " one two"), "") << name;
  }
}

TEST(AdminParser, ArgumentsKeepTheirLetters) {
  EXPECT_EQ(one("pause Shop_1").argument, "Shop_1");
  EXPECT_EQ(one("PAUSE \"my \"\"odd\"\" db\"").argument, "my \"odd\" db");
  EXPECT_EQ(one("PAUSE my-db;").argument, "my-db");
  EXPECT_EQ(one("KILL shop").argument, "shop");
  EXPECT_EQ(one("KILL_CLIENT 17").argument, "17");
  EXPECT_EQ(one("shutdown wait_for_clients").argument, "wait_for_clients");
  EXPECT_EQ(one("PAUSE $1").argument_parameter, 1);
  EXPECT_EQ(error_of("PAUSE " + std::string(64, 'x')), "bad arguments");
  EXPECT_EQ(one("PAUSE " + std::string(63, 'x')).argument.size(), 63u);
}

TEST(AdminParser, PauseForATime) {
  for (const char* sql : {"PAUSE shop FOR 500", "pause \"shop\" for 500;", "PAUSE 'shop' For 500"}) {
    EXPECT_EQ(one(sql).argument, "shop") << sql;
    EXPECT_EQ(one(sql).value, "500") << sql;
    EXPECT_EQ(command_tag(one(sql)), "PAUSE");
  }
  EXPECT_EQ(one("PAUSE FOR 500").argument, "");
  EXPECT_EQ(one("PAUSE FOR 500").value, "500");
  EXPECT_EQ(one("PAUSE for").argument, "for");  // a database
  EXPECT_EQ(one("PAUSE for FOR 5").argument, "for");
  EXPECT_EQ(one("PAUSE for FOR 5").value, "5");
  EXPECT_EQ(one("PAUSE $1 FOR $2").argument_parameter, 1);
  EXPECT_EQ(one("PAUSE $1 FOR $2").value_parameter, 2);
  EXPECT_EQ(one("PAUSE $1 FOR 7").value, "7");
  EXPECT_EQ(one("PAUSE FOR $1").value_parameter, 1);
  for (const char* sql :
       {"PAUSE shop FOR", "PAUSE shop FOR ever", "PAUSE shop FOR 1 2", "PAUSE shop 5", "PAUSE FOR 1 s",
        "PAUSE shop FOR 1234567890", "PAUSE shop FOR -1", "RESUME shop FOR 5", "KILL FOR 5"}) {
    EXPECT_NE(error_of(sql), "") << sql;
  }
}

TEST(AdminParser, SetInItsForms) {
  for (std::string_view sql :
       {"SET verbose = 1", "set Verbose=1", "SET verbose TO 1;", "SET verbose to '1'", "SET SESSION verbose = 1"}) {
    const Command command = one(sql);
    EXPECT_EQ(command.verb, Verb::kSet);
    EXPECT_EQ(command.key, "verbose") << sql;
    EXPECT_EQ(command.value, "1") << sql;
    EXPECT_EQ(command_tag(command), "SET verbose=1");
  }
  EXPECT_EQ(one("SET admin_users = a, b,c").value, "a, b, c");
  EXPECT_EQ(one("SET logfile = ''").value, "");
  EXPECT_EQ(one("SET server_check_query = 'select ''x''; -- y'").value, "select 'x'; -- y");
  EXPECT_EQ(one("SET auth_type = scram-sha-256").value, "scram-sha-256");
  EXPECT_EQ(one("SET query_timeout = 1.5").value, "1.5");
  EXPECT_EQ(one("SET verbose = $2").value_parameter, 2);
  for (std::string_view sql :
       {"SET", "SET verbose", "SET verbose 1", "SET verbose =", "SET = 1", "SET verbose = 1 2", "SET verbose = 'x"}) {
    EXPECT_NE(error_of(sql), "") << sql;
  }
}

TEST(AdminParser, WhatDriversSay) {
  EXPECT_EQ(one("SET client_encoding = 'UTF8'").verb, Verb::kSetDriver);
  EXPECT_EQ(one("SET DateStyle TO 'ISO, MDY'").verb, Verb::kSetDriver);
  EXPECT_EQ(one("SET extra_float_digits = 3").verb, Verb::kSetDriver);
  EXPECT_EQ(one("SET TIME ZONE 'UTC'").verb, Verb::kSetDriver);
  EXPECT_EQ(one("SET NAMES 'utf8'").verb, Verb::kSetDriver);
  EXPECT_EQ(one("SHOW standard_conforming_strings").key, "standard_conforming_strings");
  EXPECT_EQ(one("show transaction isolation level").key, "transaction_isolation");
  EXPECT_EQ(one("SHOW TimeZone").key, "timezone");
  EXPECT_EQ(one("SELECT 1").verb, Verb::kSelectOne);
  EXPECT_EQ(one("select pg_catalog.version()").verb, Verb::kSelectVersion);
  EXPECT_EQ(one("BEGIN").verb, Verb::kBegin);
  EXPECT_EQ(one("begin isolation level serializable").verb, Verb::kBegin);
  EXPECT_EQ(command_tag(one("COMMIT")), "COMMIT");
  EXPECT_EQ(command_tag(one("ROLLBACK;")), "ROLLBACK");
  EXPECT_EQ(one("ROLLBACK").verb, Verb::kEndBlock);
  EXPECT_EQ(one("ROLLBACK TO \"s1\"").verb, Verb::kIgnored);
  EXPECT_EQ(command_tag(one("savepoint s1")), "SAVEPOINT");
  EXPECT_EQ(parse_commands("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;").commands.size(),
            4u);
  EXPECT_EQ(command_tag(one("DISCARD ALL")), "DISCARD ALL");
  EXPECT_EQ(command_tag(one("unlisten *")), "UNLISTEN");
}

TEST(AdminParser, SeveralStatementsAndNone) {
  const Parsed parsed = parse_commands("SHOW POOLS; ;RELOAD;\n-- a comment\nPAUSE \"a;b\" /* and /* another */ */;");
  ASSERT_EQ(parsed.commands.size(), 3u);
  EXPECT_EQ(parsed.commands[0].show, ShowKind::kPools);
  EXPECT_EQ(parsed.commands[1].verb, Verb::kReload);
  EXPECT_EQ(parsed.commands[2].argument, "a;b");
  for (std::string_view sql : {"", " ", ";", " ; ;", "-- nothing", "/**/"}) {
    EXPECT_EQ(error_of(sql), "");
    EXPECT_TRUE(parse_commands(sql).commands.empty()) << sql;
  }
  // One mistake, and nothing of the query runs.
  EXPECT_TRUE(parse_commands("RELOAD; nonsense").commands.empty());
}

TEST(AdminParser, MistakesInPgBouncersWords) {
  EXPECT_EQ(error_of("SHOW nothing"), "invalid command 'SHOW nothing', use SHOW HELP;");
  EXPECT_EQ(error_of("foo;"), "invalid command 'foo;', use SHOW HELP;");
  for (std::string_view sql : {"SHOW", "SELECT", "SELECT *", "SHOW POOLS STATS", "SHOW \"POOLS", "/* open", "'x'",
                               "SHUTDOWN now", "=", "SHOW $1", "PAUSE $0", "PAUSE $99", "PAUSE ''", "SHOW BERTH"}) {
    EXPECT_NE(error_of(sql), "") << sql;
  }
  EXPECT_LT(error_of(std::string(5000, 'x')).size(), 300u);  // a long query is not repeated whole
}

TEST(AdminParser, HelpNamesEveryCommand) {
  const std::string help = help_text();
  for (const ShowInfo& show : all_shows()) EXPECT_NE(help.find(show.name), std::string::npos) << show.name;
  for (const VerbInfo& verb : all_verbs()) {
    if (verb.verb == Verb::kSuspend) continue;
    EXPECT_NE(help.find("\n\t" + std::string(verb.name)), std::string::npos) << verb.name;
  }
}

}  // namespace
}  // namespace berth::admin
