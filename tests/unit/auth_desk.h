// For tests of auth_query's decisions: a machine on a desk, what it wants done, and what it has answered.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "link/auth_machine.h"

namespace berth::link {

inline constexpr Micros kStart = 1000 * kSecond;
inline constexpr size_t kFirst = 0, kOther = 1;

using Kind = AuthStep::Kind;
using AnswerKind = session::SecretAnswer::Kind;

inline AuthSettings usual() {
  return {.standard = true,
          .cache_ttl = 0,
          .wait_within = 60 * kSecond,
          .connect_within = 15 * kSecond,
          .idle_within = 600 * kSecond,
          .backoff_max = 15 * kSecond};
}

inline AuthRow row(std::string_view secret) {
  AuthRow out;
  out.found = true;
  out.secret = auth::parse_secret(secret);
  out.server_now = kStart;
  return out;
}

// A machine, what it wants done, and what it has answered.
struct Desk {
  explicit Desk(const AuthSettings& settings = usual()) : machine(settings, 1, stamps) {}

  void ask(uint64_t ticket, std::string_view user, Micros now = kStart, Unwanted unwanted = nullptr) {
    machine.ask(ticket, user, now, std::move(unwanted));
    take();
  }
  void take() {
    for (AuthStep& step : machine.take_steps()) {
      if (step.kind == Kind::kAnswer) {
        EXPECT_TRUE(answers.emplace(step.ticket, step.answer).second) << "answered twice";
      } else if (step.kind == Kind::kForget) {
        EXPECT_FALSE(answers.contains(step.ticket));
        forgotten++;
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
      case AnswerKind::kCrowded: return "crowded";
    }
    return {};
  }

  uint64_t stamps = 0;
  AuthMachine machine;
  std::vector<AuthStep> todo;
  std::map<uint64_t, session::SecretAnswer> answers;
  size_t forgotten = 0;
};

// One user is remembered; the extension is there.
inline Desk remembered(std::string_view secret = "a") {
  Desk desk;
  desk.ask(1, "bob");
  desk.up(true);
  EXPECT_EQ(desk.next(), "query 0 bob");
  desk.found(secret);
  EXPECT_EQ(desk.secret(1), secret);
  return desk;
}

}  // namespace berth::link
