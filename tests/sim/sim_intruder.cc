// See sim_tls.h: who does at the door what must not help.
#include "sim/sim_tls.h"
#include "sim/world.h"
#include "wire/encode.h"
#include "wire/startup.h"

namespace berth::sim {

// A login and a query that no server may ever see.
static std::string clear_words() {
  std::string body, out;
  for (const char* text : {"user", "u0", "database", "d0"}) wire::put_cstring(body, text);
  body += '\0';
  wire::put32(out, static_cast<uint32_t>(body.size() + 8));
  wire::put32(out, wire::kProtocol30);
  out += body;
  wire::put_query(out, "select smuggled");
  return out;
}

Intruder::Intruder(SimTls& tls, LinkPtr wire)
    : tls_(tls), wire_(std::move(wire)), kind_(static_cast<Kind>(tls.random().below(kKinds))) {
  if (kind_ == kClear && tls_.clients() < net::TlsMode::kRequire) kind_ = kAhead;
  if (kind_ == kWithout && tls_.clients() < net::TlsMode::kVerifyCa) kind_ = kInstead;
  wire_->window = std::max<size_t>(wire_->window, 200);
  if (kind_ == kLeaves || kind_ == kSilent || kind_ == kWrongByte) say_most_ = tls_.random().below(600);
  say_first();
}

void Intruder::say_first() {
  const bool direct = kind_ == kWithoutAlpn || (kind_ >= kLeaves && tls_.chance(30));
  if (kind_ == kClear) {
    out_ = clear_words();
    return;
  }
  if (kind_ >= kLeaves) {
    peer_ = std::make_unique<TlsPeer>(kind_ == kHttp          ? TlsRole::kClientOfHttp
                                      : kind_ == kWithoutAlpn ? TlsRole::kClientWithoutAlpn
                                      : kind_ == kWithout     ? TlsRole::kClientWithout
                                                              : TlsRole::kClient);
  }
  answered_ = direct;
  if (direct) {
    peer_->hear({}, out_);
    return;
  }
  wire::put32(out_, 8);
  wire::put32(out_, wire::kSslRequestCode);
  if (kind_ == kAhead) out_ += clear_words();
}

void Intruder::step() {
  if (done_) return;
  if (wire_->reset) return end(true);
  const std::string bytes = std::exchange(wire_->to_peer.bytes, {});
  if (!bytes.empty()) on_wire(bytes);
  if (kind_ == kWrongByte && say_most_ < out_.size()) {
    out_[say_most_] = static_cast<char>(out_[say_most_] ^ (1 << tls_.random().below(8)));
    say_most_ = SIZE_MAX;
  }
  std::string& wire = wire_->to_broker.bytes;
  const size_t room = wire_->window > wire.size() ? wire_->window - wire.size() : 0;
  size_t part = std::min({out_.size(), room, say_most_});
  if (part > 1 && tls_.chance(50)) part = 1 + tls_.random().below(part);
  wire.append(out_, 0, part);
  out_.erase(0, part);
  if (say_most_ != SIZE_MAX) say_most_ -= part;
  if (wire_->to_peer.fin && wire_->to_peer.bytes.empty()) {
    judge();
    return end(false);
  }
  if (kind_ == kLeaves && (say_most_ == 0 || (peer_->open() && out_.empty()))) return end(tls_.chance(50));
  const bool patient = tls_.world().in_trouble();
  const bool must_be_sent_away = kind_ < kLeaves || kind_ > kWrongByte;
  if (must_be_sent_away && ++steps_ > 6000)
    tls_.world().violation(fmt::format("an intruder of kind {} may stay", kind_));
  if (!must_be_sent_away && !patient && tls_.chance(5)) end(tls_.chance(50));
}

void Intruder::on_wire(std::string_view bytes) {
  if (answered_ && peer_ && heard_.find('E') != 0) {
    inside_ += peer_->hear(bytes, out_);
    // It says it at once, and may be heard by nobody.
    if (kind_ == kWithout && peer_->open() && !said_) peer_->write(clear_words(), out_), said_ = true;
    return;
  }
  heard_ += bytes;
  if (answered_ || heard_[0] != 'S') return;
  answered_ = true;
  if (kind_ == kInstead) out_ += clear_words();
  if (peer_) peer_->hear({}, out_);
}

// The broker has ended it. It was told so in clear words, or by an alert, or was just cut off; a session would have
// asked for a password or greeted it.
void Intruder::judge() const {
  const bool told = heard_.empty() || heard_[0] == 'E' || heard_ == "S" || heard_.starts_with("S\x15");
  if (kind_ < kLeaves && !told) tls_.world().violation("an intruder got into a session: " + printable(heard_));
  if (kind_ > kWrongByte && !inside_.empty())
    tls_.world().violation("an intruder got into TLS: " + printable(inside_));
  const bool by_name = heard_.find("unencrypted data after SSL request") != std::string::npos ||
                       heard_.find("SSL required") != std::string::npos;
  if (kind_ < kLeaves && heard_[0] == 'E' && !by_name && !tls_.world().may_lose("torn"))
    tls_.world().violation("an intruder was told " + printable(heard_));
}

void Intruder::end(bool reset) {
  done_ = true;
  wire_->reset |= reset;
  wire_->to_broker.fin = true;
  wire_->peer_open = false;
}

}  // namespace berth::sim
