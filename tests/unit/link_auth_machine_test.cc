// auth_query's decisions, with time and answers as arguments: who shares a query, what is remembered and when it no
// longer holds, what happens to those who wait when a connection is lost. At the end dice change roles, lose
// connections and log in, and no login may get a secret that was older than the login itself.
#include "link/auth_machine.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "base/random.h"
#include "unit/seeds.h"

namespace berth::link {
namespace {

constexpr Micros kStart = 1000 * kSecond;
constexpr size_t kFirst = 0, kOther = 1;

using Kind = AuthStep::Kind;
using AnswerKind = session::SecretAnswer::Kind;

AuthSettings usual() {
  return {.standard = true,
          .cache_ttl = 0,
          .wait_within = 60 * kSecond,
          .connect_within = 15 * kSecond,
          .idle_within = 600 * kSecond,
          .backoff_max = 15 * kSecond};
}

AuthRow row(std::string_view secret) {
  AuthRow out;
  out.found = true;
  out.secret = auth::parse_secret(secret);
  out.server_now = kStart;
  return out;
}

// A machine, what it wants done, and what it has answered.
struct Desk {
  explicit Desk(const AuthSettings& settings = usual()) : machine(settings, 1, stamps) {}

  void ask(uint64_t ticket, std::string_view user, Micros now = kStart) {
    machine.ask(ticket, user, now);
    take();
  }
  void take() {
    for (AuthStep& step : machine.take_steps()) {
      if (step.kind == Kind::kAnswer) {
        EXPECT_TRUE(answers.emplace(step.ticket, step.answer).second) << "answered twice";
      } else {
        todo.push_back(std::move(step));
      }
    }
  }
  // The next thing that it wants done, as "query 0 bob".
  std::string next() {
    if (todo.empty()) return "";
    const AuthStep step = todo.front();
    todo.erase(todo.begin());
    const char* names[] = {"connect", "probe", "check", "query", "close"};
    std::string text = names[static_cast<size_t>(step.kind)];
    text += ' ';
    text += std::to_string(step.connection);
    return step.user.empty() ? text : text + " " + step.user;
  }
  template <typename F>
  void on(F&& f) {
    f(machine);
    take();
  }
  // A first connection, with the extension or without, once somebody has asked.
  void up(bool generations, size_t index = kFirst, Micros now = kStart) {
    const std::string number = std::to_string(index);
    EXPECT_EQ(next(), "connect " + number);
    on([&](AuthMachine& m) { m.on_connected(index, now); });
    EXPECT_EQ(next(), "probe " + number);
    on([&](AuthMachine& m) { m.on_probed(index, generations, {auth::SecretKind::kScram, 4096}, now); });
    if (!generations) return;
    EXPECT_EQ(next(), "check " + number);
    on([&](AuthMachine& m) { m.on_checked(index, 7, now, now); });
  }
  void found(std::string_view secret, size_t index = kFirst, Micros now = kStart) {
    on([&](AuthMachine& m) { m.on_row(index, row(secret), now); });
  }
  void checked(int64_t generation, Micros server_now = kStart, size_t index = kFirst, Micros now = kStart) {
    on([&](AuthMachine& m) { m.on_checked(index, generation, server_now, now); });
  }
  std::string secret(uint64_t ticket) {
    const auto at = answers.find(ticket);
    if (at == answers.end()) return "nothing";
    switch (at->second.kind) {
      case AnswerKind::kFound:
        return std::string(at->second.secret.text.view()) + (at->second.cached ? " cached" : "");
      case AnswerKind::kUnknown: return "unknown";
      case AnswerKind::kFailed: return "failed: " + at->second.error;
      case AnswerKind::kBusy: return "busy";
    }
    return {};
  }

  uint64_t stamps = 0;
  AuthMachine machine;
  std::vector<AuthStep> todo;
  std::map<uint64_t, session::SecretAnswer> answers;
};

// One user is remembered; the extension is there.
Desk remembered(std::string_view secret = "a") {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(true);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found(secret);
  EXPECT_EQ(desk.secret(1), secret);
  return desk;
}

TEST(AuthMachine, ConnectsWhenSomebodyAsks) {
  Desk desk;
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.connections(), 0u);
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("a");
  EXPECT_EQ(desk.secret(1), "a");
  EXPECT_EQ(desk.next(), "");
}

TEST(AuthMachine, UnknownUsersLookLikeMostOthers) {
  Desk desk;
  desk.ask(1, "nobody");
  desk.up(false);
  desk.on([](AuthMachine& m) { m.on_row(kFirst, {}, kStart); });
  EXPECT_EQ(desk.secret(1), "unknown");
  EXPECT_EQ(desk.answers[1].profile.kind, auth::SecretKind::kScram);  // as PostgreSQL makes them
  desk.ask(2, "bob");
  desk.found("md5" + std::string(32, '0'));
  desk.ask(3, "nobody");
  desk.on([](AuthMachine& m) { m.on_row(kFirst, {}, kStart); });
  EXPECT_EQ(desk.answers[3].profile.kind, auth::SecretKind::kMd5);
}

TEST(AuthMachine, SharesAQueryThatHasNotBeenSent) {
  Desk desk;
  for (uint64_t ticket = 1; ticket <= 200; ++ticket) desk.ask(ticket, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  EXPECT_EQ(desk.next(), "");
  desk.found("a");
  for (uint64_t ticket = 1; ticket <= 200; ++ticket) EXPECT_EQ(desk.secret(ticket), "a");
  EXPECT_EQ(desk.machine.queries(), 1u);
}

TEST(AuthMachine, WhoComesLaterThanAQuerySharesTheNextOne) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.ask(2, "bob");
  desk.ask(3, "bob");
  desk.found("old");
  EXPECT_EQ(desk.secret(1), "old");
  EXPECT_EQ(desk.secret(2), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(2), "new");
  EXPECT_EQ(desk.secret(3), "new");
}

TEST(AuthMachine, NothingIsRememberedWithoutTheExtension) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.found("a");
  EXPECT_EQ(desk.machine.cached(), 0u);
  desk.next();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthMachine, NorWithAnotherQuery) {
  AuthSettings settings = usual();
  settings.standard = false;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.next();
  desk.on([](AuthMachine& m) { m.on_connected(kFirst, kStart); });
  desk.next();
  desk.on([](AuthMachine& m) { m.on_probed(kFirst, true, {auth::SecretKind::kScram, 4096}, kStart); });
  EXPECT_EQ(desk.next(), "query 0 bob");  // no check went before
  desk.found("a");
  EXPECT_EQ(desk.machine.cached(), 0u);
}

TEST(AuthMachine, ACheckProvesWhatIsRemembered) {
  Desk desk = remembered();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  EXPECT_EQ(desk.secret(2), "nothing");
  desk.checked(7);
  EXPECT_EQ(desk.secret(2), "a cached");
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.queries(), 1u);
}

TEST(AuthMachine, AChangedRoleIsAskedForAgain) {
  Desk desk = remembered("old");
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.secret(2), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(2), "new");
  desk.ask(3, "bob");  // and that is remembered in its place
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.secret(3), "new cached");
}

TEST(AuthMachine, OneCheckServesAllWhoCameBeforeIt) {
  Desk desk = remembered();
  desk.ask(2, "amy");
  EXPECT_EQ(desk.next(), "query 0 amy");
  desk.found("b");
  desk.ask(3, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  for (uint64_t ticket = 4; ticket < 100; ++ticket) desk.ask(ticket, ticket % 2 ? "amy" : "bob");
  desk.checked(7);
  EXPECT_EQ(desk.secret(3), "a cached");
  EXPECT_EQ(desk.secret(4), "nothing");  // they came after it: the next one is theirs
  EXPECT_EQ(desk.next(), "check 0");
  EXPECT_EQ(desk.next(), "");
  desk.checked(7);
  for (uint64_t ticket = 4; ticket < 100; ++ticket)
    EXPECT_EQ(desk.secret(ticket), ticket % 2 ? "b cached" : "a cached");
}

TEST(AuthMachine, ValidUntilEndsByTheServersClock) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(true);
  desk.next();
  desk.on([](AuthMachine& m) {
    AuthRow valid = row("a");
    valid.valid_until = kStart + 10;
    m.on_row(kFirst, valid, kStart);
  });
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(7, kStart + 10);
  EXPECT_EQ(desk.secret(2), "a cached");
  desk.ask(3, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(7, kStart + 11);
  EXPECT_EQ(desk.next(), "query 0 bob");
  AuthRow expired = row("");
  desk.on([&](AuthMachine& m) { m.on_row(kFirst, expired, kStart); });
  EXPECT_EQ(desk.secret(3), "");
  EXPECT_TRUE(desk.answers[3].secret.empty());
  EXPECT_EQ(desk.machine.cached(), 0u);
}

TEST(AuthMachine, AnotherConnectionProvesOnlyWhatIsYoungerThanItself) {
  Desk desk = remembered();
  desk.ask(2, "x");  // two things to do at once: another connection
  EXPECT_EQ(desk.next(), "query 0 x");
  desk.ask(3, "y");
  desk.ask(4, "z");
  desk.up(true, kOther);
  EXPECT_EQ(desk.next(), "query 1 y");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "gone", false, kStart); });  // who could prove the first secret
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_EQ(desk.next(), "connect 0");
  desk.found("y", kOther);
  EXPECT_EQ(desk.next(), "query 1 x");
  desk.found("x", kOther);
  EXPECT_EQ(desk.next(), "query 1 z");
  desk.found("z", kOther);
  desk.ask(5, "bob");
  EXPECT_EQ(desk.next(), "query 1 bob");
  desk.found("b", kOther);
  desk.ask(6, "y");
  EXPECT_EQ(desk.next(), "check 1");
}

TEST(AuthMachine, ConnectionsAreBounded) {
  Desk desk;
  for (uint64_t ticket = 1; ticket <= 50; ++ticket) desk.ask(ticket, "u" + std::to_string(ticket));
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 u1");
  desk.up(false, kOther);
  EXPECT_EQ(desk.next(), "query 1 u2");
  EXPECT_EQ(desk.next(), "");
  EXPECT_EQ(desk.machine.connections(), kAuthConnectionsMax);
  for (int n = 3; n <= 50; ++n) {  // in the order in which they came
    desk.found("a", static_cast<size_t>(n % 2));
    EXPECT_EQ(desk.next(), "query " + std::to_string(n % 2) + " u" + std::to_string(n));
  }
}

TEST(AuthMachine, SoAreThoseWhoWait) {
  Desk desk;
  for (uint64_t ticket = 1; ticket <= kAuthQueueMax; ++ticket) desk.ask(ticket, "bob");
  desk.ask(kAuthQueueMax + 1, "bob");
  EXPECT_EQ(desk.secret(kAuthQueueMax + 1), "busy");
  EXPECT_EQ(desk.machine.refused(), 1u);
  desk.up(false);
  desk.found("a");
  EXPECT_EQ(desk.secret(kAuthQueueMax), "a");
  EXPECT_EQ(desk.machine.waiting(), 0u);
}

TEST(AuthMachine, TheCacheIsBounded) {
  Desk desk = remembered();
  desk.ask(2, "second");
  desk.found("b");
  desk.ask(3, "bob");  // used again
  desk.checked(7);
  for (uint64_t ticket = 10; ticket < 10 + kAuthCacheMax - 1; ++ticket) {
    desk.ask(ticket, "u" + std::to_string(ticket));
    desk.found("c");
  }
  EXPECT_EQ(desk.machine.cached(), kAuthCacheMax);
  desk.todo.clear();
  desk.ask(4, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(7);
  desk.ask(5, "second");
  EXPECT_EQ(desk.next(), "query 0 second");
}

TEST(AuthMachine, AFailedConnectTellsWhoWaitsAndRests) {
  Desk desk;
  desk.ask(1, "bob");
  EXPECT_EQ(desk.next(), "connect 0");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "refused", false, kStart); });
  EXPECT_EQ(desk.secret(1), "failed: refused");
  EXPECT_EQ(desk.next(), "close 0");
  desk.ask(2, "bob", kStart + 1);
  EXPECT_EQ(desk.next(), "");
  const Micros retry = desk.machine.wake_at();
  EXPECT_GE(retry, kStart + kAuthBackoffFirst);
  EXPECT_LE(retry, kStart + kAuthBackoffFirst * 5 / 4);
  desk.on([&](AuthMachine& m) { m.on_time(retry); });
  desk.up(false, kFirst, retry);
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthMachine, ADatabaseThatIsNotThereHasNoUsers) {
  Desk desk;
  desk.ask(1, "bob");
  desk.next();
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "database does not exist", true, kStart); });
  EXPECT_EQ(desk.secret(1), "unknown");
}

TEST(AuthMachine, AQueryThatFailsIsNoAnswer) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.on([](AuthMachine& m) { m.on_refused(kFirst, "permission denied", kStart); });
  EXPECT_EQ(desk.secret(1), "failed: permission denied");
  desk.next();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "query 0 bob");  // over the same connection
}

TEST(AuthMachine, ALostConnectionIsMadeAgainOnce) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "terminated", false, kStart); });
  EXPECT_EQ(desk.secret(1), "nothing");
  EXPECT_EQ(desk.next(), "close 0");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) { m.on_lost(kFirst, "terminated", false, kStart); });
  EXPECT_EQ(desk.secret(1), "failed: terminated");
}

TEST(AuthMachine, ACheckThatFailsMakesQueries) {
  Desk desk = remembered();
  desk.ask(2, "bob");
  EXPECT_EQ(desk.next(), "check 0");
  desk.on([](AuthMachine& m) { m.on_refused(kFirst, "function does not exist", kStart); });
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("b");
  EXPECT_EQ(desk.secret(2), "b");
  desk.ask(3, "bob");
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthMachine, NoAnswerInTimeIsAFailure) {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(false);
  desk.next();
  desk.on([](AuthMachine& m) { m.on_time(kStart + kAuthAnswerWithin - 1); });
  EXPECT_EQ(desk.secret(1), "nothing");
  desk.on([](AuthMachine& m) { m.on_time(kStart + kAuthAnswerWithin); });
  EXPECT_EQ(desk.secret(1), "failed: no answer in time");
  EXPECT_EQ(desk.next(), "close 0");
}

TEST(AuthMachine, WhoWaitsTooLongIsTold) {
  AuthSettings settings = usual();
  settings.wait_within = 2 * kSecond;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(false);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.ask(2, "amy");
  desk.ask(3, "eve", kStart + kSecond);
  EXPECT_EQ(desk.next(), "connect 1");
  EXPECT_LE(desk.machine.wake_at(), kStart + 2 * kSecond);
  desk.on([](AuthMachine& m) { m.on_time(kStart + 2 * kSecond); });
  EXPECT_EQ(desk.secret(2), "failed: no connection in time");
  EXPECT_EQ(desk.secret(3), "nothing");
  desk.found("a");
  EXPECT_EQ(desk.secret(1), "a");
  EXPECT_EQ(desk.next(), "query 0 eve");
}

TEST(AuthMachine, IdleConnectionsAreClosed) {
  Desk desk = remembered();
  EXPECT_EQ(desk.machine.wake_at(), kStart + 600 * kSecond);
  desk.on([](AuthMachine& m) { m.on_time(kStart + 600 * kSecond); });
  EXPECT_EQ(desk.next(), "close 0");
  desk.ask(2, "bob", kStart + 601 * kSecond);  // what it could prove cannot be proved any more
  desk.up(true, kFirst, kStart + 601 * kSecond);
  EXPECT_EQ(desk.next(), "query 0 bob");
}

TEST(AuthMachine, AReloadForgets) {
  Desk desk = remembered();
  desk.on([](AuthMachine& m) { m.reset(usual(), kStart); });
  EXPECT_EQ(desk.machine.cached(), 0u);
  EXPECT_EQ(desk.next(), "close 0");
  EXPECT_TRUE(desk.machine.idle());
  desk.ask(2, "bob");
  desk.up(true);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) { m.reset(usual(), kStart); });
  desk.found("a");  // was under way: answered, and not remembered
  EXPECT_EQ(desk.secret(2), "a");
  EXPECT_EQ(desk.machine.cached(), 0u);
  EXPECT_EQ(desk.next(), "close 0");
}

TEST(AuthMachine, ASecretThatWasRefutedIsNotUsedAgain) {
  Desk desk = remembered();
  const uint64_t stamp = desk.answers[1].stamp;
  desk.machine.refuted("bob", stamp + 1);  // of another answer
  EXPECT_EQ(desk.machine.cached(), 1u);
  desk.machine.refuted("bob", stamp);
  EXPECT_EQ(desk.machine.cached(), 0u);
}

TEST(AuthMachine, TimeToLiveIsForThoseWithoutTheExtension) {
  AuthSettings settings = usual();
  settings.cache_ttl = 5 * kSecond;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(false);
  desk.next();
  desk.found("a", kFirst, kStart + kSecond);
  desk.ask(2, "bob", kStart + 5 * kSecond - 1);
  EXPECT_EQ(desk.secret(2), "a cached");
  desk.ask(3, "bob", kStart + 5 * kSecond);  // since it was asked, not since it was answered
  EXPECT_EQ(desk.secret(3), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.on([](AuthMachine& m) {
    AuthRow valid = row("b");
    valid.valid_until = kStart + kSecond;  // a second after its own clock
    m.on_row(kFirst, valid, kStart + 5 * kSecond);
  });
  desk.ask(4, "bob", kStart + 6 * kSecond - 1);
  EXPECT_EQ(desk.secret(4), "b cached");
  desk.ask(5, "bob", kStart + 6 * kSecond);
  EXPECT_EQ(desk.secret(5), "nothing");
}

TEST(AuthMachine, NorDoesItServeWhatACheckHasProvedOld) {
  AuthSettings settings = usual();
  settings.cache_ttl = 60 * kSecond;
  Desk desk(settings);
  desk.ask(1, "bob");
  desk.up(true);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("old");
  desk.ask(2, "ann");
  EXPECT_EQ(desk.next(), "query 0 ann");
  desk.found("hers");
  desk.ask(3, "ann");  // a role has changed: whose, is not said
  EXPECT_EQ(desk.next(), "check 0");
  desk.checked(8);
  EXPECT_EQ(desk.next(), "query 0 ann");
  desk.found("hers");
  desk.ask(4, "bob");
  EXPECT_EQ(desk.secret(4), "nothing");
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found("new");
  EXPECT_EQ(desk.secret(4), "new");
}

// A server with roles, whose backends hear of changes, beside the machine; each event at random. Every login must get
// the secret that the role had at some moment between its question and its answer.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  void run() {
    for (int step = 0; step < 400; ++step) {
      now_ += static_cast<Micros>(random_.below(1000));
      switch (random_.below(8)) {
        case 0:
        case 1:
        case 2: ask(); break;
        case 3: change(); break;
        case 4:
          if (random_.below(10) == 0) desk_.on([&](AuthMachine& m) { m.reset(usual(), now_); });
          break;
        default: act(); break;
      }
      settle();
    }
    for (int step = 0; step < 10000 && desk_.machine.waiting() > 0; ++step) {
      now_ += kSecond;
      desk_.on([&](AuthMachine& m) { m.on_time(now_); });
      settle();
      act();
      settle();
    }
    EXPECT_EQ(desk_.machine.waiting(), 0u);
    EXPECT_TRUE(asked_.empty());
  }
  uint64_t hits() const { return desk_.machine.hits(); }

 private:
  struct Login {
    std::string user;
    std::set<std::string> allowed;  // what the role's secret was since it asked
  };
  struct Backend {
    int64_t heard = 0;  // changes, when it looked last
    int64_t generation = 0;
  };

  std::string secret_of(const std::string& user) { return user + "-" + std::to_string(versions_[user]); }
  std::string some_user() { return "u" + std::to_string(random_.below(3)); }

  void ask() {
    const std::string user = some_user();
    asked_[++tickets_] = {user, {secret_of(user)}};
    desk_.ask(tickets_, user, now_);
  }
  void change() {
    const std::string user = some_user();
    versions_[user]++;
    changes_++;
    for (auto& [ticket, login] : asked_) {
      if (login.user == user) login.allowed.insert(secret_of(user));
    }
  }
  // PostgreSQL does one of the things that it was told, and its answer travels for a while.
  void act() {
    if (!desk_.todo.empty() && random_.below(2) == 0) {
      const size_t at = random_.below(desk_.todo.size());
      const AuthStep step = desk_.todo[at];
      for (size_t i = 0; i < at; ++i) {
        if (desk_.todo[i].connection == step.connection) return;  // in order on each connection
      }
      desk_.todo.erase(desk_.todo.begin() + static_cast<long>(at));
      perform(step);
    } else if (!answers_.empty()) {
      const auto answer = answers_.begin();
      const auto deliver = answer->second;
      answers_.erase(answer);
      if (random_.below(30) == 0) {
        lose();
      } else {
        desk_.on(deliver);
      }
    }
  }
  void lose() {
    const size_t index = random_.below(kAuthConnectionsMax);
    answers_.erase(index);
    desk_.on([&](AuthMachine& m) { m.on_lost(index, "lost", false, now_); });
  }
  void perform(const AuthStep& step) {
    const size_t index = step.connection;
    Backend& backend = backends_[index];
    switch (step.kind) {
      case Kind::kConnect:
        backend = {changes_, 0};
        answers_[index] = [=, this](AuthMachine& m) { m.on_connected(index, now_); };
        break;
      case Kind::kProbe:
        answers_[index] = [=, this](AuthMachine& m) {
          m.on_probed(index, true, {auth::SecretKind::kScram, 4096}, now_);
        };
        break;
      case Kind::kCheck: {
        backend.generation += changes_ - backend.heard;
        backend.heard = changes_;
        const int64_t generation = backend.generation;
        answers_[index] = [=, this](AuthMachine& m) { m.on_checked(index, generation, kStart, now_); };
        break;
      }
      case Kind::kQuery: {
        const AuthRow found = row(secret_of(step.user));
        answers_[index] = [=, this](AuthMachine& m) { m.on_row(index, found, now_); };
        break;
      }
      case Kind::kClose:
      case Kind::kAnswer: break;
    }
  }
  // Closing takes no time: what was still to be said, or heard, over that connection is not.
  void close() {
    for (size_t at = 0; at < desk_.todo.size(); ++at) {
      if (desk_.todo[at].kind != Kind::kClose) continue;
      const size_t connection = desk_.todo[at].connection;
      answers_.erase(connection);
      desk_.todo.erase(desk_.todo.begin() + static_cast<long>(at));
      for (size_t i = at; i-- > 0;) {
        if (desk_.todo[i].connection == connection) desk_.todo.erase(desk_.todo.begin() + static_cast<long>(i));
      }
      at = static_cast<size_t>(-1);
    }
  }
  void settle() {
    close();
    for (const auto& [ticket, answer] : desk_.answers) {
      const auto login = asked_.find(ticket);
      ASSERT_TRUE(login != asked_.end());
      if (answer.kind == AnswerKind::kFound) {
        EXPECT_TRUE(login->second.allowed.contains(std::string(answer.secret.text.view())))
            << answer.secret.text.view() << " for a login that came when it was no longer so";
      }
      EXPECT_NE(answer.kind, AnswerKind::kUnknown);
      asked_.erase(login);
    }
    desk_.answers.clear();
    EXPECT_LE(desk_.machine.connections(), kAuthConnectionsMax);
    EXPECT_EQ(desk_.machine.waiting(), asked_.size());
  }

  Random random_;
  Desk desk_;
  Micros now_ = kStart;
  uint64_t tickets_ = 0;
  int64_t changes_ = 0;
  std::map<std::string, int> versions_;
  std::map<uint64_t, Login> asked_;
  std::map<size_t, Backend> backends_;
  std::map<size_t, std::function<void(AuthMachine&)>> answers_;  // by connection
};

TEST(AuthMachine, NobodyGetsASecretFromBeforeItsQuestion) {
  SEEDED(random);
  uint64_t hits = 0;
  for (int round = 0; round < 300 && !::testing::Test::HasFailure(); ++round) {
    Dice dice(random.next());
    dice.run();
    hits += dice.hits();
  }
  EXPECT_GT(hits, 100u);  // else nothing was remembered, and nothing proved
}

}  // namespace
}  // namespace berth::link
