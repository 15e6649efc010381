// Goal: whatever way the bytes arrive, a handler sees all of them, in order, once, and not before it has the number
// it asked for. Method: a frame reader that consumes in many ways is fed in every chunking; each test ends with the
// engine holding nothing.
#include <algorithm>

#include "unit/net_support.h"

namespace berth::net {
namespace {

// Frames of one length byte and so many bytes; `need` is stated as exactly as possible.
struct FrameReader {
  std::vector<std::string> frames;
  bool state_need = true;

  Taken operator()(std::string_view bytes) {
    size_t consumed = 0;
    for (;;) {
      const std::string_view rest = bytes.substr(consumed);
      if (rest.empty()) return {consumed, state_need ? size_t{1} : 0};
      const size_t size = 1 + static_cast<uint8_t>(rest[0]);
      if (rest.size() < size) return {consumed, state_need ? size : 0};
      frames.emplace_back(rest.substr(1, size - 1));
      consumed += size;
    }
  }
};

std::string frame(std::string_view body) {
  return std::string(1, static_cast<char>(body.size())) + std::string(body);
}

class ReadTest : public testing::TestWithParam<bool> {
 protected:
  Pair pair() { return GetParam() ? tcp_pair() : unix_pair(); }
};
INSTANTIATE_TEST_SUITE_P(Sockets, ReadTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "tcp" : "unix"; });

TEST_P(ReadTest, EveryTwoCutsOfThreeFrames) {
  const std::string stream = frame("first") + frame("") + frame("the third");
  for (bool state_need : {true, false}) {
    EpollEngine engine;
    for (size_t first = 0; first <= stream.size(); ++first) {
      for (size_t second = first; second <= stream.size(); ++second) {
        const Pair sockets = pair();
        Recorder recorder;
        FrameReader reader{{}, state_need};
        recorder.on_data = std::ref(reader);
        Conn* conn = engine.attach(sockets.ours, &recorder);
        size_t from = 0;
        for (size_t to : {first, second, stream.size()}) {
          send_all(sockets.theirs, std::string_view(stream).substr(from, to - from));
          from = to;
          engine.run_once(0);  // reads this piece, so the cut is a cut for the engine, too
          engine.run_once(0);
        }
        ASSERT_TRUE(turn_until(engine, [&] { return reader.frames.size() == 3; })) << first << " " << second;
        EXPECT_EQ(std::vector<std::string>({"first", "", "the third"}), reader.frames);
        EXPECT_EQ(stream, recorder.bytes);
        close_and_wait(engine, conn, recorder);
        close(sockets.theirs);
        expect_empty(engine);
      }
    }
  }
}

// A span never comes before `need` bytes are there, at each boundary of the engine's ways to keep bytes: the small
// block, the large one, the receive buffer, and beyond; nor bytes that stood there before (T30).
TEST_P(ReadTest, NeedIsHonouredAtEveryBoundary) {
  for (size_t boundary : {size_t{2}, BlockPool::kSmall, EpollEngine::kReceiveSize, 3 * BlockPool::kLarge}) {
    for (size_t need : {boundary - 1, boundary, boundary + 1}) {
      for (size_t chunk : {size_t{1000}, size_t{4096}, size_t{60000}}) {
        EpollEngine engine;
        const Pair sockets = pair();
        const std::string stream = pattern(need + 10);
        Recorder recorder;
        bool asked = false;
        recorder.on_data = [&](std::string_view lent) -> Taken {
          if (!asked && lent.size() < need) {
            asked = true;
            return {0, need};
          }
          EXPECT_GE(lent.size() + recorder.bytes.size(), need);
          asked = true;
          return {lent.size(), 0};
        };
        Conn* conn = engine.attach(sockets.ours, &recorder);
        // One byte too few first, in chunks, and then one after the other.
        for (size_t at = 0; at < stream.size();) {
          const size_t some = at < need - 1 ? std::min(chunk, need - 1 - at) : 1;
          send_all(sockets.theirs, std::string_view(stream).substr(at, some));
          at += some;
          turn_some(engine);
        }
        ASSERT_TRUE(turn_until(engine, [&] { return recorder.bytes.size() == stream.size(); }))
            << need << " " << chunk;
        EXPECT_TRUE(recorder.bytes == stream);
        close_and_wait(engine, conn, recorder);
        close(sockets.theirs);
        expect_empty(engine);
      }
    }
  }
}

// The handler leaves `left` bytes of what it is shown and asks for one more than that, again and again.
TEST_P(ReadTest, TailsOfEverySizeStayInOrder) {
  const std::string stream = pattern(400'000);
  for (size_t left :
       {size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{65535}, size_t{65536}, size_t{100'000}}) {
    EpollEngine engine;
    const Pair sockets = pair();
    Recorder recorder;
    recorder.on_data = [&](std::string_view lent) -> Taken {
      const size_t at = recorder.bytes.size();
      EXPECT_TRUE(lent == std::string_view(stream).substr(at, lent.size()));
      if (at + lent.size() == stream.size()) return {lent.size(), 0};
      const size_t keep = std::min(left, lent.size());
      return {lent.size() - keep, keep + 1};
    };
    Conn* conn = engine.attach(sockets.ours, &recorder);
    size_t sent = 0;
    ASSERT_TRUE(turn_until(engine, [&] {
      const size_t some = std::min<size_t>(7001, stream.size() - sent);
      if (some > 0) send_all(sockets.theirs, std::string_view(stream).substr(sent, some));
      sent += some;
      return recorder.bytes.size() == stream.size();
    })) << left;
    close_and_wait(engine, conn, recorder);
    close(sockets.theirs);
    expect_empty(engine);
  }
}

// Failure class 60, T11: what is announced costs nothing, and what was large once is not held for a small rest.
TEST_P(ReadTest, AnnouncedBytesCostNothingUntilTheyCome) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  constexpr size_t kAnnounced = 16 << 20;
  recorder.on_data = [&](std::string_view lent) -> Taken {
    if (lent.size() < kAnnounced) return {0, kAnnounced};
    return {lent.size() - 10, 0};
  };
  Conn* conn = engine.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, pattern(100));
  turn_some(engine);
  EXPECT_EQ(BlockPool::kSmall, engine.memory().block_bytes);
  send_all(sockets.theirs, pattern(20'000));
  turn_some(engine);
  EXPECT_EQ(BlockPool::kLarge, engine.memory().block_bytes);
  const std::string rest = pattern(kAnnounced - 20'100);
  size_t sent = 0;
  while (sent < rest.size()) {
    const size_t some = std::min<size_t>(50'000, rest.size() - sent);
    send_all(sockets.theirs, std::string_view(rest).substr(sent, some));
    sent += some;
    turn_some(engine);
    ASSERT_LE(engine.memory().block_bytes, std::max(BlockPool::kLarge, 2 * (sent + 20'100)));
  }
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.bytes.size() == kAnnounced - 10; }));
  EXPECT_EQ(BlockPool::kSmall, engine.memory().block_bytes);  // the ten bytes that were left
  EXPECT_LE(engine.memory().pooled_bytes,
            BlockPool::kSmall * BlockPool::kSmallKept + BlockPool::kLarge * BlockPool::kLargeKept);
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

// Asking for bytes that are there gets them at once; standing still does not spin.
TEST_P(ReadTest, AskingForWhatIsThereIsAnsweredAtOnce) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  recorder.on_data = [&](std::string_view) -> Taken { return {recorder.spans.size() <= 3 ? 1u : 0u, 2}; };
  Conn* conn = engine.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "abcdefgh");
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.spans.size() >= 4; }));
  turn_some(engine);
  EXPECT_EQ(std::vector<std::string>({"abcdefgh", "bcdefgh", "cdefgh", "defgh"}), recorder.spans);
  send_all(sockets.theirs, "i");
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.spans.size() >= 5; }));
  EXPECT_EQ("defghi", recorder.spans[4]);
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

TEST_P(ReadTest, OneReceivePerTurnForAGreedySender) {
  EpollEngine engine;
  const Pair greedy = pair();
  const Pair modest = pair();
  const int size = 4 << 20;
  setsockopt(greedy.theirs, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  std::string order;
  Recorder first;
  Recorder second;
  first.on_data = [&](std::string_view lent) -> Taken { return order += 'G', Taken{lent.size(), 0}; };
  second.on_data = [&](std::string_view lent) -> Taken { return order += 'm', Taken{lent.size(), 0}; };
  Conn* greedy_conn = engine.attach(greedy.ours, &first);
  Conn* modest_conn = engine.attach(modest.ours, &second);
  const std::string much = pattern(200'000);
  const ssize_t sent = send(greedy.theirs, much.data(), much.size(), MSG_DONTWAIT);
  ASSERT_GT(sent, 140'000);
  for (int i = 0; i < 3; ++i) {
    send_all(modest.theirs, "x");
    const size_t before = order.size();
    engine.run_once(monotonic_now() + kSecond);
    const std::string turn = order.substr(before);
    EXPECT_LE(std::count(turn.begin(), turn.end(), 'G'), 1) << order;
    EXPECT_EQ(1, std::count(turn.begin(), turn.end(), 'm')) << order;
  }
  ASSERT_TRUE(turn_until(engine, [&] { return first.bytes.size() == static_cast<size_t>(sent); }));
  EXPECT_TRUE(first.bytes == std::string_view(much).substr(0, static_cast<size_t>(sent)));
  close_and_wait(engine, greedy_conn, first);
  close_and_wait(engine, modest_conn, second);
  close(greedy.theirs);
  close(modest.theirs);
  expect_empty(engine);
}

// ---- pause and resume ----

TEST_P(ReadTest, PausedMeansSilentUntilTheLastReasonGoes) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine.attach(sockets.ours, &recorder);
  engine.pause(conn, kPauseWaiting);
  engine.pause(conn, kPausePipeline);
  send_all(sockets.theirs, "hello");
  turn_some(engine);
  engine.resume(conn, kPauseWaiting);
  turn_some(engine);
  EXPECT_EQ("", recorder.bytes);
  EXPECT_EQ(kPausePipeline, engine.paused(conn));
  engine.resume(conn, kPausePipeline);
  EXPECT_EQ("", recorder.bytes) << "a handler call from inside resume()";
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.bytes == "hello"; }));
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

TEST_P(ReadTest, KeptBytesComeAgainBeforeNewOnes) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = nullptr;
  recorder.on_data = [&](std::string_view lent) -> Taken {
    if (recorder.spans.size() > 1) return {lent.size(), 0};
    engine.pause(conn, kPauseWaiting);
    return {2, 0};
  };
  conn = engine.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "12345");
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.spans.size() == 1; }));
  send_all(sockets.theirs, "678");
  turn_some(engine);
  ASSERT_EQ(1u, recorder.spans.size());
  engine.resume(conn, kPauseWaiting);
  engine.run_once(0);
  EXPECT_EQ("345", recorder.spans.at(1));
  EXPECT_EQ("678", recorder.spans.at(2)) << "the same turn goes on to read";
  EXPECT_EQ("12345678", recorder.bytes);
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

// A handler may pause and resume itself within one call, or be resumed by another one in the same batch: the bytes
// that it left come again in the same turn, without a wait.
TEST_P(ReadTest, ResumedInTheSameTurn) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = nullptr;
  recorder.on_data = [&](std::string_view lent) -> Taken {
    if (recorder.spans.size() > 1) return {lent.size(), 0};
    engine.pause(conn, kPauseWaiting);
    engine.resume(conn, kPauseWaiting);
    return {0, 0};
  };
  conn = engine.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "query");
  engine.run_once(monotonic_now() + kGiveUp);
  EXPECT_EQ("query", recorder.bytes);
  EXPECT_EQ(2u, recorder.spans.size());
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

// Two that resume each other for ever take turns with the sockets: run_once comes back.
TEST_P(ReadTest, ResumesCausedByTheAgendaWaitForTheNextTurn) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = nullptr;
  recorder.on_data = [&](std::string_view) -> Taken {
    engine.pause(conn, kPauseWaiting);
    engine.resume(conn, kPauseWaiting);
    return {0, 0};
  };
  conn = engine.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "x");
  engine.run_once(monotonic_now() + kGiveUp);
  const size_t before = recorder.spans.size();
  engine.run_once(INT64_MAX);  // does not block: there is work
  EXPECT_EQ(before + 1, recorder.spans.size());
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

// A need that is larger than what was kept is not undercut by a resume.
TEST_P(ReadTest, ResumeDoesNotUndercutNeed) {
  EpollEngine engine;
  const Pair sockets = pair();
  Recorder recorder;
  recorder.on_data = [&](std::string_view lent) -> Taken {
    if (lent.size() < 6) return {0, 6};
    return {lent.size(), 0};
  };
  Conn* conn = engine.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "abc");
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.spans.size() == 1; }));
  engine.pause(conn, kPauseHeld);
  engine.resume(conn, kPauseHeld);
  turn_some(engine);
  EXPECT_EQ(1u, recorder.spans.size());
  send_all(sockets.theirs, "def");
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.bytes == "abcdef"; }));
  EXPECT_EQ(2u, recorder.spans.size());
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

}  // namespace
}  // namespace berth::net
