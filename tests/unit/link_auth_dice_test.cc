// Goal: no login gets a secret that was older than the login itself. Method: dice change roles, lose connections, let
// answers come late, and log in.
#include <functional>
#include <map>
#include <set>

#include "base/random.h"
#include "unit/auth_desk.h"
#include "unit/seeds.h"

namespace berth::link {
namespace {

// Two servers with roles, whose backends hear of changes, beside the machine: a connection leads to either, as where
// a list has two hosts. Each event is at random. Every login must get the secret that the role had on one of them at
// some moment between its question and its answer.
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
  static constexpr size_t kServers = 2;
  struct Login {
    std::string user;
    std::set<std::string> allowed;  // what the role's secret was since it asked
  };
  struct Server {
    std::map<std::string, int> versions;
    int64_t changes = 0;
  };
  struct Backend {
    size_t server = 0;
    int64_t heard = 0;  // changes, when it looked last
    int64_t generation = 0;
  };

  std::string secret_of(const std::string& user, size_t server) {
    return user + "-" + std::to_string(server) + "-" + std::to_string(servers_[server].versions[user]);
  }
  std::string some_user() { return "u" + std::to_string(random_.below(3)); }

  void ask() {
    const std::string user = some_user();
    asked_[++tickets_] = {user, {secret_of(user, 0), secret_of(user, 1)}};
    desk_.ask(tickets_, user, now_);
  }
  void change() {
    const std::string user = some_user();
    const size_t server = random_.below(kServers);
    servers_[server].versions[user]++;
    servers_[server].changes++;
    for (auto& [ticket, login] : asked_) {
      if (login.user == user) login.allowed.insert(secret_of(user, server));
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
        backend.server = random_.below(kServers);
        backend = {backend.server, servers_[backend.server].changes, 0};
        answers_[index] = [=, this](AuthMachine& m) { m.on_connected(index, now_); };
        break;
      case Kind::kProbe:
        answers_[index] = [=, this](AuthMachine& m) {
          m.on_probed(index, true, {auth::SecretKind::kScram, 4096}, now_);
        };
        break;
      case Kind::kCheck: {
        backend.generation += servers_[backend.server].changes - backend.heard;
        backend.heard = servers_[backend.server].changes;
        const int64_t generation = backend.generation;
        answers_[index] = [=, this](AuthMachine& m) { m.on_checked(index, generation, kStart, now_); };
        break;
      }
      case Kind::kQuery: {
        const AuthRow found = row(secret_of(step.user, backend.server));
        answers_[index] = [=, this](AuthMachine& m) { m.on_row(index, found, now_); };
        break;
      }
      case Kind::kClose:
      case Kind::kAnswer:
      case Kind::kForget: break;
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
  Server servers_[kServers];
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
