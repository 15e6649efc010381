#include "sim/sim_tls.h"

#include <openssl/ssl.h>

#include "session/context.h"
#include "sim/world.h"
#include "wire/backend.h"
#include "wire/encode.h"
#include "wire/startup.h"

namespace berth::sim {

static std::string request(uint32_t code) {
  std::string out;
  wire::put32(out, 8);
  wire::put32(out, code);
  return out;
}

// ---- what both ends have in common

void Tunnel::step() {
  if (over_) return;
  if (plain_->reset) wire_->reset = true;
  if (wire_->reset) plain_->reset = true;
  std::string& waiting = wire_->to_peer.bytes;
  const bool room = !plain_->peer_open || plain_->to_peer.bytes.size() <= plain_->window;
  if (!waiting.empty() && !wire_->reset && room) {
    const size_t part = tls_.chance(50) ? waiting.size() : 1 + tls_.random().below(waiting.size());
    const std::string bytes = waiting.substr(0, part);
    waiting.erase(0, part);
    on_wire(bytes);
  }
  take_plain();
  push();
  pass_ends();
}

void Tunnel::take_plain() {
  std::string& said = plain_->to_broker.bytes;
  if (said.empty() || said_goodbye_ || out_.size() > 20000) return;
  if (clear_) {
    out_ += std::exchange(said, {});
  } else if (secured()) {
    peer_->write(std::exchange(said, {}), out_);
  }
}

void Tunnel::push() {
  if (wire_->reset || !wire_->broker_open) out_.clear();
  if (out_.empty()) return;
  spoil();
  std::string& wire = wire_->to_broker.bytes;
  size_t part = std::min(out_.size(), wire_->window > wire.size() ? wire_->window - wire.size() : 0);
  if (part > 1 && tls_.chance(40)) part = 1 + tls_.random().below(part);
  wire.append(out_, 0, part);
  out_.erase(0, part);
}

// Each end learns of the other's, once all that was said before has come.
void Tunnel::pass_ends() {
  const bool decided = clear_ || secured();
  if (wire_->to_peer.fin && wire_->to_peer.bytes.empty()) {
    plain_->mute |= !delivered_;
    plain_->to_peer.fin = true;
  }
  const bool leaves = plain_->to_broker.fin || !plain_->peer_open;
  const bool all_said = decided ? plain_->to_broker.bytes.empty() && out_.empty() : wire_->to_peer.fin;
  if (leaves && all_said) {
    if (secured() && !said_goodbye_ && tls_.chance(70)) peer_->say_goodbye(out_);
    said_goodbye_ = true;
    if (out_.empty()) {
      wire_->to_broker.fin = true;
      wire_->peer_open &= plain_->peer_open;
    }
  }
  over_ = !wire_->broker_open && (wire_->reset || !plain_->peer_open || wire_->to_peer.bytes.empty());
}

void Tunnel::deliver(std::string_view bytes) {
  delivered_ = true;
  plain_->to_peer.bytes += bytes;
}

void Tunnel::hear(std::string_view cipher) {
  const bool failed_before = peer_->failed();
  const std::string plain = peer_->hear(cipher, out_);
  if (!plain.empty()) deliver(plain);
  if (peer_->failed() && !failed_before) on_failed();
}

// The peer ends it here, whatever its inhabitant may want.
void Tunnel::cut(bool reset) {
  if (reset) wire_->reset = true;
  wire_->to_broker.fin = true;
  wire_->peer_open = false;
  plain_->reset = true;
}

// ---- a client's

namespace {

class ClientTunnel final : public Tunnel {
 public:
  ClientTunnel(SimTls& tls, LinkPtr wire, LinkPtr plain) : Tunnel(tls, std::move(wire), std::move(plain)) {
    if (tls_.chance(30)) {
      shake();
      return;
    }
    gss_ = tls_.chance(15);
    out_ = request(gss_ ? wire::kGssEncRequestCode : wire::kSslRequestCode);
  }
  ~ClientTunnel() override {
    if (secured() && !peer_->failed()) tls_.keep_session(peer_->session());
  }

 private:
  void shake() {
    peer_ = std::make_unique<TlsPeer>(TlsRole::kClient, tls_.chance(50) ? tls_.kept_session() : nullptr);
    hear({});
  }

  void on_wire(std::string_view bytes) override {
    // At the door one may be sent away before anything is agreed on.
    sent_away_ |= !heard_ && bytes[0] == 'E';
    heard_ = true;
    if (sent_away_) return deliver(bytes);
    if (peer_) return hear(bytes);
    if (gss_) {
      if (bytes[0] != 'N') tls_.world().violation("GSSENCRequest was not answered with N");
      gss_ = heard_ = false;
      out_ = request(wire::kSslRequestCode);
      return bytes.size() > 1 ? on_wire(bytes.substr(1)) : void();
    }
    if (bytes.size() > 1) return tls_.world().violation("more than a byte answers SSLRequest");
    if (bytes[0] != 'S') return tls_.world().violation("SSLRequest was not answered with S");
    shake();
  }

  void on_failed() override { tls_.world().violation("a good client's TLS has failed: " + peer_->error()); }

  bool gss_ = false, heard_ = false, sent_away_ = false;
};

// ---- a server's

enum class Mischief : uint64_t {
  kNone,
  kHangs,
  kError,
  kNonsense,
  kAhead,
  kBadCertificate,
  kHttp,
  kCut,
  kWrongByte,
  kKinds
};

class ServerTunnel final : public Tunnel {
 public:
  ServerTunnel(SimTls& tls, LinkPtr wire, LinkPtr plain) : Tunnel(tls, std::move(wire), std::move(plain)) {
    if (tls_.misbehaves()) {
      const uint64_t kind = 1 + tls_.random().below(static_cast<uint64_t>(Mischief::kKinds) - 1);
      mischief_ = tls_.chance(40) ? Mischief::kWrongByte : static_cast<Mischief>(kind);
      if (tls_.direct_servers() && tls_.chance(30)) mischief_ = Mischief::kHttp;
      declines_ = tls_.chance(10);
      after_ = tls_.random().below(700);
    }
    declines_ |= tls_.servers_may_decline() && tls_.chance(30);
  }

 private:
  void violation(const std::string& what) { tls_.world().violation("towards a server: " + what); }

  void on_wire(std::string_view bytes) override {
    if (mischief_ == Mischief::kHangs || lied_) return;
    if (peer_) return hear(bytes);
    if (clear_) return deliver(bytes);
    first_ += bytes;
    if (asked_) return first_[0] == '\x16' ? shake() : violation("clear words after TLS was agreed on");
    if (first_[0] == '\x16') {
      if (!tls_.direct_servers()) return violation("direct TLS that is not configured");
      direct_ = true;
      return mischief_ == Mischief::kError ? lie(error()) : shake();
    }
    if (first_.size() < 8) return;
    const wire::Startup packet = wire::parse_startup(first_);
    if (packet.kind == wire::Startup::Kind::kSsl && !declined_) return on_request();
    if (packet.kind == wire::Startup::Kind::kNeedMore) return;
    if (tls_.servers() >= net::TlsMode::kRequire) return violation("a startup packet in clear words (T25, T32)");
    if (packet.kind == wire::Startup::Kind::kCancel && tls_.world().is_secured(packet.cancel_pid))
      return violation("a cancel request in clear words for a session in TLS (T25)");
    clear_ = true;
    deliver(std::exchange(first_, {}));
  }

  void on_request() {
    if (first_.size() > 8) return violation("more behind SSLRequest before it was answered");
    first_.clear();
    if (declines_) {
      declined_ = true;
      out_ += 'N';
      return;
    }
    switch (mischief_) {
      case Mischief::kError: return lie(error());
      case Mischief::kNonsense: return lie("Z");
      case Mischief::kAhead: return lie("S" + error());
      default: break;
    }
    asked_ = true;
    out_ += 'S';
  }

  // Nobody may ever be told this.
  static std::string error() {
    std::string out;
    wire::put_error(out, wire::Severity::kFatal, "28000", "INJECTED");
    return out;
  }

  void lie(const std::string& what) {
    lied_ = true;
    out_ += what;
  }

  void shake() {
    const TlsRole role = mischief_ == Mischief::kBadCertificate ? TlsRole::kBadServer
                         : mischief_ == Mischief::kHttp         ? TlsRole::kServerOfHttp
                                                                : TlsRole::kServer;
    peer_ = std::make_unique<TlsPeer>(role);
    hear(std::exchange(first_, {}));
  }

  void deliver(std::string_view bytes) override {
    if (peer_ && mischief_ == Mischief::kBadCertificate && tls_.servers() >= net::TlsMode::kVerifyCa)
      return violation("a certificate was taken that nobody has signed");
    if (direct_ && mischief_ == Mischief::kHttp) return violation("another protocol was taken for PostgreSQL (T33)");
    if (bytes.find("smuggled") != std::string_view::npos) violation("what came before TLS was obeyed (T4)");
    Tunnel::deliver(bytes);
  }

  void spoil() override {
    if (!peer_ || (mischief_ != Mischief::kCut && mischief_ != Mischief::kWrongByte)) return;
    if (after_ >= out_.size()) {
      after_ -= std::min(after_, out_.size());  // more is said than was counted when it is sent in pieces
      return;
    }
    if (mischief_ == Mischief::kCut) {
      out_.resize(after_);
      wire_->to_broker.bytes += std::exchange(out_, {});
      cut(tls_.chance(50));
    } else {
      out_[after_] = static_cast<char>(out_[after_] ^ (1 << tls_.random().below(8)));
    }
    mischief_ = Mischief::kNone;
    spoiled_ = true;
  }

  void on_failed() override {
    if (mischief_ == Mischief::kNone && !spoiled_) violation("a good server's TLS has failed: " + peer_->error());
    cut(false);
  }

  Mischief mischief_ = Mischief::kNone;
  std::string first_;
  size_t after_ = 0;  // bytes, then it breaks off or spoils one
  bool declines_ = false, declined_ = false, asked_ = false, direct_ = false, lied_ = false, spoiled_ = false;
};

}  // namespace

// ---- the world's

SimTls::SimTls(World& world, uint64_t seed, bool faults)
    : world_(world), random_(seed * 0x9e3779b97f4a7c15 + 7), faults_(faults) {
  constexpr net::TlsMode kClients[] = {net::TlsMode::kAllow, net::TlsMode::kPrefer, net::TlsMode::kRequire,
                                       net::TlsMode::kVerifyCa, net::TlsMode::kVerifyFull};
  constexpr net::TlsMode kServers[] = {net::TlsMode::kAllow,   net::TlsMode::kPrefer,   net::TlsMode::kRequire,
                                       net::TlsMode::kRequire, net::TlsMode::kVerifyCa, net::TlsMode::kVerifyFull};
  clients_ = kClients[random_.below(std::size(kClients))];
  for (net::TlsMode& mode : servers_) mode = kServers[random_.below(std::size(kServers))];
  old_version_ = chance(25);
  direct_servers_ = servers() >= net::TlsMode::kRequire && chance(50);
  intruders_left_ = chance(75) ? static_cast<int>(2 + random_.below(6)) : 0;
}

SimTls::~SimTls() {
  tunnels_.clear();
  SSL_SESSION_free(session_);
}

void SimTls::begin(session::Globals& globals) {
  const auto for_clients = broker_for_clients(clients_, old_version_, renewed_);
  globals.tls.put({for_clients, broker_for_servers(servers_[second_], old_version_)});
  seed_openssl(random_.next());
}

void SimTls::reload(session::Globals& globals) {
  renewed_ ^= chance(50);
  second_ ^= chance(75);
  globals.tls.put(
      {broker_for_clients(clients_, old_version_, renewed_), broker_for_servers(servers_[second_], old_version_)});
}

// Of three, or of none: by the Unix socket.
net::ShortAddress SimTls::some_address() {
  net::ShortAddress address;
  const uint64_t number = random_.below(7) / 2;
  if (number == 3) return address;
  address.kind = net::ShortAddress::Kind::kIpv4;
  address.bytes[0] = 10;
  address.bytes[3] = static_cast<unsigned char>(number);
  return address;
}

LinkPtr SimTls::come_in(LinkPtr wire, bool unix_socket, bool may_be_clear) {
  if (unix_socket || (may_be_clear && clients_ < net::TlsMode::kRequire && chance(30))) return wire;
  auto plain = std::make_shared<Link>();
  plain->window = wire->window;
  wire->window = std::max<size_t>(wire->window, 200);
  tunnels_.push_back(std::make_unique<ClientTunnel>(*this, std::move(wire), plain));
  return plain;
}

LinkPtr SimTls::to_backend(LinkPtr plain) {
  auto wire = std::make_shared<Link>();
  wire->window = std::max<size_t>(plain->window, 200);
  tunnels_.push_back(std::make_unique<ServerTunnel>(*this, wire, std::move(plain)));
  return wire;
}

bool SimTls::is_secured(const Link* plain) const {
  return std::any_of(tunnels_.begin(), tunnels_.end(),
                     [plain](const auto& tunnel) { return tunnel->plain() == plain && tunnel->secured(); });
}

void SimTls::step() {
  for (size_t i = 0; i < tunnels_.size() && !world_.failed(); ++i) {
    tunnels_[i]->see_broker();
    if (chance(80)) tunnels_[i]->step();
  }
  std::erase_if(tunnels_, [](const auto& tunnel) { return tunnel->over(); });
  for (size_t i = 0; i < intruders_.size() && !world_.failed(); ++i) {
    if (chance(70)) intruders_[i]->step();
  }
}

void SimTls::intrude(LinkPtr wire) {
  intruders_.push_back(std::make_unique<Intruder>(*this, std::move(wire)));
}

bool SimTls::wants_intruder() {
  if (intruders_left_ == 0 || !world_.in_trouble() || !chance(2)) return false;
  --intruders_left_;
  return true;
}

bool SimTls::intruders_gone() const {
  return std::all_of(intruders_.begin(), intruders_.end(), [](const auto& one) { return one->done(); });
}

bool SimTls::misbehaves() {
  return faults_ && world_.in_trouble() && chance(40);
}

void SimTls::keep_session(SSL_SESSION* session) {
  if (!session) return;
  SSL_SESSION_free(session_);
  session_ = session;
}

bool SimTls::is_failure(std::string_view text) {
  for (const std::string_view known :
       {"TLS handshake failed: ", "the server does not offer TLS", "the server sent unencrypted data",
        "the server's answer to the request for TLS", "the server answers the request for TLS"}) {
    if (text.starts_with(known)) return true;
  }
  return false;
}

}  // namespace berth::sim
