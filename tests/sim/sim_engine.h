// The simulated network and the engine that runs the production sessions on it: byte pipes in memory, a clock that
// only the test moves, and every freedom that the contract of net/engine.h leaves to an engine, used at random:
// partial reads and writes, delays, resets, ends that are seen early. It also asserts that the sessions keep their
// side of the contract.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "net/address.h"
#include "net/engine.h"

namespace berth::sim {

// One direction of a connection.
struct Direction {
  std::string bytes;  // sent and not yet read
  bool fin = false;   // nothing follows
};

// A connection between the broker and a peer (a client or a backend).
struct Link {
  Direction to_broker, to_peer;
  bool reset = false;       // either side sees ECONNRESET, what is under way is lost
  bool broker_open = true;  // the broker has not closed its end
  bool peer_open = true;
  bool mute = false;      // the broker has ended it before it could say a word inside of TLS
  size_t window = 65536;  // bytes that fit under way, per direction
  int descriptor = -1;    // the broker's end
  void* owner = nullptr;  // the peer, for whoever dials
};
using LinkPtr = std::shared_ptr<Link>;

// How wild a world's network is.
struct NetProfile {
  size_t chunk_most = 65536;  // a read takes 1..this many bytes
  int idle_percent = 20;      // a connection that could be served in a turn is not
  int partial_percent = 20;   // a write takes only a part at once
  Micros connect_most = 2 * kMillisecond;
};

// What all engines of a world share.
class Network {
 public:
  explicit Network(uint64_t seed) : random(seed) {}
  int descriptor_of(const LinkPtr& link) {
    link->descriptor = next_++;
    links_[link->descriptor] = link;
    return link->descriptor;
  }
  LinkPtr take(int descriptor) {
    auto at = links_.find(descriptor);
    ASSERT(at != links_.end());  // an engine was given a descriptor that is not open
    LinkPtr link = at->second;
    links_.erase(at);
    return link;
  }
  size_t adrift() const { return links_.size(); }  // descriptors that no engine owns

  // A connect: the link, or null with an errno. Set by the world.
  std::function<LinkPtr(const net::Address&, int& error)> dial;
  Random random;
  Micros now = kSecond;
  NetProfile profile;

 private:
  std::map<int, LinkPtr> links_;
  int next_ = 1000000;  // far from real descriptors: whoever uses one as such gets EBADF
};

class SimEngine;
struct SimConn;

// What the engine tells of each call of a handler: before and after it.
class Observer {
 public:
  virtual void before(net::Handler* handler, const char* event, std::string_view bytes) = 0;
  virtual void after() = 0;

 protected:
  ~Observer() = default;
};

class SimEngine final : public net::Engine {
 public:
  SimEngine(Network& network, Observer* observer)
      : network_(network), random_(network.random.next()), observer_(observer) {}
  ~SimEngine() override;

  void listen(int, int, net::AcceptHandler*) override {}
  void unlisten(int) override {}
  net::Conn* attach(int fd, net::Handler* handler) override;
  net::Conn* connect(const net::Address& address, net::Handler* handler) override;
  void start_tls(net::Conn* conn, std::unique_ptr<net::TlsSession> tls) override;
  const net::TlsSession* tls(const net::Conn* conn) const override;
  size_t write(net::Conn* conn, std::span<const iovec> spans) override;
  size_t unsent(const net::Conn* conn) const override;
  void pause(net::Conn* conn, net::PauseReason reason) override;
  void resume(net::Conn* conn, net::PauseReason reason) override;
  uint8_t paused(const net::Conn* conn) const override;
  void close(net::Conn* conn) override;
  void detach(net::Conn* conn) override;
  int descriptor(const net::Conn*) const override {
    return -1;
  }  // whoever asks the system for a peer's address gets none
  void run_once(Micros deadline) override;
  void wake() override {}
  Micros now() const override { return now_; }

  size_t open() const { return conns_.size(); }
  // Whether the last turn called any handler.
  bool busy() const { return busy_; }

 private:
  struct Post {
    SimConn* conn;
    enum class Kind { kResumed, kClose, kDetach, kBroken, kShake } kind;
  };
  template <typename F>
  void call(SimConn* conn, const char* event, F&& f, std::string_view bytes = {});
  void serve(SimConn* conn);
  void serve_connecting(SimConn* conn);
  void serve_writing(SimConn* conn);
  void serve_reading(SimConn* conn);
  void serve_lingering(SimConn* conn);
  void deliver(SimConn* conn);
  void shake(SimConn* conn);
  bool decrypt(SimConn* conn, std::string_view cipher);
  size_t put(SimConn* conn, std::string_view bytes);
  void tell_eof(SimConn* conn, int error);
  void perform(const Post& post);
  void forget(SimConn* conn);
  size_t push(SimConn* conn, std::string_view bytes);
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }

  Network& network_;
  Random random_;
  Observer* observer_;
  Micros now_ = kSecond;
  std::vector<SimConn*> conns_;
  std::deque<Post> posts_;
  bool in_handler_ = false, in_turn_ = false, busy_ = false;
};

}  // namespace berth::sim
