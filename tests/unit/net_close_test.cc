// Goal: a connection ends exactly once, in every state, with the bytes that were promised on either side, and leaves
// nothing behind. Method: real sockets, a recorder that fails on any call that should not come.
#include <cstring>

#include "unit/net_support.h"
#include "unit/tls_support.h"

namespace berth::net {
namespace {

class CloseTest : public testing::TestWithParam<bool> {
 protected:
  Pair pair() { return GetParam() ? tcp_pair() : unix_pair(); }
  EpollEngine engine_;
};
INSTANTIATE_TEST_SUITE_P(Sockets, CloseTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "tcp" : "unix"; });

// Fills the socket and the chain behind it; returns what was written in all.
std::string fill(EpollEngine& engine, Conn* conn, size_t least = 1 << 20) {
  std::string all;
  for (uint32_t seed = 1; all.size() < least || engine.unsent(conn) < 300'000; ++seed) {
    const std::string some = pattern(100'003, seed);
    write(engine, conn, some);
    all += some;
  }
  return all;
}

TEST_P(CloseTest, BytesBeforeTheEndComeFirst) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  const std::string last = pattern(150'000);
  std::string unsent = last;
  ASSERT_TRUE(turn_until(engine_, [&] {
    const ssize_t sent = send(sockets.theirs, unsent.data(), unsent.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) unsent.erase(0, static_cast<size_t>(sent));
    return unsent.empty();
  }));
  close(sockets.theirs);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof"); }));
  EXPECT_TRUE(recorder.bytes == last);
  EXPECT_EQ(std::vector<std::string>({"eof 0"}), recorder.events);
  turn_some(engine_);
  close_and_wait(engine_, conn, recorder);
  expect_empty(engine_);
}

TEST_P(CloseTest, HalfClosedPeerStillGetsItsAnswer) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "question");
  shutdown(sockets.theirs, SHUT_WR);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof 0"); }));
  EXPECT_EQ("question", recorder.bytes);
  EXPECT_EQ(0u, write(engine_, conn, "answer"));
  EXPECT_EQ("answer", read_available(sockets.theirs));
  close_and_wait(engine_, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine_);
}

TEST_P(CloseTest, HalfAMessageThenTheEnd) {
  const Pair sockets = pair();
  Recorder recorder;
  recorder.on_data = [](std::string_view) { return Taken{0, 1000}; };
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "half");
  close(sockets.theirs);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof 0"); }));
  EXPECT_EQ(1u, recorder.spans.size());
  close_and_wait(engine_, conn, recorder);
  expect_empty(engine_);
}

// Who waits for a server, or in the login, and has gone is told of at once, whatever lies unread in the socket.
TEST_P(CloseTest, EndWhileWaitingIsToldAtOnce) {
  for (PauseReason reason : {kPauseWaiting, kPauseLogin, kPauseHeld}) {
    for (bool before : {true, false}) {  // whether the pause is there before the end is
      const Pair sockets = pair();
      Recorder recorder;
      Conn* conn = nullptr;
      recorder.on_data = [&](std::string_view) -> Taken {
        if (!before) engine_.pause(conn, reason);
        return {0, 0};
      };
      conn = engine_.attach(sockets.ours, &recorder);
      if (before) engine_.pause(conn, reason);
      send_all(sockets.theirs, "query");
      close(sockets.theirs);
      ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof 0"); })) << int(reason) << before;
      EXPECT_EQ(before ? 0u : 1u, recorder.spans.size());
      engine_.resume(conn, reason);
      turn_some(engine_);
      close_and_wait(engine_, conn, recorder);
      expect_empty(engine_);
    }
  }
}

// Whoever has said its last word while it was not read still gets ours: no RST takes it.
TEST_P(CloseTest, UnreadBytesOfWhoWaitsMakeNoReset) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  engine_.pause(conn, kPauseWaiting);
  send_all(sockets.theirs, "query");
  shutdown(sockets.theirs, SHUT_WR);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof 0"); }));
  write(engine_, conn, "answer");
  close_and_wait(engine_, conn, recorder);
  int error = -1;
  socklen_t size = sizeof error;
  EXPECT_EQ(getsockopt(sockets.theirs, SOL_SOCKET, SO_ERROR, &error, &size), 0);
  EXPECT_EQ(error, 0) << strerror(error);
  EXPECT_EQ("answer", read_available(sockets.theirs));
  expect_empty(engine_);
  close(sockets.theirs);
}

// A server that says why it leaves, while the client it serves is slow: its words come first, after resume.
TEST_P(CloseTest, EndUnderBackpressureWaitsForTheBytes) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  engine_.pause(conn, kPauseBackpressure);
  send_all(sockets.theirs, "FATAL");
  close(sockets.theirs);
  turn_some(engine_);
  EXPECT_TRUE(recorder.events.empty());
  engine_.resume(conn, kPauseBackpressure);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof 0"); }));
  EXPECT_EQ("FATAL", recorder.bytes);
  close_and_wait(engine_, conn, recorder);
  expect_empty(engine_);
}

TEST(Hangup, ResetIsToldInAnyPause) {
  EpollEngine engine;
  const Pair sockets = tcp_pair();
  Recorder recorder;
  Conn* conn = engine.attach(sockets.ours, &recorder);
  engine.pause(conn, kPauseBackpressure);
  const linger hard{1, 0};
  setsockopt(sockets.theirs, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(sockets.theirs);
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.seen("eof"); }));
  EXPECT_EQ("eof " + std::to_string(ECONNRESET), recorder.events.at(0));
  close_and_wait(engine, conn, recorder);
  expect_empty(engine);
}

// A Unix socket whose peer has gone with nothing unread: told in any pause.
TEST(Hangup, NothingUnreadIsToldInAnyPause) {
  EpollEngine engine;
  const Pair sockets = unix_pair();
  Recorder recorder;
  Conn* conn = engine.attach(sockets.ours, &recorder);
  engine.pause(conn, kPauseBackpressure);
  close(sockets.theirs);
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.seen("eof 0"); }));
  close_and_wait(engine, conn, recorder);
  expect_empty(engine);
}

// A peer that only stops reading gives no edge: the failed write alone tells of it.
TEST(Hangup, AWriteThatFailsWithoutAnEdgeIsTold) {
  EpollEngine engine;
  const Pair sockets = unix_pair();
  Recorder recorder;
  Conn* conn = engine.attach(sockets.ours, &recorder);
  shutdown(sockets.theirs, SHUT_RD);
  turn_some(engine);
  EXPECT_TRUE(recorder.events.empty());
  EXPECT_EQ(0u, write(engine, conn, "unread"));
  ASSERT_TRUE(turn_until(engine, [&] { return recorder.seen("eof"); }));
  EXPECT_EQ("eof " + std::to_string(EPIPE), recorder.events.at(0));
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

// The write finds out that the peer has gone; what the peer said before is still delivered, then the end, once.
TEST_P(CloseTest, BrokenWriteIsSwallowedAndTold) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  send_all(sockets.theirs, "last words");
  const linger hard{1, 0};
  setsockopt(sockets.theirs, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(sockets.theirs);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(0u, write(engine_, conn, pattern(50'000)));
    EXPECT_TRUE(recorder.events.empty()) << "a handler call from inside write()";
  }
  EXPECT_EQ(0u, engine_.unsent(conn));
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("eof"); }));
  EXPECT_NE("eof 0", recorder.events.at(0));
  const bool reset_may_take_them = GetParam();  // TCP's
  EXPECT_TRUE(recorder.bytes == "last words" || (reset_may_take_them && recorder.bytes.empty())) << recorder.bytes;
  EXPECT_EQ(0u, write(engine_, conn, "more"));
  turn_some(engine_);
  close_and_wait(engine_, conn, recorder);
  expect_empty(engine_);
}

// ---- close() ----

TEST_P(CloseTest, UnsentBytesFollowTheClose) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  const std::string sent = fill(engine_, conn);
  recorder.close_called = true;
  engine_.close(conn);
  turn_some(engine_);
  EXPECT_FALSE(recorder.seen("closed"));
  std::string got;
  bool ended = false;
  ASSERT_TRUE(turn_until(engine_, [&] {
    got += read_available(sockets.theirs, &ended);
    return ended;
  }));
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(std::vector<std::string>({"closed"}), recorder.events);
  close(sockets.theirs);
  expect_empty(engine_);
}

// The edge that says "there is room" may come in the very batch whose handlers close the connection.
TEST_P(CloseTest, RoomToldInTheSameBatch) {
  const Pair closer = pair();
  const Pair sockets = pair();
  Recorder first;
  Recorder second;
  Conn* closing = nullptr;
  // Attached first and made ready first, so that it is first in the batch.
  Conn* conn = engine_.attach(closer.ours, &first);
  closing = engine_.attach(sockets.ours, &second);
  const std::string sent = fill(engine_, closing, 100'000);
  engine_.run_once(0);
  first.on_data = [&](std::string_view lent) -> Taken {
    second.close_called = true;
    engine_.close(closing);
    return {lent.size(), 0};
  };
  send_all(closer.theirs, "x");
  std::string got = read_available(sockets.theirs);
  ASSERT_GT(engine_.unsent(closing), 0u);
  bool ended = false;
  ASSERT_TRUE(turn_until(engine_, [&] {
    got += read_available(sockets.theirs, &ended);
    return ended;
  }));
  EXPECT_TRUE(got == sent);
  EXPECT_TRUE(second.seen("closed"));
  close_and_wait(engine_, conn, first);
  close(sockets.theirs);
  close(closer.theirs);
  expect_empty(engine_);
}

// Nobody reads the rest: kLingerTime ends it. (The one test that waits.) T28: with TLS the last words wait behind
// that rest, and one peer says its own and goes in the very turn in which the time is over.
TEST(Linger, Ends) {
  EpollEngine engine;
  const Ctx server = server_context(), client = client_context();
  struct Talk {
    Pair sockets = tcp_pair();
    Recorder recorder;
    std::unique_ptr<RawPeer> peer;  // of those with TLS
    Conn* conn = nullptr;
  } plain, stays, leaves;
  const auto hear = [](Talk& talk) {
    const std::string heard = talk.peer->hear(read_available(talk.sockets.theirs));
    send_all(talk.sockets.theirs, talk.peer->say());
    return heard;
  };
  for (Talk* talk : {&plain, &stays, &leaves}) talk->conn = engine.attach(talk->sockets.ours, &talk->recorder);
  for (Talk* talk : {&stays, &leaves}) {
    talk->peer = std::make_unique<RawPeer>(client.get());
    engine.start_tls(talk->conn, TlsSession::accepting(server.get(), false));
    ASSERT_TRUE(turn_until(engine, [&] {
      hear(*talk);
      return talk->recorder.seen("handshake ") && SSL_is_init_finished(talk->peer->ssl);
    }));
    talk->recorder.events.clear();
  }
  std::string promised;
  for (Talk* talk : {&plain, &stays, &leaves}) {
    promised = fill(engine, talk->conn);
    talk->recorder.close_called = true;
    engine.close(talk->conn);
  }
  turn_some(engine);
  const Micros over = monotonic_now() + kLingerTime;
  for (Talk* talk : {&plain, &stays, &leaves}) EXPECT_FALSE(talk->recorder.seen("closed"));
  while (monotonic_now() < over) usleep(10'000);
  SSL_shutdown(leaves.peer->ssl);
  send_all(leaves.sockets.theirs, leaves.peer->say());
  close(leaves.sockets.theirs);
  engine.run_once(0);
  for (Talk* talk : {&plain, &stays, &leaves}) {
    EXPECT_EQ(std::vector<std::string>({"closed"}), talk->recorder.events);
  }
  const std::string heard = hear(stays);
  EXPECT_TRUE(promised.size() > heard.size() && promised.starts_with(heard));
  EXPECT_EQ(0, SSL_get_shutdown(stays.peer->ssl)) << "what was cut off does not look like an end";
  close(plain.sockets.theirs);
  close(stays.sockets.theirs);
  expect_empty(engine);
}

// At the end of the process nobody waits that long.
TEST_P(CloseTest, EndLingering) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  fill(engine_, conn);
  recorder.close_called = true;
  engine_.close(conn);
  turn_some(engine_);
  EXPECT_FALSE(recorder.seen("closed"));
  engine_.end_lingering();
  engine_.run_once(engine_.now());
  EXPECT_TRUE(recorder.seen("closed"));
  close(sockets.theirs);
  expect_empty(engine_);
}

TEST_P(CloseTest, PeerGoesWhileLingering) {
  const Pair sockets = pair();
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  fill(engine_, conn);
  recorder.close_called = true;
  engine_.close(conn);
  turn_some(engine_);
  const linger hard{1, 0};
  setsockopt(sockets.theirs, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(sockets.theirs);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder.seen("closed"); }));
  expect_empty(engine_);
}

// Last words reach a peer that was still sending, also those that the kernel holds while the peer's window is full:
// no reset overtakes them.
TEST_P(CloseTest, LastWordsSurviveUnreadBytes) {
  const Pair sockets = pair();
  const int small = 8 * 1024;
  const int large = 1 << 20;
  setsockopt(sockets.theirs, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  setsockopt(sockets.ours, SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
  Recorder recorder;
  Conn* conn = engine_.attach(sockets.ours, &recorder);
  engine_.pause(conn, kPauseHeld);
  send_all(sockets.theirs, pattern(30'000));
  const std::string sent = pattern(120'000) + "ERROR: too many";
  write(engine_, conn, sent);
  close_and_wait(engine_, conn, recorder);
  std::string got;
  char buffer[10'000];
  ssize_t some = 0;
  while ((some = recv(sockets.theirs, buffer, sizeof buffer, 0)) > 0) got.append(buffer, static_cast<size_t>(some));
  EXPECT_EQ(0, some) << strerror(errno);
  EXPECT_TRUE(got == sent) << got.size();
  close(sockets.theirs);
  expect_empty(engine_);
}

TEST_P(CloseTest, InsideEachHandlerCall) {
  for (const char* where : {"bytes", "eof", "drained"}) {
    const Pair sockets = pair();
    Recorder recorder;
    Conn* conn = nullptr;
    const auto close_now = [&] {
      engine_.close(conn);
      engine_.close(conn);  // a second one means nothing
      engine_.pause(conn, kPauseHeld);
      engine_.resume(conn, kPauseHeld);
      EXPECT_EQ(0u, write(engine_, conn, "swallowed"));
      recorder.close_called = true;
    };
    recorder.on_data = [&](std::string_view lent) -> Taken {
      if (std::string_view(where) == "bytes") close_now();
      return {lent.size() / 2, 1};
    };
    recorder.on_event = [&](const std::string& event) {
      if (event.substr(0, 3) == std::string_view(where).substr(0, 3)) close_now();
    };
    conn = engine_.attach(sockets.ours, &recorder);
    if (std::string_view(where) == "drained") {
      fill(engine_, conn);
    } else {
      send_all(sockets.theirs, "some bytes");
      shutdown(sockets.theirs, SHUT_WR);
    }
    ASSERT_TRUE(turn_until(engine_, [&] {
      read_available(sockets.theirs);
      return recorder.seen("closed");
    })) << where;
    turn_some(engine_);
    close(sockets.theirs);
    expect_empty(engine_);
  }
}

// Two that are ready in one batch close each other: neither hears of its bytes any more.
TEST_P(CloseTest, NoDeliveryAfterAnotherHandlerClosed) {
  for (int i = 0; i < 10; ++i) {
    const Pair one = pair();
    const Pair two = pair();
    Recorder first;
    Recorder second;
    Conn* first_conn = engine_.attach(one.ours, &first);
    Conn* second_conn = engine_.attach(two.ours, &second);
    first.on_data = [&](std::string_view lent) -> Taken {
      second.close_called = true;
      engine_.close(second_conn);
      return {lent.size(), 0};
    };
    second.on_data = [&](std::string_view lent) -> Taken {
      first.close_called = true;
      engine_.close(first_conn);
      return {lent.size(), 0};
    };
    send_all(one.theirs, "1");
    send_all(two.theirs, "2");
    ASSERT_TRUE(turn_until(engine_, [&] { return first.seen("closed") || second.seen("closed"); }));
    EXPECT_EQ(1u, first.bytes.size() + second.bytes.size());
    if (!first.seen("closed")) close_and_wait(engine_, first_conn, first);
    if (!second.seen("closed")) close_and_wait(engine_, second_conn, second);
    close(one.theirs);
    close(two.theirs);
    expect_empty(engine_);
  }
}

// ---- detach() ----

TEST_P(CloseTest, HandOverWithUnreadBytes) {
  EpollEngine other;
  const Pair sockets = pair();
  Recorder first;
  Conn* conn = nullptr;
  first.on_data = [&](std::string_view lent) -> Taken {
    engine_.detach(conn);
    return {lent.size() - 4, 0};
  };
  conn = engine_.attach(sockets.ours, &first);
  send_all(sockets.theirs, "taken left");
  ASSERT_TRUE(turn_until(engine_, [&] { return first.seen("detached"); }));
  EXPECT_EQ("taken ", first.bytes);
  EXPECT_EQ("left", first.detached_bytes);
  EXPECT_EQ(sockets.ours, first.detached_fd);
  expect_empty(engine_);
  send_all(sockets.theirs, "for the other");
  turn_some(engine_);
  Recorder second;
  Conn* moved = other.attach(first.detached_fd, &second);
  ASSERT_TRUE(turn_until(other, [&] { return second.bytes == "for the other"; }));
  EXPECT_EQ(0u, write(other, moved, "answer"));
  EXPECT_EQ("answer", read_available(sockets.theirs));
  // And back again, with nothing unread, after the peer has closed: the end is told anew.
  other.detach(moved);
  ASSERT_TRUE(turn_until(other, [&] { return second.seen("detached"); }));
  EXPECT_EQ("", second.detached_bytes);
  close(sockets.theirs);
  Recorder third;
  conn = engine_.attach(second.detached_fd, &third);
  ASSERT_TRUE(turn_until(engine_, [&] { return third.seen("eof 0"); }));
  close_and_wait(engine_, conn, third);
  expect_empty(engine_);
  expect_empty(other);
}

}  // namespace
}  // namespace berth::net
