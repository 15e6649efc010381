// Goal: every envelope arrives once and in order, no reader sleeps while it has mail, and a full queue loses nothing.
// Method: single-threaded for the rules, then real threads that really sleep in their engines, under the thread
// sanitizer, too (make check's tsan build).
#include "worker/mailbox.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "net/epoll_engine.h"

namespace berth::worker {
namespace {

// Counts wake-ups; has no sockets.
struct CountingEngine final : net::Engine {
  int wakes = 0;
  void listen(int, int, net::AcceptHandler*) override {}
  void unlisten(int) override {}
  net::Conn* attach(int, net::Handler*) override { return nullptr; }
  net::Conn* connect(const net::Address&, net::Handler*) override { return nullptr; }
  size_t write(net::Conn*, std::span<const iovec>) override { return 0; }
  size_t unsent(const net::Conn*) const override { return 0; }
  void pause(net::Conn*, net::PauseReason) override {}
  void resume(net::Conn*, net::PauseReason) override {}
  uint8_t paused(const net::Conn*) const override { return 0; }
  void close(net::Conn*) override {}
  void detach(net::Conn*) override {}
  int descriptor(const net::Conn*) const override { return -1; }
  void run_once(Micros) override {}
  void wake() override { ++wakes; }
  Micros now() const override { return 0; }
};

std::vector<uint64_t> take(Mailboxes& boxes, int to) {
  std::vector<uint64_t> values;
  boxes.drain(to, [&](const Envelope& envelope) { values.push_back(envelope.value); });
  return values;
}

TEST(Mailbox, CarriesEveryField) {
  Mailboxes boxes(2);
  int object = 0;
  boxes.send(0, 1, {7, 8, &object, uint64_t{1} << 60});
  Envelope got;
  EXPECT_EQ(1u, boxes.drain(1, [&](const Envelope& envelope) { got = envelope; }));
  EXPECT_EQ(7u, got.kind);
  EXPECT_EQ(8u, got.number);
  EXPECT_EQ(&object, got.object);
  EXPECT_EQ(uint64_t{1} << 60, got.value);
  EXPECT_TRUE(take(boxes, 1).empty());
}

TEST(Mailbox, OnlyTheReceiverGetsItAndTheMainThreadTakesPart) {
  Mailboxes boxes(2);
  for (int from = 0; from < 3; ++from) {
    for (int to = 0; to < 3; ++to) {
      if (from != to) boxes.send(from, to, {0, 0, nullptr, static_cast<uint64_t>(10 * from + to)});
    }
  }
  EXPECT_EQ(std::vector<uint64_t>({10, 20}), take(boxes, 0));
  EXPECT_EQ(std::vector<uint64_t>({1, 21}), take(boxes, 1));
  EXPECT_EQ(std::vector<uint64_t>({2, 12}), take(boxes, 2));
}

TEST(Mailbox, OneWakeUpForAReaderThatSleeps) {
  Mailboxes boxes(2);
  CountingEngine engine;
  boxes.attach(1, &engine);
  for (int i = 0; i < 5; ++i) boxes.send(0, 1, {});
  boxes.send(2, 1, {});
  EXPECT_EQ(1, engine.wakes);
  EXPECT_EQ(6u, boxes.drain(1, [](const Envelope&) {}));
  boxes.send(2, 1, {});
  EXPECT_EQ(2, engine.wakes);
  EXPECT_EQ(1u, boxes.drain(1, [](const Envelope&) {}));
}

// Mail that comes while the reader reads is read in the same drain, without a wake-up.
TEST(Mailbox, MailDuringADrainNeedsNoWakeUp) {
  Mailboxes boxes(2);
  CountingEngine engine;
  boxes.attach(1, &engine);
  boxes.send(2, 1, {0, 0, nullptr, 1});
  std::vector<uint64_t> values;
  boxes.drain(1, [&](const Envelope& envelope) {
    values.push_back(envelope.value);
    if (values.size() == 1) boxes.send(0, 1, {0, 0, nullptr, 2});  // from a queue that was looked at before
  });
  EXPECT_EQ(std::vector<uint64_t>({1, 2}), values);
  EXPECT_EQ(1, engine.wakes);
}

// A sender that never stops does not keep the reader in drain(), and what is left wakes it for its next turn.
TEST(Mailbox, AnEndlessSenderDoesNotHoldTheReader) {
  Mailboxes boxes(2);
  CountingEngine engine;
  boxes.attach(1, &engine);
  boxes.send(0, 1, {});
  uint64_t count = 0;
  boxes.drain(1, [&](const Envelope&) { boxes.send(0, 1, {0, 0, nullptr, ++count}); });
  EXPECT_EQ(2, engine.wakes);
  EXPECT_LE(count, Mailboxes::kCapacity * Mailboxes::kDrainRounds);
  EXPECT_EQ(std::vector<uint64_t>({count}), take(boxes, 1));
}

TEST(Mailbox, WhatAFullQueueDoesNotTakeFollowsInOrder) {
  Mailboxes boxes(2);
  CountingEngine reader;
  CountingEngine sender;
  boxes.attach(1, &reader);
  boxes.attach(0, &sender);
  constexpr uint64_t kTotal = 3 * Mailboxes::kCapacity + 5;
  for (uint64_t i = 0; i < kTotal; ++i) boxes.send(0, 1, {0, 0, nullptr, i});
  boxes.send(0, 2, {0, 0, nullptr, 77});  // another pair is not held up
  EXPECT_EQ(std::vector<uint64_t>({77}), take(boxes, 2));
  EXPECT_FALSE(boxes.flush_outbox(0));
  EXPECT_EQ(0, sender.wakes);
  std::vector<uint64_t> values;
  for (int turn = 0; turn < 10; ++turn) {
    const int wakes = sender.wakes;
    const std::vector<uint64_t> some = take(boxes, 1);
    if (some.empty()) break;
    values.insert(values.end(), some.begin(), some.end());
    if (values.size() < kTotal) {
      EXPECT_EQ(wakes + 1, sender.wakes) << "nobody tells the sender of the room";
      EXPECT_EQ(values.size() + Mailboxes::kCapacity >= kTotal, boxes.flush_outbox(0));
    }
  }
  ASSERT_EQ(kTotal, values.size());
  for (uint64_t i = 0; i < kTotal; ++i) ASSERT_EQ(i, values[i]);
  EXPECT_TRUE(boxes.flush_outbox(0));
}

// There is room again, but what waited for it comes first.
TEST(Mailbox, NewMailStaysBehindWhatWaitsForRoom) {
  Mailboxes boxes(2);
  constexpr uint64_t kTotal = Mailboxes::kCapacity + 5;
  for (uint64_t i = 0; i < kTotal; ++i) boxes.send(0, 1, {0, 0, nullptr, i});
  std::vector<uint64_t> values = take(boxes, 1);
  boxes.send(0, 1, {0, 0, nullptr, kTotal});
  EXPECT_TRUE(boxes.flush_outbox(0));
  for (const uint64_t value : take(boxes, 1)) values.push_back(value);
  ASSERT_EQ(kTotal + 1, values.size());
  for (uint64_t i = 0; i <= kTotal; ++i) ASSERT_EQ(i, values[i]);
}

// Threads that send to each other at random and sleep without a deadline: a lost wake-up hangs this test, a lost,
// doubled or overtaken envelope fails it.
TEST(Mailbox, ThreadsThatSleepMissNothing) {
  constexpr int kWorkers = 2;
  constexpr int kThreads = kWorkers + 1;
  constexpr uint64_t kEach = 40'000;  // from each thread to each other one
  Mailboxes boxes(kWorkers);
  std::array<net::EpollEngine, kThreads> engines;
  for (int i = 0; i < kThreads; ++i) boxes.attach(i, &engines[static_cast<size_t>(i)]);
  std::atomic<int> failures{0};
  const auto run = [&](int self) {
    std::array<uint64_t, kThreads> sent{};
    std::array<uint64_t, kThreads> expected{};
    uint64_t got = 0;
    uint32_t random = 12345u + static_cast<uint32_t>(self);
    while (true) {
      bool all_sent = true;
      for (int to = 0; to < kThreads; ++to) {
        if (to == self) continue;
        random = random * 1664525u + 1013904223u;
        // Single envelopes for most turns, now and then more than a queue holds.
        const uint64_t burst = (random >> 16) % 97 == 0 ? 3000 : (random >> 16) % 3;
        uint64_t& done = sent[static_cast<size_t>(to)];
        for (uint64_t i = 0; i < burst && done < kEach; ++i) {
          boxes.send(self, to, {static_cast<uint32_t>(self), 0, nullptr, done++});
        }
        all_sent = all_sent && done == kEach;
      }
      got += boxes.drain(self, [&](const Envelope& envelope) {
        if (envelope.value != expected[envelope.kind]++) failures.fetch_add(1);
      });
      const bool flushed = boxes.flush_outbox(self);
      if (all_sent && flushed && got == (kThreads - 1) * kEach) return;
      // Whoever has said all it has to say waits for the others, without end.
      engines[static_cast<size_t>(self)].run_once(all_sent ? INT64_MAX : 0);
    }
  };
  std::array<std::thread, kThreads> threads;
  for (int i = 0; i < kThreads; ++i) threads[static_cast<size_t>(i)] = std::thread(run, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, failures.load());
}

// A sender that fills the queue just while the reader empties it, and then sleeps: it is told of the room each time.
TEST(Mailbox, ASenderAsleepBehindAFullQueueIsWoken) {
  Mailboxes boxes(2);
  net::EpollEngine engine;
  boxes.attach(0, &engine);
  constexpr uint64_t kTotal = 1'000'000;
  std::thread reader([&] {
    for (uint64_t got = 0; got < kTotal;) got += boxes.drain(1, [](const Envelope&) {});
  });
  uint64_t sent = 0;
  while (sent < kTotal) {
    while (sent < kTotal && boxes.flush_outbox(0)) boxes.send(0, 1, {0, 0, nullptr, sent++});
    while (!boxes.flush_outbox(0)) engine.run_once(INT64_MAX);
  }
  reader.join();
}

// Two threads in turns, each asleep whenever the other works: as many wake-ups as envelopes, none lost.
TEST(Mailbox, PingPongOverTwoSleepers) {
  Mailboxes boxes(2);
  std::array<net::EpollEngine, 2> engines;
  boxes.attach(0, &engines[0]);
  boxes.attach(1, &engines[1]);
  constexpr uint64_t kRounds = 20'000;
  const auto run = [&](int self) {
    uint64_t last = 0;
    while (last < kRounds) {
      engines[static_cast<size_t>(self)].run_once(INT64_MAX);
      boxes.drain(self, [&](const Envelope& envelope) {
        last = envelope.value;
        boxes.send(self, 1 - self, {0, 0, nullptr, last + 1});
      });
    }
  };
  boxes.send(2, 0, {0, 0, nullptr, 1});
  std::thread one(run, 0);
  std::thread two(run, 1);
  one.join();
  two.join();
}

}  // namespace
}  // namespace berth::worker
