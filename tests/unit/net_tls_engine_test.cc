// Goal: to a handler a connection with TLS is one without: the same bytes in the same order, the same needs, pauses,
// backpressure and ends; and nothing that came in clear words passes for what was encrypted. Method: the engine on
// one end of a socket pair, OpenSSL alone on the other.
#include "net/tls_session.h"

#include <set>

#include "unit/net_support.h"
#include "unit/tls_support.h"

namespace berth::net {
namespace {

class TlsEngine : public testing::Test {
 protected:
  ~TlsEngine() override {
    if (sockets_.theirs >= 0) ::close(sockets_.theirs);
    expect_empty(engine_);
  }

  // What the engine has sent goes to the peer, what the peer says goes to the engine.
  void carry() {
    got_ += peer_.hear(read_available(sockets_.theirs));
    to_send_ += peer_.say();
    const ssize_t sent = send(sockets_.theirs, to_send_.data(), to_send_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) to_send_.erase(0, static_cast<size_t>(sent));
  }
  bool turn(const std::function<bool()>& done) {
    return turn_until(engine_, [&] {
      carry();
      return done();
    });
  }
  void start(bool direct = false) {
    conn_ = engine_.attach(sockets_.ours, &recorder_);
    auto session = TlsSession::accepting(server_.get(), false);
    if (direct) {
      recorder_.on_data = [this](std::string_view) {
        engine_.start_tls(conn_, TlsSession::accepting(server_.get(), true));
        recorder_.on_data = nullptr;
        return Taken{0, 0};
      };
    } else {
      engine_.start_tls(conn_, std::move(session));
    }
    ASSERT_TRUE(turn([&] { return recorder_.seen("handshake"); }));
    EXPECT_TRUE(recorder_.seen("handshake ")) << recorder_.events.back();
    EXPECT_EQ("", recorder_.bytes);
    recorder_.spans.clear();
  }
  void end() { close_and_wait(engine_, conn_, recorder_); }
  void say(std::string_view plain) {
    while (!plain.empty()) {
      peer_.write(plain.substr(0, 8000));
      plain.remove_prefix(std::min<size_t>(plain.size(), 8000));
    }
  }

  EpollEngine engine_;
  Pair sockets_ = unix_pair();
  Ctx server_ = server_context(), client_ = client_context();
  RawPeer peer_{client_.get()};
  Recorder recorder_;
  Conn* conn_ = nullptr;
  std::string got_, to_send_;
};

TEST_F(TlsEngine, BothWays) {
  start();
  EXPECT_EQ("postgresql", engine_.tls(conn_)->alpn());
  say("select 1");
  ASSERT_TRUE(turn([&] { return recorder_.bytes == "select 1"; }));
  EXPECT_EQ(0u, write(engine_, conn_, "answer"));
  ASSERT_TRUE(turn([&] { return got_ == "answer"; }));
  end();
}

// The ClientHello has been lent as plain bytes: it is left, and becomes the beginning of the handshake.
TEST_F(TlsEngine, Direct) {
  start(true);
  say("startup");
  ASSERT_TRUE(turn([&] { return recorder_.bytes == "startup"; }));
  end();
}

// Megabytes each way, with a window that is full most of the time, and messages that are asked for whole.
TEST_F(TlsEngine, NeedsAndBackpressure) {
  start();
  const std::string in = pattern(3'000'000), out = pattern(2'000'000, 7);
  recorder_.on_data = [&](std::string_view bytes) {
    const size_t whole = bytes.size() / 100'003 * 100'003;
    return Taken{whole, 100'003};
  };
  EXPECT_GT(write(engine_, conn_, out), 0u) << "the socket takes less at once";
  size_t said = 0;
  ASSERT_TRUE(turn([&] {
    if (said < in.size() && to_send_.empty()) say(std::string_view(in).substr(said, 64'000));
    if (to_send_.empty()) said += 64'000;
    return got_.size() == out.size() && recorder_.bytes.size() >= in.size() / 100'003 * 100'003;
  }));
  EXPECT_EQ(out, got_);
  EXPECT_TRUE(in.starts_with(recorder_.bytes));
  EXPECT_TRUE(recorder_.seen("drained"));
  for (size_t i = 1; i < recorder_.spans.size(); ++i) EXPECT_GE(recorder_.spans[i].size(), 100'003u);
  end();
}

// The block of a long message grows until the whole of it has room, and what may be decrypted behind its last bytes:
// the last ones copy it no more, and of the longest message it is no larger than a block may be.
TEST_F(TlsEngine, TheEndOfALongMessageNeedsNoMoreRoom) {
  start();
  constexpr size_t kWhole = 1'000'003;
  const std::string in = pattern(kWhole + 100);
  recorder_.on_data = [&](std::string_view bytes) {
    return bytes.size() < kWhole ? Taken{0, kWhole} : Taken{bytes.size(), 0};
  };
  size_t said = 0;
  std::set<size_t> sizes;
  ASSERT_TRUE(turn([&] {
    if (to_send_.empty() && said < in.size()) {
      say(std::string_view(in).substr(said, 5'000));
      said += 5'000;
    }
    sizes.insert(engine_.memory().block_bytes);
    return recorder_.bytes.size() >= kWhole;
  }));
  EXPECT_TRUE(in.starts_with(recorder_.bytes));
  sizes.erase(0);
  for (size_t size = BlockPool::kSmall; size < kWhole; size *= 2) sizes.erase(size);
  EXPECT_EQ(sizes, std::set<size_t>{kWhole + kTlsReceiveMin}) << "grown once to its size, by nothing after that";
  end();
}

TEST_F(TlsEngine, PauseHoldsBytesBack) {
  start();
  recorder_.on_data = [&](std::string_view bytes) {
    engine_.pause(conn_, kPauseHeld);
    return Taken{std::min<size_t>(bytes.size(), 3), 0};
  };
  say("abcdefgh");
  ASSERT_TRUE(turn([&] { return recorder_.bytes == "abc"; }));
  say("ijk");
  carry();
  turn_some(engine_);
  EXPECT_EQ("abc", recorder_.bytes);
  recorder_.on_data = nullptr;
  engine_.resume(conn_, kPauseHeld);
  ASSERT_TRUE(turn([&] { return recorder_.bytes == "abcdefghijk"; }));
  end();
}

// What on_handshake pauses is not lost.
TEST_F(TlsEngine, PausedByTheHandshake) {
  recorder_.on_event = [&](const std::string& event) {
    if (event == "handshake ") engine_.pause(conn_, kPauseLogin);
  };
  conn_ = engine_.attach(sockets_.ours, &recorder_);
  engine_.start_tls(conn_, TlsSession::accepting(server_.get(), false));
  peer_.hear({});
  send_all(sockets_.theirs, peer_.say());
  ASSERT_TRUE(turn_until(engine_, [&] {
    peer_.hear(read_available(sockets_.theirs));
    return SSL_is_init_finished(peer_.ssl) == 1;
  }));
  say("at once");  // in one piece with the last of the handshake
  send_all(sockets_.theirs, peer_.say());
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.seen("handshake "); }));
  turn_some(engine_);
  EXPECT_EQ("", recorder_.bytes);
  engine_.resume(conn_, kPauseLogin);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.bytes == "at once"; }));
  end();
}

// T4: a startup packet behind the request for TLS is a broken handshake and nothing else.
TEST_F(TlsEngine, ClearWordsAreNoHandshake) {
  conn_ = engine_.attach(sockets_.ours, &recorder_);
  engine_.start_tls(conn_, TlsSession::accepting(server_.get(), false));
  send_all(sockets_.theirs, std::string("\0\0\0\x13\0\3\0\0user\0anna\0\0", 19));
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.seen("handshake"); }));
  EXPECT_EQ(std::vector<std::string>{"handshake wrong version number"}, recorder_.events);
  EXPECT_EQ("", recorder_.bytes);
  EXPECT_EQ(0u, write(engine_, conn_, "FATAL")) << "swallowed: there is no way to say it";
  turn_some(engine_);
  EXPECT_EQ(1u, recorder_.events.size()) << "nothing follows";
  end();
  bool ended = false;
  const std::string told = read_available(sockets_.theirs, &ended);
  EXPECT_EQ("", told) << "not even an alert: it would mean nothing to whoever speaks no TLS";
  EXPECT_TRUE(ended);
}

TEST_F(TlsEngine, NothingIsWrittenBeforeTheEndOfTheHandshake) {
  conn_ = engine_.attach(sockets_.ours, &recorder_);
  engine_.start_tls(conn_, TlsSession::accepting(server_.get(), false));
  EXPECT_EQ(0u, write(engine_, conn_, "secret"));
  turn_some(engine_);
  end();
  EXPECT_EQ("", read_available(sockets_.theirs)) << "neither that nor a close_notify";
}

TEST_F(TlsEngine, LeftInTheHandshake) {
  conn_ = engine_.attach(sockets_.ours, &recorder_);
  engine_.start_tls(conn_, TlsSession::accepting(server_.get(), false));
  send_all(sockets_.theirs, "\x16\x03\x01");
  turn_some(engine_);
  ::close(std::exchange(sockets_.theirs, -1));
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.seen("eof"); }));
  end();
}

// The end comes behind the bytes, once; and when the connection is paused, by the rules of any hang-up.
TEST_F(TlsEngine, CloseNotifyIsTheEnd) {
  start();
  say("last words");
  SSL_shutdown(peer_.ssl);
  ASSERT_TRUE(turn([&] { return recorder_.seen("eof 0"); }));
  EXPECT_EQ("last words", recorder_.bytes);
  end();
}

TEST_F(TlsEngine, CloseNotifyWhilePaused) {
  start();
  recorder_.on_data = [&](std::string_view) {
    engine_.pause(conn_, kPauseBackpressure);
    return Taken{0, 0};
  };
  say("last words");
  SSL_shutdown(peer_.ssl);
  ASSERT_TRUE(turn([&] { return !recorder_.spans.empty(); }));
  turn_some(engine_);
  EXPECT_FALSE(recorder_.seen("eof")) << "the bytes come first";
  recorder_.on_data = nullptr;
  engine_.resume(conn_, kPauseBackpressure);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.seen("eof 0"); }));
  EXPECT_EQ("last words", recorder_.bytes);
  end();
}

TEST_F(TlsEngine, AChangedRecordIsTheEnd) {
  start();
  say("good");
  say("bad");
  std::string cipher = peer_.say();
  cipher.back() ^= 1;
  send_all(sockets_.theirs, cipher);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.seen("eof"); }));
  EXPECT_TRUE(recorder_.seen("eof " + std::to_string(EPROTO)));
  EXPECT_EQ("good", recorder_.bytes);
  EXPECT_EQ(0u, write(engine_, conn_, "who hears?"));
  end();
}

// close() says close_notify behind everything that was written, also when much of it is unsent.
TEST_F(TlsEngine, CloseSaysGoodbye) {
  start();
  const std::string out = pattern(1'000'000);
  EXPECT_GT(write(engine_, conn_, out), 0u);
  recorder_.close_called = true;
  engine_.close(conn_);
  ASSERT_TRUE(turn([&] { return recorder_.seen("closed"); }));
  carry();
  EXPECT_EQ(out, got_);
  EXPECT_EQ(SSL_RECEIVED_SHUTDOWN, SSL_get_shutdown(peer_.ssl));
}

// T28: the last words wait behind bytes that nobody reads when somebody's timer says that this is the end of all
// waiting, and the peer goes in the same turn, before that or after it. It is told once, and the record is gone once.
TEST_F(TlsEngine, TheEndOfLingeringMeetsTheirs) {
  for (const bool timer_first : {true, false}) {
    const Pair other = unix_pair();
    Recorder timer;
    Conn* const conn = engine_.attach(other.ours, &timer);
    timer.on_data = [&](std::string_view lent) {
      engine_.end_lingering();
      return Taken{lent.size(), 0};
    };
    const auto expire = [&] { send_all(other.theirs, "x"); };
    const Pair sockets = unix_pair();
    RawPeer peer(client_.get());
    Recorder recorder;
    Conn* const closing = engine_.attach(sockets.ours, &recorder);
    engine_.start_tls(closing, TlsSession::accepting(server_.get(), false));
    ASSERT_TRUE(turn_until(engine_, [&] {
      peer.hear(read_available(sockets.theirs));
      send_all(sockets.theirs, peer.say());
      return recorder.seen("handshake ");
    }));
    EXPECT_GT(write(engine_, closing, pattern(1'000'000)), 0u);
    recorder.close_called = true;
    engine_.close(closing);
    turn_some(engine_);
    EXPECT_FALSE(recorder.seen("closed"));
    if (timer_first) expire();
    SSL_shutdown(peer.ssl);
    send_all(sockets.theirs, peer.say());
    ::close(sockets.theirs);
    if (!timer_first) expire();
    engine_.run_once(0);
    EXPECT_EQ(std::vector<std::string>({"handshake ", "closed"}), recorder.events) << timer_first;
    close_and_wait(engine_, conn, timer);
    ::close(other.theirs);
  }
  ::close(sockets_.ours);  // of the fixture, that nobody took
}

// From one engine to another, with half a record inside.
TEST_F(TlsEngine, TravelsWithItsSession) {
  start();
  say("one");
  say("two");
  const std::string cipher = peer_.say();
  send_all(sockets_.theirs, cipher.substr(0, cipher.size() - 5));
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.bytes == "one"; }));
  engine_.detach(conn_);
  ASSERT_TRUE(turn_until(engine_, [&] { return recorder_.seen("detached"); }));
  ASSERT_TRUE(recorder_.detached_tls);
  EpollEngine other;
  Recorder next;
  Conn* conn = other.attach(recorder_.detached_fd, &next);
  other.start_tls(conn, std::move(recorder_.detached_tls));
  send_all(sockets_.theirs, cipher.substr(cipher.size() - 5));
  ASSERT_TRUE(turn_until(other, [&] { return next.bytes == "two"; }));
  EXPECT_TRUE(next.events.empty()) << "no second handshake";
  write(other, conn, "three");
  ASSERT_TRUE(turn_until(other, [&] {
    carry();
    return got_ == "three";
  }));
  close_and_wait(other, conn, next);
  expect_empty(other);
}

// A session that came to its end before it travelled: the next engine tells so, once.
TEST_F(TlsEngine, TravelsAfterItsEnd) {
  for (const bool failed : {false, true}) {
    RawPeer peer(client_.get());
    auto session = TlsSession::accepting(server_.get(), false);
    std::string plain, out;
    peer.hear({});
    while (session->state() == TlsSession::State::kHandshake) {
      feed(*session, peer.say(), plain, out);
      peer.hear(std::exchange(out, {}));
    }
    if (failed) {
      feed(*session, "no record at all", plain, out);
    } else {
      SSL_shutdown(peer.ssl);
      feed(*session, peer.say(), plain, out);
    }
    ASSERT_EQ(failed ? TlsSession::State::kFailed : TlsSession::State::kEnded, session->state());
    const Pair sockets = unix_pair();
    Recorder next;
    Conn* conn = engine_.attach(sockets.ours, &next);
    engine_.start_tls(conn, std::move(session));
    ASSERT_TRUE(turn_until(engine_, [&] { return next.seen("eof"); }));
    turn_some(engine_);
    EXPECT_EQ(std::vector<std::string>{"eof " + std::to_string(failed ? EPROTO : 0)}, next.events);
    close_and_wait(engine_, conn, next);
    ::close(sockets.theirs);
  }
  ::close(sockets_.ours);  // of the fixture, that nobody took
}

// The side that connects, against a peer that accepts.
TEST_F(TlsEngine, Connecting) {
  Ctx accepting(SSL_CTX_new(TLS_server_method()));
  show(accepting.get(), test_server());
  RawPeer server(accepting.get(), true);
  conn_ = engine_.attach(sockets_.ours, &recorder_);
  engine_.start_tls(conn_, TlsSession::connecting(client_.get()));
  std::string heard;
  ASSERT_TRUE(turn_until(engine_, [&] {
    heard += server.hear(read_available(sockets_.theirs));
    send_all(sockets_.theirs, server.say());
    return recorder_.seen("handshake ");
  }));
  write(engine_, conn_, "startup");
  ASSERT_TRUE(turn_until(engine_, [&] {
    heard += server.hear(read_available(sockets_.theirs));
    return heard == "startup";
  }));
  end();
}

}  // namespace
}  // namespace berth::net
