// Goal: the queue of requests keeps order, positions and owners, and the outbox sends every byte once, in order, in
// few calls. Method: dice against a deque and a string; an engine that only writes down.
#include <deque>
#include <memory>
#include <string>

#include "session/outbox.h"
#include "session/requests.h"
#include "unit/seeds.h"

namespace berth::session {
namespace {

using Kind = Request::Kind;

Client* owner_of(uint64_t number) {
  return reinterpret_cast<Client*>(number * 16);  // never looked into
}

TEST(RequestQueueTest, LikeADeque) {
  SEEDED(dice);
  const auto window = std::make_unique<pool::StatementWindow>();
  const pool::Statement statement = window->intern("select", std::string_view("\0\0", 2), pool::Params());
  for (int run = 0; run < 30; ++run) {
    RequestQueue queue;
    std::deque<uint64_t> model;  // the numbers of the entries
    uint64_t pushed = 0, taken = 0;
    for (int i = 0; i < 3000; ++i) {
      switch (dice.below(run % 2 ? 5 : 7)) {
        case 0:
        case 1:
        case 2:
        case 3: {
          Request& entry = queue.push();
          // What stood in this place before has left nothing.
          ASSERT_TRUE(!entry.owner && !entry.statement && !entry.previous && !entry.undo);
          ASSERT_TRUE(!entry.own && !entry.on_server && !entry.settings_follow && !entry.unnamed);
          ASSERT_TRUE(!entry.named && !entry.sets_untracked);
          entry.kind = static_cast<Kind>(pushed % 11);
          entry.owner = owner_of(pushed);
          entry.own = entry.on_server = entry.settings_follow = entry.unnamed = entry.sets_untracked = true;
          if (pushed % 4 == 0) entry.change_name("name", nullptr);
          if (pushed % 3 == 0) entry.statement = entry.previous = statement;
          if (pushed % 5 == 0) entry.undo = std::make_unique<Request::Undo>();
          model.push_back(pushed++);
          break;
        }
        default:
          if (model.empty()) break;
          queue.pop();
          model.pop_front();
          ++taken;
      }
      ASSERT_EQ(queue.size(), model.size());
      ASSERT_EQ(queue.empty(), model.empty());
      ASSERT_EQ(queue.end(), taken + model.size());
      ASSERT_FALSE(queue.pending(taken));
      ASSERT_EQ(queue.pending(taken + 1), !model.empty());
      for (size_t at = 0; at < model.size(); ++at) ASSERT_EQ(queue.at(at).owner, owner_of(model[at]));
      if (model.empty()) continue;
      ASSERT_EQ(queue.front().owner, owner_of(model.front()));
      ASSERT_EQ(queue.back().owner, owner_of(model.back()));
      ASSERT_EQ(queue.back().kind, static_cast<Kind>(model.back() % 11));
    }
    queue.clear();
    ASSERT_TRUE(queue.empty());
  }
}

TEST(RequestQueueTest, AllocatesNothingOnceItHasItsSize) {
  RequestQueue queue;
  for (int i = 0; i < 100; ++i) queue.push();
  const Request* first = &queue.front();
  queue.clear();
  for (int i = 0; i < 10000; ++i) {
    queue.push();
    const Request* place = &queue.front();
    EXPECT_LT(std::abs(place - first), 128) << "still in the same ring";
    queue.pop();
  }
}

TEST(RequestQueueTest, WhatEachKindMeans) {
  for (int kind = 0; kind < 11; ++kind) {
    Request entry;
    entry.kind = static_cast<Kind>(kind);
    const bool simple = entry.kind == Kind::kQuery || entry.kind == Kind::kFunction;
    EXPECT_EQ(entry.extended(), !simple);
    EXPECT_EQ(entry.ends_with_ready(), simple || entry.kind == Kind::kSync);
    EXPECT_EQ(entry.synthetic(), entry.kind == Kind::kParsedAlready || entry.kind == Kind::kClosedAlready);
  }
}

// ---- the outbox

// Takes what is written, and counts.
struct Recorder final : net::Engine {
  void listen(int, int, net::AcceptHandler*) override {}
  void unlisten(int) override {}
  net::Conn* attach(int, net::Handler*) override { return nullptr; }
  net::Conn* connect(const net::Address&, net::Handler*) override { return nullptr; }
  size_t write(net::Conn*, std::span<const iovec> spans) override {
    ++calls;
    pieces += spans.size();
    if (spans.size() > kSpans) ADD_FAILURE() << spans.size() << " pieces in one call";
    for (const iovec& span : spans) sent.append(static_cast<const char*>(span.iov_base), span.iov_len);
    return 0;
  }
  size_t unsent(const net::Conn*) const override { return 7; }
  void pause(net::Conn*, net::PauseReason) override {}
  void resume(net::Conn*, net::PauseReason) override {}
  uint8_t paused(const net::Conn*) const override { return 0; }
  void close(net::Conn*) override {}
  void detach(net::Conn*) override {}
  int descriptor(const net::Conn*) const override { return -1; }
  void run_once(Micros) override {}
  void wake() override {}
  Micros now() const override { return 0; }

  std::string sent;
  size_t calls = 0, pieces = 0;
};

net::Conn* some_conn() {
  static char place;
  return reinterpret_cast<net::Conn*>(&place);
}

// T30: nothing else than what was given is sent, whatever stood in the arena before.
TEST(OutboxTest, EveryByteOnceAndInOrder) {
  SEEDED(dice);
  Recorder engine;
  const auto outbox = std::make_unique<Outbox>();
  std::string source(200'000, '\0');
  for (char& c : source) c = static_cast<char>(dice.next());
  const std::string_view lent(source);
  for (int round = 0; round < 500; ++round) {
    engine.sent.clear();
    std::string expected;
    outbox->begin(&engine, some_conn());
    for (uint64_t parts = dice.below(80); parts > 0; --parts) {
      const size_t most = dice.below(5) ? 300 : 40'000;
      const std::string_view part = lent.substr(dice.below(100'000), dice.below(most));
      switch (dice.below(3)) {
        case 0: outbox->lend(part); break;
        case 1: outbox->copy(std::string(part)); break;  // gone when it returns
        default: {
          const std::string_view head = part.substr(0, kArena);
          char* at = outbox->reserve(head.size());
          std::memcpy(at, head.data(), head.size());
          outbox->lend({at, head.size()});
          expected += head;
          continue;
        }
      }
      expected += part;
    }
    ASSERT_EQ(outbox->flush(), 7u) << "what the engine says";
    ASSERT_TRUE(outbox->empty());
    ASSERT_TRUE(engine.sent == expected) << "round " << round;
  }
}

TEST(OutboxTest, FewPiecesAndCalls) {
  Recorder engine;
  const auto outbox = std::make_unique<Outbox>();
  const std::string text(100'000, 'x');
  outbox->begin(&engine, some_conn());
  for (size_t at = 0; at < 50'000; at += 100) outbox->lend(std::string_view(text).substr(at, 100));
  outbox->flush();
  EXPECT_EQ(engine.calls, 1u);
  EXPECT_EQ(engine.pieces, 1u) << "stretches that touch are one";

  engine.calls = engine.pieces = 0;
  outbox->begin(&engine, some_conn());
  for (size_t at = 0; at < 20; ++at) outbox->lend(std::string_view(text).substr(at * 1000, 50));
  outbox->flush();
  EXPECT_EQ(engine.calls, 1u);
  EXPECT_EQ(engine.pieces, 1u) << "what is small is gathered";

  engine.calls = engine.pieces = 0;
  outbox->begin(&engine, some_conn());
  outbox->flush();
  EXPECT_EQ(engine.calls, 0u) << "nothing is not sent";
}

// T30
TEST(OutboxTest, WhatIsDroppedIsNotSent) {
  Recorder engine;
  const auto outbox = std::make_unique<Outbox>();
  outbox->begin(&engine, some_conn());
  outbox->copy("never");
  outbox->drop();
  outbox->begin(&engine, some_conn());
  outbox->copy("sent");
  outbox->flush();
  EXPECT_EQ(engine.sent, "sent");
  outbox->begin(&engine, nullptr);  // a connection that is gone
  outbox->copy(std::string(50'000, 'x'));
  EXPECT_EQ(outbox->flush(), 0u);
  EXPECT_EQ(engine.sent, "sent");
}

}  // namespace
}  // namespace berth::session
