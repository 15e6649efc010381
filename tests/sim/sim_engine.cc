#include "sim/sim_engine.h"

#include <algorithm>
#include <cerrno>

namespace berth::sim {

enum class ConnPhase { kConnecting, kOpen, kClosing, kLingering, kDetaching };

struct SimConn {
  net::Handler* handler = nullptr;
  LinkPtr link;
  ConnPhase phase = ConnPhase::kOpen;
  std::string kept;  // read and not consumed
  size_t need = 0;   // deliver only with so many
  std::string unsent;
  std::unique_ptr<net::TlsSession> tls;  // until its handshake begins, `kept` is TLS
  uint8_t paused = 0;
  bool fresh = false;  // something has come, or was resumed, since the last delivery
  bool eof_told = false, broken = false;
  int connect_error = 0;
  Micros ready_at = 0;  // of connecting
  Micros linger_until = 0;
};

static SimConn* own(net::Conn* conn) {
  return reinterpret_cast<SimConn*>(conn);
}
static const SimConn* own(const net::Conn* conn) {
  return reinterpret_cast<const SimConn*>(conn);
}
static net::Conn* opaque(SimConn* conn) {
  return reinterpret_cast<net::Conn*>(conn);
}

SimEngine::~SimEngine() {
  for (SimConn* conn : conns_) delete conn;
}

template <typename F>
void SimEngine::call(SimConn* conn, const char* event, F&& f, std::string_view bytes) {
  ASSERT(!in_handler_ && in_turn_);
  in_handler_ = busy_ = true;
  if (observer_) observer_->before(conn->handler, event, bytes);
  f(conn->handler);
  if (observer_) observer_->after();
  in_handler_ = false;
}

net::Conn* SimEngine::attach(int fd, net::Handler* handler) {
  auto* conn = new SimConn;
  conn->handler = handler;
  conn->link = network_.take(fd);
  conns_.push_back(conn);
  return opaque(conn);
}

net::Conn* SimEngine::connect(const net::Address& address, net::Handler* handler) {
  ASSERT(address.valid());
  auto* conn = new SimConn;
  conn->handler = handler;
  conn->phase = ConnPhase::kConnecting;
  conn->ready_at =
      network_.now + static_cast<Micros>(random_.below(static_cast<uint64_t>(network_.profile.connect_most) + 1));
  conn->link = network_.dial(address, conn->connect_error);
  if (conn->link) network_.take(network_.descriptor_of(conn->link));
  if (conn->connect_error == EINPROGRESS) conn->ready_at = INT64_MAX;  // nobody ever answers
  conns_.push_back(conn);
  return opaque(conn);
}

// Puts what fits on its way. Returns how much.
size_t SimEngine::push(SimConn* conn, std::string_view bytes) {
  Direction& out = conn->link->to_peer;
  size_t room = conn->link->window > out.bytes.size() ? conn->link->window - out.bytes.size() : 0;
  room = std::min(room, bytes.size());
  if (room > 0 && chance(network_.profile.partial_percent)) room = random_.below(room + 1);
  out.bytes.append(bytes.substr(0, room));
  return room;
}

size_t SimEngine::write(net::Conn* handle, std::span<const iovec> spans) {
  SimConn* conn = own(handle);
  ASSERT(conn->phase != ConnPhase::kConnecting && conn->phase != ConnPhase::kDetaching);
  if (conn->phase != ConnPhase::kOpen || conn->broken) return 0;
  if (conn->link->reset || !conn->link->peer_open) {
    conn->broken = true;
    conn->unsent.clear();
    posts_.push_back({conn, Post::Kind::kBroken});
    return 0;
  }
  std::string bytes;
  if (!conn->tls) {
    for (const iovec& span : spans) bytes.append(static_cast<const char*>(span.iov_base), span.iov_len);
  } else if (!conn->tls->established() || !conn->tls->encrypt(spans, bytes)) {
    return 0;
  }
  return put(conn, bytes);
}

size_t SimEngine::put(SimConn* conn, std::string_view bytes) {
  size_t sent = 0;
  if (conn->unsent.empty()) sent = push(conn, bytes);
  conn->unsent.append(bytes.substr(sent));
  return conn->unsent.size();
}

void SimEngine::start_tls(net::Conn* handle, std::unique_ptr<net::TlsSession> tls) {
  SimConn* conn = own(handle);
  ASSERT(tls && !conn->tls && conn->phase == ConnPhase::kOpen && !conn->paused);
  conn->tls = std::move(tls);
  if (!conn->tls->established()) posts_.push_back({conn, Post::Kind::kShake});
}

const net::TlsSession* SimEngine::tls(const net::Conn* conn) const {
  return own(conn)->tls.get();
}

// The first word: ours, or what is kept.
void SimEngine::shake(SimConn* conn) {
  const std::string cipher = std::exchange(conn->kept, {});
  conn->need = 0;
  if (decrypt(conn, cipher) && !conn->kept.empty()) deliver(conn);
}

// Appends to what is kept. False: the handler has been told of a failed handshake, or has closed.
bool SimEngine::decrypt(SimConn* conn, std::string_view cipher) {
  const bool shaking = conn->tls->state() == net::TlsSession::State::kHandshake;
  std::string plain(cipher.size() + net::TlsSession::kHeldMost, '\0'), out;
  const net::TlsSession::Fed fed = conn->tls->feed(cipher, plain, out);
  if (!out.empty() && !conn->broken && conn->link->peer_open && !conn->link->reset) put(conn, out);
  conn->kept.append(plain, 0, fed.plain);
  conn->fresh |= fed.plain > 0;
  if (!shaking || conn->tls->state() == net::TlsSession::State::kHandshake) return true;
  if (!fed.error.empty()) conn->eof_told = true;
  call(conn, fed.error.empty() ? "handshake" : "handshake failed",
       [&](net::Handler* handler) { handler->on_handshake(fed.error); });
  return fed.error.empty() && conn->phase == ConnPhase::kOpen;
}

size_t SimEngine::unsent(const net::Conn* conn) const {
  return own(conn)->unsent.size();
}

void SimEngine::pause(net::Conn* handle, net::PauseReason reason) {
  own(handle)->paused |= reason;
}

void SimEngine::resume(net::Conn* handle, net::PauseReason reason) {
  SimConn* conn = own(handle);
  if (!(conn->paused & reason)) return;
  conn->paused &= static_cast<uint8_t>(~reason);
  if (conn->paused == 0) posts_.push_back({conn, Post::Kind::kResumed});
}

uint8_t SimEngine::paused(const net::Conn* conn) const {
  return own(conn)->paused;
}

void SimEngine::close(net::Conn* handle) {
  SimConn* conn = own(handle);
  ASSERT(conn->phase == ConnPhase::kOpen ||
         conn->phase == ConnPhase::kConnecting);  // closed once, and not while it leaves
  if (conn->tls && conn->phase == ConnPhase::kOpen && !conn->broken && !conn->link->reset && conn->link->peer_open) {
    std::string goodbye;
    conn->tls->close_notify(goodbye);
    put(conn, goodbye);
  }
  conn->phase = ConnPhase::kClosing;
  posts_.push_back({conn, Post::Kind::kClose});
}

void SimEngine::detach(net::Conn* handle) {
  SimConn* conn = own(handle);
  ASSERT(conn->phase == ConnPhase::kOpen && conn->unsent.empty());
  conn->phase = ConnPhase::kDetaching;
  posts_.push_back({conn, Post::Kind::kDetach});
}

void SimEngine::run_once(Micros) {
  ASSERT(!in_turn_);
  in_turn_ = true;
  busy_ = false;
  now_ = network_.now;
  std::vector<SimConn*> order = conns_;
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  for (SimConn* conn : order) {
    if (!chance(network_.profile.idle_percent)) serve(conn);
  }
  // What follows from the calls of this turn; what follows from that comes in the next one.
  for (size_t count = posts_.size(); count > 0 && !posts_.empty(); --count) {
    const Post post = posts_.front();
    posts_.pop_front();
    perform(post);
  }
  in_turn_ = false;
}

void SimEngine::serve(SimConn* conn) {
  switch (conn->phase) {
    case ConnPhase::kConnecting: return serve_connecting(conn);
    case ConnPhase::kOpen:
      serve_writing(conn);
      if (conn->phase == ConnPhase::kOpen) serve_reading(conn);
      return;
    case ConnPhase::kLingering: return serve_lingering(conn);
    case ConnPhase::kClosing:
    case ConnPhase::kDetaching: return;
  }
}

void SimEngine::serve_connecting(SimConn* conn) {
  if (network_.now < conn->ready_at) return;
  conn->phase = ConnPhase::kOpen;
  const int error = conn->link ? 0 : conn->connect_error;
  if (error) conn->eof_told = true;
  call(conn, error ? "connect failed" : "connected",
       [error](net::Handler* handler) { handler->on_connected(error); });
}

void SimEngine::serve_writing(SimConn* conn) {
  if (conn->unsent.empty() || conn->broken) return;
  if (conn->link->reset || !conn->link->peer_open) {
    conn->broken = true;
    conn->unsent.clear();
    posts_.push_back({conn, Post::Kind::kBroken});
    return;
  }
  conn->unsent.erase(0, push(conn, conn->unsent));
  if (conn->unsent.empty()) call(conn, "drained", [](net::Handler* handler) { handler->on_drained(); });
}

void SimEngine::serve_reading(SimConn* conn) {
  if (conn->eof_told || !conn->link) return;
  Direction& in = conn->link->to_broker;
  if (conn->link->reset) return tell_eof(conn, ECONNRESET);
  if (conn->paused) {
    // With one of these the peer would wait for something far away, so its end may be seen without reading.
    constexpr uint8_t kFar = net::kPauseWaiting | net::kPauseLogin | net::kPauseHeld;
    if (in.fin && (conn->paused & kFar) && chance(50)) tell_eof(conn, 0);
    return;
  }
  if (conn->tls && conn->tls->state() >= net::TlsSession::State::kEnded && !conn->fresh) {
    return tell_eof(conn, conn->tls->established() ? 0 : EPROTO);
  }
  if (in.bytes.empty()) {
    if (in.fin && !conn->fresh) tell_eof(conn, 0);
    if (conn->fresh) deliver(conn);
    return;
  }
  const size_t most = std::min(in.bytes.size(), network_.profile.chunk_most);
  const size_t part = chance(30) ? most : 1 + random_.below(most);
  const std::string bytes = in.bytes.substr(0, part);
  in.bytes.erase(0, part);
  if (conn->tls) {
    if (decrypt(conn, bytes) && conn->fresh && !conn->paused) deliver(conn);
    return;
  }
  conn->kept += bytes;
  conn->fresh = true;
  deliver(conn);
}

// Lends what is there, from memory that dies with the call.
void SimEngine::deliver(SimConn* conn) {
  if (conn->kept.empty() || conn->kept.size() < conn->need) {
    conn->fresh = false;
    return;
  }
  conn->fresh = false;
  auto lent = std::make_unique<char[]>(conn->kept.size());
  std::copy(conn->kept.begin(), conn->kept.end(), lent.get());
  const size_t size = conn->kept.size();
  net::Taken taken;
  call(conn, "bytes",
       [&](net::Handler* handler) {
         taken = handler->on_bytes({lent.get(), size});
       },
       {lent.get(), size});
  std::fill_n(lent.get(), size, '\xdd');
  ASSERT(taken.consumed <= size);
  conn->kept.erase(0, taken.consumed);
  conn->need = taken.need;
}

void SimEngine::tell_eof(SimConn* conn, int error) {
  ASSERT(!conn->eof_told);
  conn->eof_told = true;
  call(conn, error ? "broken" : "eof", [error](net::Handler* handler) { handler->on_eof(error); });
}

void SimEngine::serve_lingering(SimConn* conn) {
  const bool lost = conn->broken || conn->link->reset || !conn->link->peer_open;
  if (!lost && !conn->unsent.empty() && network_.now < conn->linger_until) {
    conn->unsent.erase(0, push(conn, conn->unsent));
    if (!conn->unsent.empty()) return;
  }
  forget(conn);
}

// The end of the record.
void SimEngine::forget(SimConn* conn) {
  if (conn->link) {
    conn->link->broker_open = false;
    conn->link->to_peer.fin = true;
  }
  std::erase(conns_, conn);
  std::erase_if(posts_, [conn](const Post& post) { return post.conn == conn; });
  call(conn, "closed", [](net::Handler* handler) { handler->on_closed(); });
  delete conn;
}

void SimEngine::perform(const Post& post) {
  SimConn* conn = post.conn;
  switch (post.kind) {
    case Post::Kind::kResumed:
      if (conn->phase != ConnPhase::kOpen || conn->paused || conn->eof_told) return;
      if (!conn->kept.empty()) deliver(conn);
      return;
    case Post::Kind::kShake:
      if (conn->phase == ConnPhase::kOpen && !conn->eof_told) shake(conn);
      return;
    case Post::Kind::kBroken:
      if (conn->phase == ConnPhase::kOpen && !conn->eof_told) tell_eof(conn, EPIPE);
      return;
    case Post::Kind::kClose:
      ASSERT(conn->phase == ConnPhase::kClosing);
      if (chance(50)) return posts_.push_back(post);  // likewise
      if (!conn->link || conn->broken || conn->unsent.empty()) return forget(conn);
      conn->phase = ConnPhase::kLingering;
      conn->linger_until = network_.now + net::kLingerTime;
      return;
    case Post::Kind::kDetach: {
      ASSERT(conn->phase == ConnPhase::kDetaching);
      if (chance(80)) return posts_.push_back(post);  // a receive is still in flight
      const int descriptor = network_.descriptor_of(conn->link);
      const std::string unread = std::move(conn->kept);
      std::erase(conns_, conn);
      std::erase_if(posts_, [conn](const Post& other) { return other.conn == conn; });
      call(conn, "detached",
           [&](net::Handler* handler) { handler->on_detached(descriptor, unread, std::move(conn->tls)); });
      delete conn;
      return;
    }
  }
}

}  // namespace berth::sim
