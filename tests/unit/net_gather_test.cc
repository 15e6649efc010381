// Small sends made inside a turn go at its end, in one call or one by one: nothing of that may show but the time.
#include <memory>

#include "net_support.h"

namespace berth::net {
namespace {

class GatherTest : public testing::TestWithParam<bool> {
 protected:
  GatherTest() {
    if (!GetParam()) engine_.send_singly();
  }
  Conn* attach(const Pair& sockets, Recorder& recorder) { return engine_.attach(sockets.ours, &recorder); }

  EpollEngine engine_;
};

INSTANTIATE_TEST_SUITE_P(AllKinds, GatherTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "InOneCall" : "Singly"; });

// More connections than one call takes, each with small and large sends by turns.
TEST_P(GatherTest, EachConnectionsBytesStayInOrder) {
  constexpr size_t kCount = 3 * SendBatch::kMost / 2;
  struct One {
    Pair sockets;
    Recorder recorder;
    Conn* conn = nullptr;
    std::string wanted;
  };
  std::vector<std::unique_ptr<One>> all;
  for (size_t i = 0; i < kCount; ++i) {
    auto& one = *all.emplace_back(std::make_unique<One>());
    one.sockets = unix_pair();
    one.conn = attach(one.sockets, one.recorder);
    one.recorder.on_data = [this, &one, i](std::string_view lent) {
      uint32_t seed = static_cast<uint32_t>(i) + 1;
      for (const size_t size : {size_t{10}, size_t{20}, SendBatch::kLongest, SendBatch::kLongest + 1, size_t{30}}) {
        const std::string some = pattern(size, ++seed);
        write(engine_, one.conn, some);
        one.wanted += some;
      }
      return Taken{lent.size(), 0};
    };
    send_all(one.sockets.theirs, "go");
  }
  for (auto& one : all) {
    std::string got;
    EXPECT_TRUE(turn_until(engine_, [&] {
      got += read_available(one->sockets.theirs);
      return !one->wanted.empty() && got.size() >= one->wanted.size();
    }));
    EXPECT_TRUE(got == one->wanted);
    close_and_wait(engine_, one->conn, one->recorder);
    close(one->sockets.theirs);
  }
  expect_empty(engine_);
}

// What one connection says in several pieces is one send; another's bytes between them end it.
TEST_P(GatherTest, PiecesOfOneConnectionAreOneSend) {
  int packets[2];  // whose every send is a record
  ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets));
  const Pair sockets{packets[0], packets[1]}, other = unix_pair();
  Recorder recorder, beside;
  Conn* conn = attach(sockets, recorder);
  Conn* second = attach(other, beside);
  recorder.on_data = [&](std::string_view lent) {
    write(engine_, conn, "one");
    write(engine_, conn, "two");
    write(engine_, second, ".");
    write(engine_, conn, "three");
    write(engine_, conn, std::string(SendBatch::kLongest, 'x'));
    return Taken{lent.size(), 0};
  };
  send_all(sockets.theirs, "go");
  std::vector<size_t> sizes;
  char record[2 * SendBatch::kLongest];
  EXPECT_TRUE(turn_until(engine_, [&] {
    const ssize_t got = recv(sockets.theirs, record, sizeof record, MSG_DONTWAIT);
    if (got > 0) sizes.push_back(static_cast<size_t>(got));
    return sizes.size() >= 3 && sizes.back() == SendBatch::kLongest;
  }));
  const bool gathered = GetParam() && SendBatch().available();
  EXPECT_EQ(
      (gathered ? std::vector<size_t>{6, 5, SendBatch::kLongest} : std::vector<size_t>{3, 3, 5, SendBatch::kLongest}),
      sizes);
  EXPECT_EQ(".", read_available(other.theirs));
  close_and_wait(engine_, conn, recorder);
  close_and_wait(engine_, second, beside);
  expect_empty(engine_);
  close(sockets.theirs);
  close(other.theirs);
}

// The peer does not read: what the kernel refuses at the end of a turn is kept, shows as unsent, and follows.
TEST_P(GatherTest, WhatTheKernelRefusesFollows) {
  const Pair sockets = unix_pair(), other = unix_pair();
  Recorder recorder, beside;
  Conn* conn = attach(sockets, recorder);
  Conn* second = attach(other, beside);
  std::string wanted;
  recorder.on_data = [&](std::string_view lent) {
    const std::string some = pattern(SendBatch::kLongest, static_cast<uint32_t>(wanted.size()));
    write(engine_, conn, some);
    write(engine_, second, ".");
    wanted += some;
    return Taken{lent.size(), 0};
  };
  while (engine_.unsent(conn) == 0) {
    send_all(sockets.theirs, "more");
    turn_some(engine_);
    read_available(other.theirs);
    ASSERT_LT(wanted.size(), size_t{64} << 20);
  }
  EXPECT_FALSE(recorder.seen("drained"));
  send_all(sockets.theirs, "behind");  // goes behind what is unsent
  turn_some(engine_);
  std::string got;
  EXPECT_TRUE(turn_until(engine_, [&] {
    got += read_available(sockets.theirs);
    return got.size() >= wanted.size() && recorder.seen("drained");
  }));
  EXPECT_TRUE(got == wanted);
  close_and_wait(engine_, conn, recorder);
  close_and_wait(engine_, second, beside);
  expect_empty(engine_);
  close(sockets.theirs);
  close(other.theirs);
}

TEST_P(GatherTest, LastWordsBeforeCloseAndHandOver) {
  for (const bool hand_over : {false, true}) {
    const Pair sockets = unix_pair(), other = unix_pair();
    Recorder recorder, beside;
    Conn* conn = attach(sockets, recorder);
    Conn* second = attach(other, beside);
    recorder.on_data = [&](std::string_view lent) {
      write(engine_, second, "beside");
      write(engine_, conn, "last words");
      hand_over ? engine_.detach(conn) : engine_.close(conn);
      return Taken{lent.size(), 0};
    };
    send_all(sockets.theirs, "go");
    EXPECT_TRUE(turn_until(engine_, [&] { return recorder.finished(); }));
    bool ended = false;
    EXPECT_EQ("last words", read_available(sockets.theirs, &ended));
    EXPECT_EQ(!hand_over, ended);
    EXPECT_EQ("beside", read_available(other.theirs));
    if (hand_over) close(recorder.detached_fd);
    close_and_wait(engine_, second, beside);
    expect_empty(engine_);
    close(sockets.theirs);
    close(other.theirs);
  }
}

// The kernel has no room for what was held back, and the connection is handed over: it must not go on without these
// bytes.
TEST(Gather, HandOverWithBytesThatTheKernelRefuses) {
  EpollEngine engine;
  const Pair sockets = unix_pair(), other = unix_pair();
  Recorder recorder, beside;
  Conn* conn = engine.attach(sockets.ours, &recorder);
  Conn* second = engine.attach(other.ours, &beside);
  const std::string filling(64 * 1024, '.');
  size_t filled = 0;
  for (ssize_t sent = 0; (sent = send(sockets.ours, filling.data(), filling.size(), MSG_DONTWAIT)) > 0;)
    filled += sent;
  while (send(sockets.ours, ".", 1, MSG_DONTWAIT) == 1) ++filled;
  bool handed_over = false;
  beside.on_data = [&](std::string_view lent) {
    write(engine, conn, std::string(SendBatch::kLongest, 'x'));
    write(engine, second, "beside");
    handed_over = engine.unsent(conn) == 0;  // no io_uring here: then there is nothing to test
    handed_over ? engine.detach(conn) : engine.close(conn);
    return Taken{lent.size(), 0};
  };
  send_all(other.theirs, "go");
  EXPECT_TRUE(turn_until(engine, [&] { return handed_over ? recorder.finished() : !beside.bytes.empty(); }));
  bool ended = false;
  std::string got;
  for (int i = 0; i < 1000 && !ended; ++i) {
    got += read_available(sockets.theirs, &ended);
    turn_some(engine);
  }
  EXPECT_TRUE(ended) << "the peer is told that the connection is over";
  if (handed_over) {
    EXPECT_EQ(filled, got.size()) << "and got no part of what was lost";
    char byte = 0;
    EXPECT_EQ(0, recv(recorder.detached_fd, &byte, 1, MSG_DONTWAIT)) << "so is the next owner";
    close(recorder.detached_fd);
  }
  close_and_wait(engine, second, beside);
  expect_empty(engine);
  close(sockets.theirs);
  close(other.theirs);
}

// One of several has gone: it is told its end once, and the others get their bytes.
TEST_P(GatherTest, APeerThatHasGoneHurtsNobodyElse) {
  const Pair gone = unix_pair(), here = unix_pair();
  Recorder first, second;
  Conn* to_gone = attach(gone, first);
  Conn* to_here = attach(here, second);
  second.on_data = [&](std::string_view lent) {
    write(engine_, to_gone, "into the void");
    write(engine_, to_here, "answer");
    return Taken{lent.size(), 0};
  };
  send_all(here.theirs, "go");
  close(gone.theirs);
  EXPECT_TRUE(turn_until(engine_, [&] { return first.seen("eof") && !second.bytes.empty(); }));
  turn_some(engine_);
  EXPECT_EQ("answer", read_available(here.theirs));
  EXPECT_EQ(0u, engine_.unsent(to_gone));
  close_and_wait(engine_, to_gone, first);
  close_and_wait(engine_, to_here, second);
  expect_empty(engine_);
  close(here.theirs);
}

}  // namespace
}  // namespace berth::net
