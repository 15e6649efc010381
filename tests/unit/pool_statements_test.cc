// Goal: a prepared statement is its text, its types and its settings, once in the process; each server's and each
// client's set of them is exact, least recently used first. Method: dice against the standard library's containers.
#include "pool/statements.h"

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "unit/seeds.h"

namespace berth::pool {
namespace {

using Command = StatementData::Command;
constexpr std::string_view kNoTypes("\0\0", 2);

std::unique_ptr<StatementWindow> window() {
  return std::make_unique<StatementWindow>();
}

TEST(Statements, WhatMakesAStatement) {
  const auto one = window(), two = window();
  const Params iso = make_params({{"DateStyle", "ISO"}}), german = make_params({{"DateStyle", "German"}});
  const Statement base = one->intern("select 1", kNoTypes, iso);
  EXPECT_EQ(one->intern("select 1", kNoTypes, iso), base);
  EXPECT_EQ(two->intern("select 1", kNoTypes, iso), base) << "the same at every worker";
  std::set<std::string> names = {base->name};
  for (const Statement& other : {one->intern("select 2", kNoTypes, iso), one->intern("select 1", kNoTypes, german),
                                 one->intern("select 1", kNoTypes, Params()), one->intern("", kNoTypes, iso),
                                 one->intern("select 1", std::string_view("\0\1\0\0\0\x17", 6), iso)}) {
    EXPECT_NE(other, base);
    EXPECT_TRUE(names.insert(other->name).second) << other->name;
    EXPECT_EQ(other->name.substr(0, kStatementPrefix.size()), kStatementPrefix);
    EXPECT_EQ(other->command, Command::kNone);
  }
}

TEST(Statements, CommandsThatActOnStatements) {
  const auto one = window();
  const Statement s1 = one->intern_command(Command::kDeallocate, "s1", "deallocate s1", kNoTypes, Params());
  const Statement s2 = one->intern_command(Command::kDeallocate, "s2", "deallocate s2", kNoTypes, Params());
  EXPECT_NE(s1, s2);
  EXPECT_EQ(s1->sql, kDeallocateSpare) << "a shared statement is never dropped";
  EXPECT_EQ(s1->operand, "s1");
  EXPECT_EQ(one->intern_command(Command::kDeallocate, "s1", "DEALLOCATE  s1", kNoTypes, Params()), s1);
  EXPECT_NE(one->intern(kDeallocateSpare, kNoTypes, Params()), s1);
  const Statement all = one->intern_command(Command::kDeallocateAll, {}, "deallocate all", kNoTypes, Params());
  EXPECT_EQ(all->sql, "deallocate all");
  EXPECT_EQ(all->command, Command::kDeallocateAll);
  EXPECT_NE(one->intern("deallocate all", kNoTypes, Params()), all);
  EXPECT_NE(one->intern_command(Command::kSet, {}, "deallocate all", kNoTypes, Params()), all);
}

// Those are found in the window, too, without the table and its lock.
TEST(Statements, TheWindowKeepsCommands) {
  const size_t before = statements_known();
  const auto one = window();
  uint64_t ids[2];
  for (uint64_t& id : ids) {
    id = one->intern_command(Command::kReset, "datestyle", "reset datestyle", kNoTypes, Params())->id;
    EXPECT_EQ(statements_known(), before + 1) << "nobody but the window holds it";
  }
  EXPECT_EQ(ids[0], ids[1]);
}

// More statements than the window has places: it forgets, and nothing else does.
TEST(Statements, AFullWindowIsOnlySlower) {
  const size_t before = statements_known();
  {
    const auto one = window();
    std::vector<Statement> kept;
    for (int i = 0; i < 3000; ++i) kept.push_back(one->intern("select " + std::to_string(i), kNoTypes, Params()));
    EXPECT_EQ(statements_known(), before + 3000);
    for (int i = 0; i < 3000; ++i) {
      EXPECT_EQ(one->intern("select " + std::to_string(i), kNoTypes, Params()), kept[static_cast<size_t>(i)]);
    }
  }
  EXPECT_EQ(statements_known(), before) << "what nobody holds is gone";
}

TEST(Statements, AWindowKeepsNoLongTexts) {
  const size_t before = statements_known();
  const auto one = window();
  one->intern(std::string(100'000, 'x'), kNoTypes, Params());
  one->intern("short", kNoTypes, Params());
  EXPECT_EQ(statements_known(), before + 1);
}

// Types are the client's to choose: as little as its texts may they put statements into one place of the table.
TEST(Statements, NobodyChoosesTheHash) {
  const auto one = window();
  const std::string_view types("\0\1\0\0\1\0", 6), others("\0\1\0\0\0\x1f", 6);  // 1 * 31 + 0 and 0 * 31 + 31
  EXPECT_NE(one->intern("select $1", types, Params())->hash, one->intern("select $1", others, Params())->hash);
  const auto discard = [&](std::string_view of) {
    return one->intern_command(Command::kDiscardAll, {}, "discard all", of, Params());
  };
  EXPECT_NE(discard(types), discard(others));
  EXPECT_NE(discard(types)->hash, discard(others)->hash);
}

// Where a few hundred statements alternate, each is found without the lock: a new one takes the next number, so the
// numbers tell how often something was made.
TEST(Statements, AWindowKeepsAFewHundred) {
  const auto one = window();
  const auto number = [&one](int i) { return one->intern("kept " + std::to_string(i), kNoTypes, Params())->id; };
  for (int i = 0; i < 300; ++i) number(i);
  const uint64_t before = number(-1);
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 300; ++i) number(i);
  }
  EXPECT_LE(number(-2) - before - 1, 5 * 300 / 10) << "looked up under the lock";
}

TEST(Statements, ThreadsAgree) {
  const size_t before = statements_known();
  std::vector<std::vector<Statement>> found(4);
  std::vector<std::thread> threads;
  for (auto& mine : found) {
    threads.emplace_back([&mine] {
      const auto own = window();
      for (int round = 0; round < 20; ++round) {
        mine.clear();
        for (int i = 0; i < 50; ++i) mine.push_back(own->intern("shared " + std::to_string(i), kNoTypes, Params()));
        if (round % 2) own->clear();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found[0], found[1]);
  EXPECT_EQ(found[0], found[2]);
  EXPECT_EQ(found[0], found[3]);
  EXPECT_EQ(statements_known(), before + 50);
  found.clear();
  EXPECT_EQ(statements_known(), before);
}

// ---- what a server has

TEST(ServerStatementsTest, LikeAListInOrderOfUse) {
  SEEDED(dice);
  const auto own = window();
  std::vector<Statement> all;
  for (int i = 0; i < 120; ++i) all.push_back(own->intern("lru " + std::to_string(i), kNoTypes, Params()));
  for (int run = 0; run < 40; ++run) {
    ServerStatements set;
    std::list<Statement> model;  // the least recently used first
    const size_t range = 1 + dice.below(all.size());
    for (int i = 0; i < 2000; ++i) {
      const Statement& one = all[dice.below(range)];
      const auto at = std::find(model.begin(), model.end(), one);
      const bool there = at != model.end();
      ASSERT_EQ(set.has(*one), there);
      switch (dice.below(run % 2 ? 8 : 4)) {
        case 0:
          set.remove(*one);
          if (there) model.erase(at);
          break;
        case 1:
          ASSERT_EQ(set.touch(*one), there);
          if (there) model.splice(model.end(), model, at);
          break;
        case 2:
          if (dice.below(400) == 0) {
            set.clear();
            model.clear();
          }
          break;
        default:
          set.add(one);
          if (there) model.erase(at);
          model.push_back(one);
      }
      ASSERT_EQ(set.size(), model.size());
      ASSERT_EQ(set.oldest(), model.empty() ? Statement() : model.front());
    }
    while (!model.empty()) {  // the whole order
      ASSERT_EQ(set.oldest(), model.front());
      set.remove(*model.front());
      model.pop_front();
    }
    ASSERT_EQ(set.size(), 0u);
    ASSERT_FALSE(set.oldest());
  }
}

TEST(ServerStatementsTest, AMovedOneLeavesNothing) {
  const auto own = window();
  const Statement one = own->intern("moved", kNoTypes, Params());
  ServerStatements set;
  set.add(one);
  ServerStatements kept = std::move(set);
  set = {};
  EXPECT_FALSE(set.has(*one));
  EXPECT_EQ(set.size(), 0u);
  EXPECT_TRUE(kept.has(*one));
  EXPECT_EQ(kept.oldest(), one);
}

// ---- what a client has

TEST(ClientStatementsTest, LikeAMap) {
  SEEDED(dice);
  const auto own = window();
  std::vector<Statement> all;
  for (int i = 0; i < 10; ++i) all.push_back(own->intern("named " + std::to_string(i), kNoTypes, Params()));
  ClientStatements set;
  std::map<std::string, Statement, std::less<>> model;
  for (int i = 0; i < 20000; ++i) {
    const std::string name = random_bytes(dice, 3, "ab");
    const Statement& one = all[dice.below(all.size())];
    switch (dice.below(3)) {
      case 0:
        set.set(name, one);
        model[name] = one;
        break;
      case 1:
        set.erase(name);
        model.erase(name);
        break;
      default: break;
    }
    if (dice.below(2000) == 0) {
      set.clear();
      model.clear();
    }
    const Statement* found = set.find(name);
    ASSERT_EQ(found != nullptr, model.count(name) == 1) << name;
    ASSERT_TRUE(!found || *found == model[name]);
    ASSERT_EQ(set.size(), model.size());
    const std::string called = set.name_of(one, static_cast<uint32_t>(dice.below(8)));
    const bool any = std::any_of(model.begin(), model.end(), [&](const auto& entry) { return entry.second == one; });
    ASSERT_TRUE(any ? model.count(called) == 1 && model[called] == one : called.empty());
  }
}

TEST(ClientStatements, OfSeveralNamesTheOneThatWasFound) {
  StatementWindow window;
  const Statement text = window.intern("select $1", "", {});
  ClientStatements set;
  for (const char* name : {"a", "m", "z"}) set.set(name, text);
  for (const char* name : {"a", "m", "z"}) {
    uint32_t place = 0;
    ASSERT_TRUE(set.find(name, place));
    EXPECT_EQ(set.name_of(text, place), name);
  }
}

TEST(ClientStatements, NamesCountAsFarAsPostgresqlReadsThem) {
  StatementWindow window;
  ClientStatements set;
  const std::string known(63, 'x');
  set.set(known + "a", window.intern("select 1", "", {}));
  EXPECT_TRUE(set.find(known) && set.find(known + "b"));
  EXPECT_FALSE(set.find(known.substr(1)));
  set.set(known + "c", window.intern("select 2", "", {}));
  EXPECT_EQ(set.size(), 1U);
  set.erase(known + "d");
  EXPECT_EQ(set.size(), 0U);
}

TEST(Statements, OneThatIsAloneIsNobodyElses) {
  StatementWindow one, other;
  const Statement first = one.intern("select 1", "", {});
  EXPECT_EQ(other.intern("select 1", "", {}), first);
  first->alone.set();
  const Statement second = one.intern("select 1", "", {});
  EXPECT_FALSE(second == first);
  EXPECT_EQ(other.intern("select 1", "", {}), second);
  const Statement apart = StatementWindow::intern_alone(*second);
  EXPECT_FALSE(apart == second || apart == StatementWindow::intern_alone(*second));
  EXPECT_EQ(one.intern("select 1", "", {}), second);
  EXPECT_TRUE(apart->of_one_client && apart->is_open());
  EXPECT_FALSE(first->of_one_client || first->is_open());
}

TEST(ServerStatements, WhoseSettingsAreNotKnownStaysBehindTheOthers) {
  StatementWindow window;
  const Statement known = window.intern("select 1", "", {}), open = StatementWindow::intern_alone(*known);
  ServerStatements of_server;
  of_server.add(open);
  EXPECT_EQ(of_server.oldest(), open);
  of_server.add(known);
  EXPECT_EQ(of_server.oldest(), known);
  open->plan = make_params({{"TimeZone", "UTC"}});
  EXPECT_EQ(of_server.oldest(), open);
}

}  // namespace
}  // namespace berth::pool
