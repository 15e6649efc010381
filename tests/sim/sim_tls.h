// TLS in a simulated world. The inhabitants speak and hear plain bytes on a link of their own; a tunnel between that
// and the wire asks for TLS, shakes hands and encrypts, in pieces of any size, as libpq and PostgreSQL do. Some
// servers decline, lie or break off, and intruders try what must not help them. What is checked here: nothing goes in
// clear words that TLS was demanded for, no secured session's cancel request does, what was said before TLS is
// nobody's.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "net/tls_context.h"
#include "sim/sim_engine.h"
#include "sim/tls_keys.h"

namespace berth::session {
struct Globals;
}

namespace berth::sim {

class World;
class SimTls;

// Between a wire and the plain link of the peer that has its far end.
class Tunnel {
 public:
  Tunnel(SimTls& tls, LinkPtr wire, LinkPtr plain) : wire_(std::move(wire)), plain_(std::move(plain)), tls_(tls) {}
  virtual ~Tunnel() = default;
  void step();
  // That the broker has closed its end is seen at once.
  void see_broker() { plain_->broker_open = wire_->broker_open; }
  // Both ends know that it is over.
  bool over() const { return over_; }
  bool secured() const { return peer_ && peer_->open(); }
  const Link* plain() const { return plain_.get(); }

 protected:
  // What has come from the broker; all of it is taken.
  virtual void on_wire(std::string_view bytes) = 0;
  // What it has said inside of TLS, or in clear words where that is agreed on.
  virtual void deliver(std::string_view bytes);
  virtual void on_failed() = 0;
  // What is about to be sent; it may be spoiled here.
  virtual void spoil() {}
  void hear(std::string_view cipher);
  void cut(bool reset);

  LinkPtr wire_, plain_;
  SimTls& tls_;
  std::unique_ptr<TlsPeer> peer_;  // once the handshake has begun
  std::string out_;                // on its way to the broker
  bool clear_ = false;             // they go on without TLS
  bool delivered_ = false;         // something

 private:
  void take_plain();
  void push();
  void pass_ends();
  bool said_goodbye_ = false, over_ = false;
};

// Somebody who does at the door what TLS must withstand. It never becomes a client.
class Intruder {
 public:
  Intruder(SimTls& tls, LinkPtr wire);
  void step();
  bool done() const { return done_; }

 private:
  enum Kind : uint64_t {
    kAhead,        // a startup packet and a query behind SSLRequest, in clear words
    kInstead,      // likewise, but it waits for the answer first
    kClear,        // asks for nothing: TLS is required
    kLeaves,       // in the middle of a handshake
    kSilent,       // likewise, and stays
    kWrongByte,    // in what it says
    kHttp,         // ALPN names another protocol
    kWithoutAlpn,  // in direct TLS
    kWithout,      // a certificate, where one is demanded
    kKinds
  };
  void say_first();
  void on_wire(std::string_view bytes);
  void judge() const;
  void end(bool reset);

  SimTls& tls_;
  LinkPtr wire_;
  Kind kind_;
  std::unique_ptr<TlsPeer> peer_;
  std::string out_, heard_, inside_;
  size_t say_most_ = SIZE_MAX;  // then it leaves, falls silent, or spoils a byte
  int steps_ = 0;
  bool answered_ = false, said_ = false, done_ = false;
};

class SimTls {
 public:
  SimTls(World& world, uint64_t seed, bool faults);
  ~SimTls();

  // What the broker begins with, and what a reload makes of it.
  void begin(session::Globals& globals);
  void reload(session::Globals& globals);
  bool direct_servers() const { return direct_servers_; }

  // Where a newcomer comes from.
  net::ShortAddress some_address();
  // The link of somebody who has connected by `wire`: a tunnel's, or, if it may do without TLS and does, the same.
  LinkPtr come_in(LinkPtr wire, bool unix_socket, bool may_be_clear);
  void intrude(LinkPtr wire);
  // The wire to a backend that has the plain link.
  LinkPtr to_backend(LinkPtr plain);
  bool is_secured(const Link* plain) const;

  void step();
  bool wants_intruder();
  bool intruders_gone() const;

  // May a client be told so when its server could not be had?
  static bool is_failure(std::string_view text);

  // ---- for tunnels and intruders
  World& world() { return world_; }
  Random& random() { return random_; }
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }
  net::TlsMode clients() const { return clients_; }
  // The least that has been asked of servers: reloads go to and fro.
  net::TlsMode servers() const { return std::min(servers_[0], servers_[1]); }
  bool servers_may_decline() const { return std::max(servers_[0], servers_[1]) < net::TlsMode::kRequire; }
  // A server that lies or breaks off, now.
  bool misbehaves();
  void keep_session(ssl_session_st* session);
  ssl_session_st* kept_session() const { return session_; }

 private:
  World& world_;
  Random random_;
  const bool faults_;
  net::TlsMode clients_;
  net::TlsMode servers_[2];  // to and fro
  bool old_version_ = false, direct_servers_ = false;
  bool renewed_ = false, second_ = false;
  int intruders_left_ = 0;
  ssl_session_st* session_ = nullptr;
  std::vector<std::unique_ptr<Tunnel>> tunnels_;
  std::vector<std::unique_ptr<Intruder>> intruders_;
};

}  // namespace berth::sim
