// The link's decisions, with time as an argument: each path through the states, and dice over all events that look
// for what must hold in any order.
#include "link/link_machine.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/random.h"
#include "unit/seeds.h"

namespace berth::link {
namespace {

constexpr Micros kStart = 1000 * kSecond;

// Up, at kStart.
LinkMachine up() {
  LinkMachine machine(1);
  EXPECT_EQ(machine.on_time(kStart), Step::kConnect);
  EXPECT_EQ(machine.on_connected(kStart), Step::kAsk);
  EXPECT_EQ(machine.on_verdict(Verdict::kReady, kStart), Step::kRegister);
  EXPECT_EQ(machine.on_registered(kStart), Step::kNothing);
  EXPECT_EQ(machine.state(), LinkState::kUp);
  return machine;
}

TEST(LinkMachine, RegistersAndBeats) {
  LinkMachine machine = up();
  EXPECT_TRUE(machine.registered());
  EXPECT_EQ(machine.condition(), Condition::kNone);
  Micros now = kStart;
  for (int beat = 0; beat < 3; ++beat) {
    EXPECT_EQ(machine.wake_at(), now + kHeartbeat);
    EXPECT_EQ(machine.on_time(now + kHeartbeat - 1), Step::kNothing);
    now += kHeartbeat;
    EXPECT_EQ(machine.on_time(now), Step::kBeat);
    EXPECT_TRUE(machine.registered());
    EXPECT_EQ(machine.on_beaten(true, now), Step::kNothing);
  }
}

TEST(LinkMachine, RegistersAnewWhereTheDatabaseHasForgottenIt) {
  LinkMachine machine = up();
  machine.on_time(kStart + kHeartbeat);
  EXPECT_EQ(machine.on_beaten(false, kStart + kHeartbeat), Step::kRegister);
  EXPECT_FALSE(machine.registered());
  EXPECT_EQ(machine.on_registered(kStart + kHeartbeat), Step::kNothing);
  EXPECT_TRUE(machine.registered());
}

TEST(LinkMachine, ANotificationAsksForAHeartbeat) {
  LinkMachine machine = up();
  machine.on_notified(kStart + 5);
  EXPECT_EQ(machine.on_time(kStart + 5), Step::kBeat);
  machine.on_notified(kStart + 6);  // while one is under way: none more
  EXPECT_EQ(machine.on_time(kStart + 6), Step::kNothing);
}

TEST(LinkMachine, BacksOffLongerEachTimeUpToALimit) {
  LinkMachine machine(1);
  Micros now = kStart, pause = kBackoffFirst;
  for (int attempt = 0; attempt < 12; ++attempt) {
    ASSERT_EQ(machine.on_time(now), Step::kConnect);
    EXPECT_EQ(machine.on_failed("refused", now), Step::kDrop);
    const Micros rested = machine.wake_at() - now;
    EXPECT_GE(rested, pause);
    EXPECT_LT(rested, pause + pause / 4);
    pause = std::min(2 * pause, kBackoffMax);
    now = machine.wake_at();
  }
  EXPECT_EQ(pause, kBackoffMax);
  EXPECT_EQ(machine.on_time(now), Step::kConnect);
  machine.on_connected(now);
  machine.on_verdict(Verdict::kReady, now);
  machine.on_registered(now);
  machine.on_failed("server closed the connection", now);
  EXPECT_LT(machine.wake_at() - now, 2 * kBackoffFirst);  // it was up: the next failure is a first one
}

TEST(LinkMachine, TwoLinksDoNotComeBackInOneMoment) {
  LinkMachine first(1), second(2);
  for (LinkMachine* machine : {&first, &second}) {
    machine->on_time(kStart);
    machine->on_failed("refused", kStart);
  }
  EXPECT_NE(first.wake_at(), second.wake_at());
}

TEST(LinkMachine, RestsLongWhereOnlyAPersonCanHelp) {
  for (const Verdict verdict : {Verdict::kAbsent, Verdict::kStandby, Verdict::kShared}) {
    LinkMachine machine(1);
    machine.on_time(kStart);
    machine.on_connected(kStart);
    EXPECT_EQ(machine.on_verdict(verdict, kStart), Step::kDrop);  // one short connection each kAskAgain
    EXPECT_EQ(machine.state(), LinkState::kResting);
    EXPECT_GE(machine.wake_at(), kStart + kAskAgain);
    EXPECT_EQ(machine.on_time(machine.wake_at()), Step::kConnect);
  }
  LinkMachine machine(1);
  machine.on_time(kStart);
  machine.on_connected(kStart);
  machine.on_verdict(Verdict::kAbsent, kStart);
  machine.hurry(kStart + 1);  // a reload: perhaps it is there now
  EXPECT_EQ(machine.on_time(kStart + 1), Step::kConnect);
}

// Connected at kStart, told `verdict`, and so listening.
LinkMachine listening(LinkMachine machine, Verdict verdict) {
  EXPECT_EQ(machine.on_time(std::max(kStart, machine.wake_at())), Step::kConnect);
  EXPECT_EQ(machine.on_connected(kStart), Step::kAsk);
  EXPECT_EQ(machine.on_verdict(verdict, kStart), Step::kListen);
  EXPECT_EQ(machine.on_listening(kStart), Step::kAsk);  // what came in between
  EXPECT_EQ(machine.on_verdict(verdict, kStart), Step::kNothing);
  EXPECT_EQ(machine.state(), LinkState::kListening);
  EXPECT_FALSE(machine.registered());
  EXPECT_GE(machine.wake_at(), kStart + kAskSoon);
  EXPECT_LT(machine.wake_at(), kStart + 2 * kAskSoon);
  return machine;
}

TEST(LinkMachine, ListensForTheRightToRegister) {
  LinkMachine machine = listening(LinkMachine(1), Verdict::kDenied);
  machine.on_notified(kStart + 1);
  EXPECT_EQ(machine.on_time(kStart + 1), Step::kAsk);
  EXPECT_EQ(machine.on_verdict(Verdict::kReady, kStart + 5), Step::kRegister);
  EXPECT_EQ(machine.on_registered(kStart + 5), Step::kNothing);

  LinkMachine unheard = listening(LinkMachine(1), Verdict::kDenied);
  EXPECT_EQ(unheard.on_time(unheard.wake_at()), Step::kAsk);  // asks all the same
  unheard.on_notified(kStart);                                // while the answer is on its way
  EXPECT_EQ(unheard.on_verdict(Verdict::kDenied, kStart), Step::kAsk);
  EXPECT_EQ(unheard.on_verdict(Verdict::kDenied, kStart), Step::kNothing);
  unheard.hurry(kStart + 1);
  EXPECT_EQ(unheard.on_time(kStart + 1), Step::kAsk);
  EXPECT_EQ(unheard.on_verdict(Verdict::kDenied, kStart + 1), Step::kNothing);
  EXPECT_EQ(unheard.leave(kStart + 7), Step::kDrop);
  EXPECT_EQ(unheard.state(), LinkState::kGone);
}

TEST(LinkMachine, ListensWhereTheExtensionHasBeen) {
  LinkMachine machine = up();
  EXPECT_EQ(machine.on_time(kStart + kHeartbeat), Step::kBeat);
  machine.on_failed("function berth.heartbeat(text) does not exist", kStart);
  LinkMachine again = listening(machine, Verdict::kAbsent);
  again.on_notified(kStart + 1);
  EXPECT_EQ(again.on_time(kStart + 1), Step::kAsk);
  EXPECT_EQ(again.on_verdict(Verdict::kReady, kStart + 5), Step::kRegister);
}

TEST(LinkMachine, WaitsForNoAnswerForEver) {
  LinkMachine machine(1);
  machine.on_time(kStart);
  EXPECT_EQ(machine.on_time(kStart + kConnectWithin), Step::kDrop);
  EXPECT_EQ(machine.error(), "connect timed out");
  for (const int answers : {0, 1, 3}) {  // asking, registering, beating
    LinkMachine silent = up();
    if (answers < 3) {
      silent = LinkMachine(1);
      silent.on_time(kStart);
      silent.on_connected(kStart);
      if (answers == 1) silent.on_verdict(Verdict::kReady, kStart);
    } else {
      silent.on_time(kStart + kHeartbeat);
    }
    const Micros due = silent.wake_at();
    EXPECT_EQ(silent.on_time(due - 1), Step::kNothing);
    EXPECT_EQ(silent.on_time(due), Step::kDrop);
    EXPECT_EQ(silent.error(), "no answer in time");
    EXPECT_FALSE(silent.registered());
  }
}

TEST(LinkMachine, SaysEachChangeOnce) {
  LinkMachine machine(1);
  EXPECT_FALSE(machine.take_news());
  Micros now = kStart;
  const auto fail = [&] {
    machine.on_time(now);
    machine.on_failed("refused", now);
    now = machine.wake_at();
  };
  fail();
  EXPECT_TRUE(machine.take_news());
  fail();
  fail();
  EXPECT_FALSE(machine.take_news());
  machine.on_time(now);
  machine.on_connected(now);
  machine.on_verdict(Verdict::kAbsent, now);
  EXPECT_TRUE(machine.take_news());
  for (int again = 0; again < 3; ++again) {
    now = machine.wake_at();
    machine.on_time(now);
    machine.on_connected(now);
    machine.on_verdict(Verdict::kAbsent, now);
    EXPECT_FALSE(machine.take_news());  // no extension: one line, however often it is asked
  }
}

TEST(LinkMachine, LeavesFromEveryState) {
  LinkMachine resting(1);
  EXPECT_EQ(resting.leave(kStart), Step::kDrop);
  EXPECT_EQ(resting.state(), LinkState::kGone);

  LinkMachine linked = up();
  EXPECT_EQ(linked.leave(kStart), Step::kDeregister);
  EXPECT_EQ(linked.on_left(), Step::kDrop);
  EXPECT_EQ(linked.state(), LinkState::kGone);

  LinkMachine hung = up();  // the database does not answer: no longer than kLeaveWithin
  hung.leave(kStart);
  EXPECT_EQ(hung.on_time(kStart + kLeaveWithin), Step::kDrop);
  EXPECT_EQ(hung.state(), LinkState::kGone);

  LinkMachine beating = up();
  beating.on_time(kStart + kHeartbeat);
  EXPECT_EQ(beating.leave(kStart + kHeartbeat), Step::kNothing);
  EXPECT_EQ(beating.on_beaten(true, kStart + kHeartbeat), Step::kDeregister);

  LinkMachine registering(1);
  registering.on_time(kStart);
  registering.on_connected(kStart);
  registering.on_verdict(Verdict::kReady, kStart);
  EXPECT_EQ(registering.leave(kStart), Step::kNothing);
  EXPECT_EQ(registering.on_registered(kStart), Step::kDeregister);
}

// In any order of events: time has always something to decide later, a drop is what ends each connection, and who has
// left stays away and is away in bounded time.
TEST(LinkMachine, HoldsInAnyOrder) {
  SEEDED(dice);
  for (int round = 0; round < 2000; ++round) {
    LinkMachine machine(dice.next());
    Micros now = kStart, left_at = 0;
    bool connected = false;
    for (int event = 0; event < 40; ++event) {
      now += static_cast<Micros>(dice.below(dice.below(4) == 0 ? 20 * kSecond : 300 * kMillisecond));
      Step step = machine.on_time(now);
      const auto seen = [&] {
        if (step == Step::kConnect) connected = true;
        if (step == Step::kDrop) connected = false;
      };
      seen();
      if (dice.below(30) == 0 && !left_at) left_at = now, step = machine.leave(now), seen();
      switch (machine.state()) {
        case LinkState::kConnecting: step = dice.below(2) ? machine.on_connected(now) : Step::kNothing; break;
        case LinkState::kAsking:
          step = dice.below(4) ? machine.on_verdict(static_cast<Verdict>(dice.below(5)), now)
                               : machine.on_listening(now);
          break;
        case LinkState::kListening:
          if (dice.below(2)) machine.on_notified(now);
          step = Step::kNothing;
          break;
        case LinkState::kRegistering: step = dice.below(2) ? machine.on_registered(now) : Step::kNothing; break;
        case LinkState::kBeating: step = machine.on_beaten(dice.below(2) == 0, now); break;
        case LinkState::kLeaving: step = dice.below(2) ? machine.on_left() : Step::kNothing; break;
        default: step = Step::kNothing; break;
      }
      seen();
      if (connected && dice.below(8) == 0) step = machine.on_failed("lost", now), seen();
      const bool away = machine.state() == LinkState::kResting || machine.state() == LinkState::kGone;
      ASSERT_EQ(connected, !away);
      ASSERT_TRUE(machine.state() == LinkState::kGone || machine.wake_at() > now - 1);
      if (left_at && now >= left_at + kLeaveWithin) {
        machine.on_time(now);
        ASSERT_EQ(machine.state(), LinkState::kGone);
      }
    }
  }
}

}  // namespace
}  // namespace berth::link
