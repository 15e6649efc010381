// See auth_connection.h.
#include "link/auth_connection.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/assert.h"
#include "link/auth_wire.h"
#include "net/socket_options.h"
#include "session/context.h"
#include "session/server_tls.h"

namespace berth::link {

using Kind = AuthHappened::Kind;

// The sockets of one connect(), one after the other, and the login over the one that is connected. Frees itself.
class AuthConnection::Line final : public net::Handler, public SecretObject {
 public:
  Line(AuthConnection* owner, net::Engine& engine, session::TlsSide& tls, AuthPlan plan)
      : owner_(owner), engine_(engine), tls_(tls), plan_(std::move(plan)) {}

  void connect() {
    ASSERT(!conn_ && address_ < plan_.addresses.size());
    then_ = Then::kEnd;
    conn_ = engine_.connect(plan_.addresses[address_], this);
  }
  AuthWire* wire() { return wire_ && !wire_->over() ? wire_.get() : nullptr; }
  // The owner's last word.
  void leave();
  void resume(auth::Work& work);
  // After what may have made the wire say something of its own.
  void collect();

  // ---- net::Handler
  void on_connected(int error) override;
  net::Taken on_bytes(std::string_view bytes) override;
  void on_eof(int error) override;
  void on_drained() override {}
  void on_closed() override;
  void on_detached(int, std::string_view, std::unique_ptr<net::TlsSession>) override { ASSERT(false); }
  void on_handshake(std::string_view error) override;

 private:
  enum class Then : uint8_t { kEnd, kNextAddress, kSameAddress };

  const net::Address& address() const { return plan_.addresses[address_]; }
  void on_next(session::ServerTls::Next next);
  void begin_login();
  void close(Then then);
  void lose(std::string why);
  bool insist(const std::string& sqlstate);
  void react(AuthHappened happened);

  AuthConnection* owner_;  // null: it is not interested any more
  net::Engine& engine_;
  session::TlsSide& tls_;
  const AuthPlan plan_;
  size_t address_ = 0;  // of the plan's
  net::Conn* conn_ = nullptr;
  bool closing_ = false;
  Then then_ = Then::kEnd;                         // when the socket is closed
  std::unique_ptr<session::ServerTls> tls_start_;  // until the connection is secured
  bool clear_ = false;                             // the login goes in clear words
  std::unique_ptr<AuthWire> wire_;                 // from then on
  std::shared_ptr<std::atomic<bool>> unwanted_;    // of work under way
};

void AuthConnection::Line::close(Then then) {
  if (closing_) return;
  closing_ = true;
  then_ = then;
  if (unwanted_) unwanted_->store(true, std::memory_order_relaxed);
  engine_.close(conn_);
}

void AuthConnection::Line::on_closed() {
  conn_ = nullptr;
  closing_ = false;
  tls_start_.reset();
  if (!owner_ || then_ == Then::kEnd) {
    if (owner_) owner_->line_ = nullptr;
    delete this;
    return;
  }
  wire_.reset();
  if (then_ == Then::kNextAddress) address_++;
  connect();
}

void AuthConnection::Line::leave() {
  owner_ = nullptr;
  if (AuthWire* talking = wire(); talking && !closing_) talking->say_goodbye();
  close(Then::kEnd);
}

void AuthConnection::Line::lose(std::string why) {
  owner_->happened_.push_back({.kind = Kind::kLost, .error = std::move(why)});
  close(Then::kEnd);
}

// ---- until somebody is there

void AuthConnection::Line::on_connected(int error) {
  if (closing_) return;
  if (error != 0) {
    if (address_ + 1 < plan_.addresses.size()) return close(Then::kNextAddress);
    return lose(fmt::format("connect to {} failed: {}", address().text(), strerror(error)));
  }
  std::shared_ptr<const session::ServerTlsWish> wish;
  if (!address().is_unix()) {
    const int fd = engine_.descriptor(conn_);
    net::keep_alive(fd, plan_.config->options.tcp_keepalive);
    net::tune_tcp_socket(fd, session::tcp_options(plan_.config->options));
    wish = session::wish_for_tls(tls_.context(), plan_.config->options, plan_.host, owner_->insists_);
  }
  clear_ = !wish;
  if (!wish) return begin_login();
  tls_start_ = std::make_unique<session::ServerTls>(std::move(wish), tls_.counts);
  on_next(tls_start_->start(engine_, conn_));
}

void AuthConnection::Line::on_next(session::ServerTls::Next next) {
  switch (next) {
    case session::ServerTls::Next::kWait: return;
    case session::ServerTls::Next::kClear: clear_ = true; break;
    case session::ServerTls::Next::kSecured: break;
    case session::ServerTls::Next::kFailed: return lose(tls_start_->why());
  }
  tls_start_.reset();
  begin_login();
}

void AuthConnection::Line::on_handshake(std::string_view error) {
  if (closing_) return;
  ASSERT(tls_start_);
  on_next(tls_start_->on_handshake(engine_, conn_, error));
}

void AuthConnection::Line::begin_login() {
  wire_ = std::make_unique<AuthWire>(plan_.user, plan_.proof,
                                     session::binding_of(engine_.tls(conn_), plan_.config->options),
                                     [this](std::string_view bytes) { net::write(engine_, conn_, bytes); });
  wire_->start(plan_.user, plan_.database);
}

// ---- what is said

net::Taken AuthConnection::Line::on_bytes(std::string_view bytes) {
  if (closing_) return {bytes.size(), 0};
  if (tls_start_) {
    on_next(tls_start_->on_bytes(engine_, conn_, bytes));
    return {closing_ ? bytes.size() : 1, 0};
  }
  const net::Taken taken = wire_->feed(bytes);
  net::scrub_lent(bytes.substr(0, taken.consumed));
  wipe_stack();
  collect();
  return closing_ ? net::Taken{bytes.size(), 0} : taken;
}

void AuthConnection::Line::on_eof(int error) {
  if (closing_) return;
  const std::string why =
      error ? fmt::format("connection lost: {}", strerror(error)) : std::string("the server closed the connection");
  if (!wire_) return lose(why);
  wire_->on_end(why);
  collect();
}

void AuthConnection::Line::resume(auth::Work& work) {
  if (closing_ || !wire_ || !wire_->waits_for_work()) return;
  unwanted_.reset();
  engine_.resume(conn_, net::kPauseLogin);
  wire_->resume(work);
  collect();
}

void AuthConnection::Line::collect() {
  while (wire_ && !closing_) {
    AuthHappened happened = wire_->take();
    if (happened.kind == Kind::kNothing) return;
    react(std::move(happened));
  }
}

void AuthConnection::Line::react(AuthHappened happened) {
  if (happened.kind == Kind::kWork) {
    unwanted_ = std::make_shared<std::atomic<bool>>(false);
    happened.work->unwanted = unwanted_;
    engine_.pause(conn_, net::kPauseLogin);
  }
  const bool lost = happened.kind == Kind::kLost;
  if (lost && insist(happened.sqlstate)) return close(Then::kSameAddress);
  owner_->happened_.push_back(std::move(happened));
  if (lost) close(Then::kEnd);
}

// allow: as the servers of pools are asked again inside of TLS.
bool AuthConnection::Line::insist(const std::string& sqlstate) {
  if (!clear_ || address().is_unix() || owner_->insists_) return false;
  owner_->insists_ = session::asks_for_tls(sqlstate, tls_.context().get());
  return owner_->insists_;
}

// ---- the owner's side

void AuthConnection::connect(net::Engine& engine, session::TlsSide& tls, AuthPlan plan) {
  close();
  if (plan.addresses.empty()) return happened_.push_back({.kind = Kind::kLost, .error = "host has no address"});
  line_ = new Line(this, engine, tls, std::move(plan));
  line_->connect();
}

void AuthConnection::resume(auth::Work& work) {
  if (line_) line_->resume(work);
}

void AuthConnection::probe() {
  if (AuthWire* wire = line_ ? line_->wire() : nullptr) wire->ask(AuthQuestion::kProbe);
}

void AuthConnection::check() {
  if (AuthWire* wire = line_ ? line_->wire() : nullptr) wire->ask(AuthQuestion::kCheck);
}

void AuthConnection::query(const std::string& text, bool standard, const std::string& user) {
  AuthWire* wire = line_ ? line_->wire() : nullptr;
  if (wire) wire->ask(standard ? AuthQuestion::kStandard : AuthQuestion::kOwn, text, user);
}

void AuthConnection::close() {
  if (line_) std::exchange(line_, nullptr)->leave();
  happened_.clear();
}

AuthHappened AuthConnection::take() {
  if (happened_.empty()) return {};
  AuthHappened happened = std::move(happened_.front());
  happened_.pop_front();
  return happened;
}

}  // namespace berth::link
