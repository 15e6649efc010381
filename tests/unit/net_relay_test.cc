// Goal: bytes pass through in constant memory, whatever a peer does, and a message that nothing holds up costs one
// recv and one send and no allocation. Method: the smallest relay there can be (two connections, backpressure as the
// sessions do it) under slow, stopping and chatty peers; allocations counted by a replaced operator new and by the
// block pool.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "unit/net_support.h"

namespace {
std::atomic<size_t> allocations{0};
}
// Not inlined, or GCC would see free() meet a pointer of operator new and warn.
[[gnu::noinline]] void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace berth::net {
namespace {

// One side of a relay: what it reads goes to the other side, and it rests while that one has unsent bytes.
struct Side final : Handler {
  EpollEngine* engine = nullptr;
  Conn* conn = nullptr;
  Side* other = nullptr;
  size_t passed = 0;
  size_t unsent_max = 0;
  bool gone = false;
  void on_connected(int) override {}
  Taken on_bytes(std::string_view bytes) override {
    passed += bytes.size();
    const size_t unsent = write(*engine, other->conn, bytes);
    unsent_max = std::max(unsent_max, unsent);
    if (unsent > 0) engine->pause(conn, kPauseBackpressure);
    return {bytes.size(), 0};
  }
  void on_drained() override { engine->resume(other->conn, kPauseBackpressure); }
  void on_eof(int) override {
    engine->close(conn);
    if (!other->gone) engine->close(other->conn);
  }
  void on_closed() override { gone = true; }
  void on_detached(int, std::string_view, std::unique_ptr<TlsSession>) override {}
};

struct Relay {
  explicit Relay(bool tcp) {
    const Pair left = tcp ? tcp_pair() : unix_pair();
    const Pair right = tcp ? tcp_pair() : unix_pair();
    near = left.theirs;
    far = right.theirs;
    for (int fd : {near, far}) fcntl(fd, F_SETFL, O_NONBLOCK);
    // Small buffers in the kernel, so that little is under way and backpressure is the rule.
    const int small = 128 * 1024;
    setsockopt(far, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(right.ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    a.engine = b.engine = &engine;
    a.other = &b;
    b.other = &a;
    a.conn = engine.attach(left.ours, &a);
    b.conn = engine.attach(right.ours, &b);
  }
  void finish() {
    ::close(near);
    EXPECT_TRUE(turn_until(engine, [&] { return a.gone && b.gone; }));
    ::close(far);
    expect_empty(engine);
  }
  EpollEngine engine;
  Side a;
  Side b;
  int near = -1;
  int far = -1;
};

class RelayTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Sockets, RelayTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "tcp" : "unix"; });

// Turns without waiting until `done`; `step` says whether anything moved. False when nothing has for long.
bool spin_until(EpollEngine& engine, const std::function<bool()>& done, const std::function<bool()>& step) {
  Micros give_up = monotonic_now() + kGiveUp;
  while (!done()) {
    if (step()) give_up = monotonic_now() + kGiveUp;
    if (monotonic_now() > give_up) return false;
    engine.run_once(0);
  }
  return true;
}

// A peer that writes `total` bytes of a repeated pattern, as fast as it may.
struct Sender {
  Sender(int fd, size_t total, uint32_t seed) : fd(fd), total(total), block(pattern(1'000'003, seed)) {}
  int fd;
  size_t total;
  std::string block;
  size_t sent = 0;
  bool push() {
    const size_t at = sent % block.size();
    const size_t some = std::min(block.size() - at, total - sent);
    const ssize_t result = some ? send(fd, block.data() + at, some, MSG_NOSIGNAL) : -1;
    if (result > 0) sent += static_cast<size_t>(result);
    return result > 0;
  }
};

// A peer that reads and compares with what the sender's pattern says.
struct Receiver {
  Receiver(int fd, const Sender& sender) : fd(fd), sender(sender), buffer(300'000, '\0') {}
  int fd;
  const Sender& sender;
  std::string buffer;
  size_t got = 0;
  bool right = true;
  bool done() const { return got == sender.total; }
  bool pull() {
    const ssize_t result = recv(fd, buffer.data(), buffer.size(), 0);
    if (result <= 0) return false;
    for (size_t at = 0; at < static_cast<size_t>(result);) {
      const size_t from = (got + at) % sender.block.size();
      const size_t some = std::min(sender.block.size() - from, static_cast<size_t>(result) - at);
      right = right && sender.block.compare(from, some, buffer, at, some) == 0;
      at += some;
    }
    got += static_cast<size_t>(result);
    return true;
  }
};

// 100 MB to a peer that stops reading until the sender is stuck, and then reads all there is, again and again:
// nothing is lost or changed, and the relay never holds more than one receive buffer.
TEST_P(RelayTest, HundredMegabytesToAPeerThatStops) {
  Relay relay(GetParam());
  Sender sender(relay.near, 100'000'000, 1);
  Receiver receiver(relay.far, sender);
  int quiet = 0;
  ASSERT_TRUE(spin_until(
      relay.engine, [&] { return receiver.done(); },
      [&] {
        quiet = sender.push() ? 0 : quiet + 1;
        if (quiet < 4) return false;
        bool moved = false;
        while (receiver.pull()) moved = true;
        return moved;
      }))
      << sender.sent << " " << receiver.got;
  EXPECT_TRUE(receiver.right);
  EXPECT_GT(relay.a.unsent_max, 0u) << "backpressure was never needed: the test tests nothing";
  EXPECT_LE(relay.a.unsent_max, EpollEngine::kReceiveSize);
  relay.finish();
}

// Both peers write, and neither reads before it is stuck (failure class 44): nobody waits for the other for ever.
TEST_P(RelayTest, BothDirectionsAtOnce) {
  Relay relay(GetParam());
  Sender there(relay.near, 3'000'000, 1);
  Sender back(relay.far, 3'000'000, 2);
  Receiver far(relay.far, there);
  Receiver near(relay.near, back);
  int quiet = 0;
  ASSERT_TRUE(spin_until(
      relay.engine, [&] { return far.done() && near.done(); },
      [&] {
        const bool there_moved = there.push();
        const bool moved = back.push() || there_moved;
        quiet = moved ? 0 : quiet + 1;
        if (quiet < 4) return moved;
        const bool far_moved = far.pull();
        return near.pull() || far_moved;
      }));
  EXPECT_TRUE(far.right && near.right);
  relay.finish();
}

TEST_P(RelayTest, SteadyStateAllocatesNothing) {
  Relay relay(GetParam());
  Sender sender(relay.near, 0, 1);
  Receiver receiver(relay.far, sender);
  const auto round = [&](size_t size) {
    sender.total += size;
    int quiet = 0;
    while (!receiver.done()) {
      quiet = sender.push() ? 0 : quiet + 1;
      relay.engine.run_once(0);
      if (quiet >= 4 || size < 1000) receiver.pull();
    }
  };
  for (int i = 0; i < 3; ++i) round(1 << 20);  // the pools fill
  round(50);
  const size_t news = allocations.load();
  const size_t blocks = relay.engine.memory().block_allocations;
  for (int i = 0; i < 200; ++i) round(50);
  for (int i = 0; i < 20; ++i) round(1 << 20);
  EXPECT_EQ(news, allocations.load());
  EXPECT_EQ(blocks, relay.engine.memory().block_allocations);
  EXPECT_GT(relay.a.unsent_max, 0u) << "no block was used: the test tests nothing";
  EXPECT_TRUE(receiver.right);
  relay.finish();
}

// Spans of one message are sent by one call where they can be, in order where they cannot.
TEST_P(RelayTest, ManySpansInOrder) {
  for (size_t span_size : {size_t{0}, size_t{1}, size_t{5000}}) {
    EpollEngine engine;
    const Pair sockets = GetParam() ? tcp_pair() : unix_pair();
    Recorder recorder;
    Conn* conn = engine.attach(sockets.ours, &recorder);
    std::string bytes = pattern(span_size * 200 + 3);
    std::vector<iovec> spans;
    for (int i = 0; i < 200; ++i) spans.push_back({bytes.data() + i * span_size, span_size});
    spans.push_back({bytes.data() + 200 * span_size, 3});
    const size_t unsent = engine.write(conn, spans);
    const std::string early = read_available(sockets.theirs);
    if (unsent > 0) {
      write(engine, conn, "behind");
      bytes += "behind";
    }
    std::string got = early;
    ASSERT_TRUE(turn_until(engine, [&] {
      got += read_available(sockets.theirs);
      return got.size() == bytes.size() && recorder.seen("drained") == (unsent > 0);
    })) << span_size;
    EXPECT_TRUE(got == bytes);
    close_and_wait(engine, conn, recorder);
    close(sockets.theirs);
    expect_empty(engine);
  }
}

// Writing nothing is nothing.
TEST_P(RelayTest, EmptyWrites) {
  EpollEngine engine;
  const Pair sockets = GetParam() ? tcp_pair() : unix_pair();
  Recorder recorder;
  Conn* conn = engine.attach(sockets.ours, &recorder);
  EXPECT_EQ(0u, engine.write(conn, {}));
  EXPECT_EQ(0u, write(engine, conn, ""));
  turn_some(engine);
  EXPECT_TRUE(recorder.events.empty());
  close_and_wait(engine, conn, recorder);
  close(sockets.theirs);
  expect_empty(engine);
}

}  // namespace
}  // namespace berth::net
