// What the engine's tests share: sockets that are small or local, a handler that writes down everything it is told,
// and turning an engine until something is true.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/epoll_engine.h"

namespace berth::net {

// How long a test waits before it gives up: no test expects anything to be fast.
inline constexpr Micros kGiveUp = 20 * kSecond;

struct Pair {
  int ours = -1;    // for the engine
  int theirs = -1;  // for the test; blocking
};

inline Pair unix_pair() {
  int fds[2];
  EXPECT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
  return {fds[0], fds[1]};
}

// A listening TCP socket on a free loopback port.
inline int tcp_listener(int backlog = 128) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const Address address = parse_ip("127.0.0.1", 0).value();
  EXPECT_EQ(0, bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size));
  EXPECT_EQ(0, ::listen(fd, backlog));
  return fd;
}

inline int tcp_dial(const Address& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(0, connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size));
  return fd;
}

inline Pair tcp_pair() {
  const int listener = tcp_listener();
  const int theirs = tcp_dial(local_address(listener));
  const int ours = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  EXPECT_GE(ours, 0);
  close(listener);
  return {ours, theirs};
}

inline void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(sent, 0) << errno;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

// What is there to read now, without waiting; `ended` says whether the end was seen.
inline std::string read_available(int fd, bool* ended = nullptr) {
  std::string all;
  char buffer[65536];
  for (;;) {
    const ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (ended) *ended = got == 0 || (got < 0 && errno != EAGAIN);
    if (got <= 0) return all;
    all.append(buffer, static_cast<size_t>(got));
  }
}

// `size` bytes that do not repeat in any power-of-two distance, so that a swapped or stale block shows.
inline std::string pattern(size_t size, uint32_t seed = 1) {
  std::string bytes(size, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

// Consumes everything, unless `on_data` says otherwise, and notes every call. Any call after on_closed or
// on_detached, a call after close(), and a second on_eof fail the test.
struct Recorder final : Handler {
  std::string bytes;                // consumed so far
  std::vector<std::string> spans;   // each span as it was lent
  std::vector<std::string> events;  // "connected 0", "eof 0", "drained", "closed", "detached"
  std::function<Taken(std::string_view)> on_data;
  std::function<void(const std::string&)> on_event;  // after each of `events`
  int detached_fd = -1;
  std::string detached_bytes;
  std::unique_ptr<TlsSession> detached_tls;
  bool close_called = false;  // set by the test: from now on, only on_closed may come

  bool seen(std::string_view event) const {
    for (const std::string& one : events) {
      if (one.substr(0, event.size()) == event) return true;
    }
    return false;
  }
  bool finished() const { return seen("closed") || seen("detached"); }

  void on_connected(int error) override { note("connected " + std::to_string(error)); }
  Taken on_bytes(std::string_view lent) override {
    EXPECT_FALSE(close_called || finished()) << "bytes after close";
    EXPECT_FALSE(seen("eof")) << "bytes after the end";
    spans.emplace_back(lent);
    const Taken taken = on_data ? on_data(lent) : Taken{lent.size(), 0};
    bytes.append(lent.substr(0, taken.consumed));
    return taken;
  }
  void on_eof(int error) override {
    EXPECT_FALSE(seen("eof")) << "a second end";
    note("eof " + std::to_string(error));
  }
  void on_drained() override { note("drained"); }
  void on_handshake(std::string_view error) override { note("handshake " + std::string(error)); }
  void on_closed() override {
    close_called = false;
    note("closed");
  }
  void on_detached(int fd, std::string_view unread, std::unique_ptr<TlsSession> session) override {
    detached_tls = std::move(session);
    detached_fd = fd;
    detached_bytes = unread;
    note("detached");
  }

 private:
  void note(const std::string& event) {
    EXPECT_FALSE(close_called) << event << " after close()";
    EXPECT_FALSE(finished()) << event << " after the record had gone";
    events.push_back(event);
    if (on_event) on_event(event);
  }
};

// Turns until `done`; false when it gave up.
inline bool turn_until(EpollEngine& engine, const std::function<bool()>& done) {
  const Micros give_up = monotonic_now() + kGiveUp;
  while (!done()) {
    if (monotonic_now() > give_up) return false;
    engine.run_once(std::min(give_up, monotonic_now() + 10 * kMillisecond));
  }
  return true;
}

// A few turns that do not wait: what was caused is done, what comes later has not come.
inline void turn_some(EpollEngine& engine) {
  for (int i = 0; i < 8; ++i) engine.run_once(0);
}

inline void expect_empty(const EpollEngine& engine) {
  EXPECT_EQ(0u, engine.memory().conns);
  EXPECT_EQ(0u, engine.memory().blocks);
  EXPECT_EQ(0u, engine.memory().block_bytes);
}

// Closes and waits for on_closed.
inline void close_and_wait(EpollEngine& engine, Conn* conn, Recorder& recorder) {
  recorder.close_called = true;
  engine.close(conn);
  EXPECT_TRUE(turn_until(engine, [&] { return recorder.seen("closed"); }));
}

}  // namespace berth::net
