// Goal: connecting, accepting, waiting and being woken do what net/engine.h says, also when the system refuses.
// Method: loopback sockets and Unix sockets, a lowered limit of descriptors, a second thread for wake().
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "unit/net_support.h"

namespace berth::net {
namespace {

struct Acceptor final : AcceptHandler {
  std::vector<int> fds;
  std::vector<int> listeners;
  std::vector<Address> peers;
  std::vector<int> errors;
  std::function<void(int)> on_fd;
  ~Acceptor() {
    for (int fd : fds) ::close(fd);
  }
  void on_accepted(int fd, int listener, const Address& peer) override {
    peers.push_back(peer);
    fds.push_back(fd);
    listeners.push_back(listener);
    if (on_fd) on_fd(fd);
  }
  void on_accept_failed(int error, int) override { errors.push_back(error); }
};

// A port of loopback on which nobody listens.
Address closed_port() {
  const int fd = tcp_listener();
  const Address address = local_address(fd);
  close(fd);
  return address;
}

TEST(Connect, TcpBothWays) {
  EpollEngine engine;
  const int listener = tcp_listener();
  Acceptor acceptor;
  engine.listen(listener, 7, &acceptor);
  Recorder client;
  Conn* conn = engine.connect(local_address(listener), &client);
  EXPECT_TRUE(client.events.empty()) << "a handler call from inside connect()";
  ASSERT_TRUE(turn_until(engine, [&] { return client.seen("connected 0") && acceptor.fds.size() == 1; }));
  EXPECT_EQ(7, acceptor.listeners[0]);
  EXPECT_EQ(peer_address(acceptor.fds[0]).text(), acceptor.peers[0].text());
  const int flags = fcntl(acceptor.fds[0], F_GETFL);
  EXPECT_TRUE(flags & O_NONBLOCK);
  EXPECT_TRUE(fcntl(acceptor.fds[0], F_GETFD) & FD_CLOEXEC);
  EXPECT_EQ(peer_address(acceptor.fds[0]).text(), local_address(engine.descriptor(conn)).text());
  Recorder server;
  Conn* other = engine.attach(acceptor.fds[0], &server);
  acceptor.fds.clear();
  EXPECT_EQ(0u, write(engine, conn, "ping"));
  ASSERT_TRUE(turn_until(engine, [&] { return server.bytes == "ping"; }));
  EXPECT_EQ(0u, write(engine, other, "pong"));
  ASSERT_TRUE(turn_until(engine, [&] { return client.bytes == "pong"; }));
  close_and_wait(engine, conn, client);
  ASSERT_TRUE(turn_until(engine, [&] { return server.seen("eof 0"); }));
  close_and_wait(engine, other, server);
  engine.unlisten(listener);
  close(listener);
  expect_empty(engine);
}

// A Unix socket connects at once; bytes, even the end, may be there before the outcome is told, and come after it.
TEST(Connect, UnixAtOnceWithBytesAlreadyThere) {
  char directory[] = "/tmp/berth-net-XXXXXX";
  ASSERT_NE(nullptr, mkdtemp(directory));
  const Address address = unix_address(directory, 5432).value();
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(0, bind(listener, reinterpret_cast<const sockaddr*>(&address.storage), address.size));
  ASSERT_EQ(0, ::listen(listener, 8));
  for (bool paused : {false, true}) {
    EpollEngine engine;
    Recorder client;
    Conn* conn = engine.connect(address, &client);
    if (paused) engine.pause(conn, kPauseBackpressure);
    const int theirs = accept(listener, nullptr, nullptr);
    send_all(theirs, "greeting");
    close(theirs);
    turn_some(engine);
    if (paused) engine.resume(conn, kPauseBackpressure);
    ASSERT_TRUE(turn_until(engine, [&] { return client.seen("eof"); }));
    EXPECT_EQ(std::vector<std::string>({"connected 0", "eof 0"}), client.events);
    EXPECT_EQ("greeting", client.bytes);
    close_and_wait(engine, conn, client);
    expect_empty(engine);
  }
  close(listener);
  EpollEngine engine;
  Recorder refused;
  Conn* conn = engine.connect(address, &refused);  // the file is there, nobody listens
  ASSERT_TRUE(turn_until(engine, [&] { return refused.seen("connected"); }));
  EXPECT_EQ("connected " + std::to_string(ECONNREFUSED), refused.events.at(0));
  close_and_wait(engine, conn, refused);
  expect_empty(engine);
  unlink((std::string(directory) + "/.s.PGSQL.5432").c_str());
  rmdir(directory);
}

TEST(Connect, RefusedIsToldOnceAndWaitsForClose) {
  EpollEngine engine;
  Recorder client;
  Conn* conn = engine.connect(closed_port(), &client);
  ASSERT_TRUE(turn_until(engine, [&] { return client.seen("connected"); }));
  EXPECT_EQ(std::vector<std::string>({"connected " + std::to_string(ECONNREFUSED)}), client.events);
  EXPECT_EQ(0u, write(engine, conn, "swallowed"));
  turn_some(engine);
  EXPECT_EQ(1u, client.events.size());
  EXPECT_EQ(1u, engine.memory().conns);
  close_and_wait(engine, conn, client);
  expect_empty(engine);
}

TEST(Connect, NoDescriptorLeft) {
  EpollEngine engine;
  const Address address = closed_port();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  Recorder client;
  Conn* conn = engine.connect(address, &client);
  setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(turn_until(engine, [&] { return client.seen("connected"); }));
  EXPECT_EQ("connected " + std::to_string(EMFILE), client.events.at(0));
  EXPECT_EQ(-1, engine.descriptor(conn));
  close_and_wait(engine, conn, client);
  expect_empty(engine);
}

// close() at once, after a turn, or from inside on_connected; towards an open port, a closed one, and one that does
// not answer (its queue is full).
TEST(Connect, CloseBeforeDuringAndInsideTheOutcome) {
  const int listener = tcp_listener();
  const int silent = tcp_listener(0);
  const int fill_one = tcp_dial(local_address(silent));
  for (const Address& address : {local_address(listener), closed_port(), local_address(silent)}) {
    for (int when = 0; when < 3; ++when) {
      EpollEngine engine;
      Recorder client;
      Conn* conn = nullptr;
      client.on_event = [&](const std::string& event) {
        if (when != 2 || event.substr(0, 9) != "connected") return;
        client.close_called = true;
        engine.close(conn);
      };
      conn = engine.connect(address, &client);
      if (when == 1) engine.run_once(0);
      if (when < 2) {
        client.close_called = true;
        engine.close(conn);
      } else if (address.port() == local_address(silent).port()) {
        client.close_called = true;
        engine.close(conn);  // nothing will call us
      }
      ASSERT_TRUE(turn_until(engine, [&] { return client.seen("closed"); })) << when;
      expect_empty(engine);
    }
  }
  close(fill_one);
  close(silent);
  close(listener);
}

// ---- accept ----

TEST(Accept, SeveralListenersAndUnlistenFromTheHandler) {
  EpollEngine engine;
  Acceptor acceptor;
  const int one = tcp_listener();
  const int two = tcp_listener();
  engine.listen(one, 1, &acceptor);
  engine.listen(two, 2, &acceptor);
  std::vector<int> dialled;
  for (int i = 0; i < 40; ++i) dialled.push_back(tcp_dial(local_address(i % 2 ? one : two)));
  acceptor.on_fd = [&](int) {
    if (acceptor.listeners.back() == 2) engine.unlisten(two);
  };
  ASSERT_TRUE(
      turn_until(engine, [&] { return std::count(acceptor.listeners.begin(), acceptor.listeners.end(), 1) == 20; }));
  turn_some(engine);
  EXPECT_EQ(1, std::count(acceptor.listeners.begin(), acceptor.listeners.end(), 2));
  engine.listen(two, 3, &acceptor);
  ASSERT_TRUE(turn_until(engine, [&] { return acceptor.fds.size() == 40; }));
  EXPECT_EQ(19, std::count(acceptor.listeners.begin(), acceptor.listeners.end(), 3));
  engine.unlisten(one);
  engine.unlisten(two);
  for (int fd : dialled) close(fd);
  close(one);
  close(two);
}

// Failure class 64: without descriptors the listener is left alone for kAcceptPause instead of spinning, others are
// served meanwhile, and it goes on by itself.
TEST(Accept, OutOfDescriptorsDoesNotSpin) {
  EpollEngine engine;
  Acceptor acceptor;
  const int listener = tcp_listener();
  engine.listen(listener, 0, &acceptor);
  const Pair served = unix_pair();
  Recorder recorder;
  Conn* conn = engine.attach(served.ours, &recorder);
  const int dialled = tcp_dial(local_address(listener));
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  int turns = 0;
  bool asked = false;
  const bool failed_twice = turn_until(engine, [&] {
    ++turns;
    if (acceptor.errors.size() == 1 && !asked) {
      asked = true;
      send_all(served.theirs, "hi");
    }
    return acceptor.errors.size() == 2;
  });
  setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(failed_twice);
  EXPECT_EQ(EMFILE, acceptor.errors[0]);
  EXPECT_EQ("hi", recorder.bytes);
  // In a turn of its own each: the failure, the bytes, the second one; and turn_until's own every 10 ms.
  EXPECT_LE(turns, 3 + kAcceptPause / (10 * kMillisecond) + 2);
  ASSERT_TRUE(turn_until(engine, [&] { return acceptor.fds.size() == 1; }));
  EXPECT_EQ(2u, acceptor.errors.size());
  engine.unlisten(listener);
  close_and_wait(engine, conn, recorder);
  close(dialled);
  close(served.theirs);
  close(listener);
  expect_empty(engine);
}

TEST(Accept, UnlistenWhileOff) {
  EpollEngine engine;
  Acceptor acceptor;
  const int listener = tcp_listener();
  engine.listen(listener, 0, &acceptor);
  const int dialled = tcp_dial(local_address(listener));
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  const bool failed = turn_until(engine, [&] { return acceptor.errors.size() == 1; });
  setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_TRUE(failed);
  engine.unlisten(listener);
  const Micros until = monotonic_now() + 2 * kAcceptPause;
  while (monotonic_now() < until) engine.run_once(until);
  EXPECT_TRUE(acceptor.fds.empty());
  engine.listen(listener, 0, &acceptor);
  ASSERT_TRUE(turn_until(engine, [&] { return acceptor.fds.size() == 1; }));
  engine.unlisten(listener);
  close(dialled);
  close(listener);
}

// ---- waiting ----

TEST(Turn, WakeFromAnotherThreadEndsAnEndlessWait) {
  EpollEngine engine;
  for (int i = 0; i < 100; ++i) {
    std::thread other([&] { engine.wake(); });
    engine.run_once(INT64_MAX);
    other.join();
    engine.run_once(0);  // the wake may have been told before or in the wait above: either way, it is gone now
  }
  engine.wake();
  engine.wake();
  engine.run_once(INT64_MAX);
}

TEST(Turn, DeadlineIsNotCutShort) {
  EpollEngine engine;
  for (Micros wait : {Micros{1}, Micros{700}, 3 * kMillisecond}) {
    const Micros deadline = monotonic_now() + wait;
    engine.run_once(deadline);
    EXPECT_GE(engine.now(), deadline);
  }
  const Micros before = engine.now();
  engine.run_once(before - kSecond);  // long past: does not wait, and does not go back
  EXPECT_GE(engine.now(), before);
}

// ---- addresses ----

TEST(AddressText, RoundTrips) {
  EXPECT_EQ("10.1.2.3:5432", parse_ip("10.1.2.3", 5432).value().text());
  EXPECT_EQ("[2001:db8::1]:6543", parse_ip("2001:db8::1", 6543).value().text());
  EXPECT_EQ("::1", parse_ip("::1", 1).value().host());
  EXPECT_EQ(65535, parse_ip("::1", 65535).value().port());
  for (const char* bad : {"", "localhost", "1.2.3", "1.2.3.4.5", "[::1]", "256.1.1.1", "::g", "1.2.3.4 "}) {
    EXPECT_FALSE(parse_ip(bad, 1).ok()) << bad;
  }
  EXPECT_FALSE(parse_ip(std::string_view("1.2.3.4\0x", 9), 1).ok());
  EXPECT_FALSE(parse_ip("1.2.3.4", -1).ok());
  EXPECT_FALSE(parse_ip("1.2.3.4", 65536).ok());
}

TEST(AddressText, UnixPaths) {
  const Address address = unix_address("/tmp", 5432).value();
  EXPECT_EQ("unix:/tmp/.s.PGSQL.5432", address.text());
  EXPECT_EQ("unix", address.host());
  EXPECT_EQ(0, address.port());
  EXPECT_EQ("unix:@berth/.s.PGSQL.1", unix_address("@berth", 1).value().text());
  const size_t rest = std::string("/.s.PGSQL.5432").size();
  EXPECT_TRUE(unix_address(std::string(107 - rest, 'd'), 5432).ok());
  EXPECT_FALSE(unix_address(std::string(108 - rest, 'd'), 5432).ok());
  const Pair sockets = unix_pair();
  EXPECT_EQ("unix", peer_address(sockets.ours).host());
  EXPECT_EQ("unix:", peer_address(sockets.ours).text());
  close(sockets.ours);
  close(sockets.theirs);
  EXPECT_FALSE(peer_address(-1).valid());
}

}  // namespace
}  // namespace berth::net
