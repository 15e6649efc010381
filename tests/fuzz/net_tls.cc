// Fuzzes TLS: the machine (TlsSession), its contexts (TlsContext) and tickets (TicketKeys). Two ends talk over a line
// that the input holds: one of ours that accepts and one of ours that connects, or in place of either OpenSSL alone,
// which does what no session of ours would (floods of key updates). The input says who they are (versions, protocols
// of ALPN, certificates, names), how many bytes arrive, what is changed, put in or taken out on the way, who writes
// how much in how many pieces, who proves itself, who ends, and when they connect anew, with the ticket of before.
//
// Whatever the line does: nobody reads a byte that the other has not written, in its order; a session that has failed
// says why, once, and neither reads nor writes any more; only who may is let in: by ALPN where it is demanded, by a
// certificate where it is, under the name that the certificate (or the one of the session that is resumed) has; no
// ticket comes before peer_has_proved(). With a line that changes nothing, all arrives, who is refused is refused on
// both sides, tickets are taken where settings are equal and nowhere else, and records are as large as they may be.
//
// Dice of the target's own take the place of all randomness (fuzz/tls_world.h), so that an input replays.
#include "fuzz/input.h"
#include "fuzz/tls_world.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace berth::net {

using State = TlsSession::State;

using fuzz::Input;

// Who meets whom.
struct Plan {
  bool raw_client = false, raw_server = false;
  size_t server_protocols = 0;  // of kProtocols
  bool certificate_required = false, alpn_required = false, slow = false, reloaded = false;
  size_t client_protocols = 0;
  enum Offer { kOurs, kNone, kOther, kTwo };
  size_t offer = kOurs;
  size_t person = 0;  // 0: no certificate
  enum Host { kAny, kRight, kWrong };
  size_t host = kAny;

  static Plan of(Input& input) {
    Plan out;
    const size_t server = input.byte(), client = input.byte();
    out.raw_client = server % 3 == 1;
    out.raw_server = server % 3 == 2;
    out.server_protocols = server / 3 % 3;
    out.certificate_required = server / 9 % 2 && !out.raw_server;
    out.alpn_required = server / 18 % 2 && !out.raw_server;
    out.slow = server / 36 % 2;
    out.reloaded = server / 72 % 2;
    out.client_protocols = client % 3;
    out.offer = client / 3 % 4;
    out.person = client / 12 % 3;
    out.host = out.raw_client ? kAny : client / 36 % 3;
    return out;
  }
  bool protocol_fits() const {
    return server_protocols == 0 || client_protocols == 0 || server_protocols == client_protocols;
  }
  bool alpn_fits() const { return raw_server || (offer != kOther && (offer != kNone || !alpn_required)); }
  bool fits() const { return protocol_fits() && alpn_fits() && host != kWrong; }
  // Whether they get together at all, without a ticket.
  bool good() const { return fits() && (person != 0 || !certificate_required); }
  bool tls13() const { return server_protocols != 1 && client_protocols != 1; }
};

// What the accepting side has to know of a client.
struct Known {
  size_t person = 0;
  std::string common() const { return person == 0 ? "" : person == 1 ? "anna" : "berta"; }
  std::string distinguished() const { return person == 0 ? "" : "CN=" + common() + ",O=Shop"; }
};

// The n-th byte that somebody writes.
static std::string pattern(size_t from, size_t size) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>((from + i) * 2654435761u >> 13);
  return out;
}

// Looks at what one write has made: whole records, none too long. How many hold data or messages of TLS 1.3.
static size_t records_of(std::string_view cipher) {
  size_t count = 0;
  while (!cipher.empty()) {
    ASSERT(cipher.size() >= 5);
    const size_t size = static_cast<unsigned char>(cipher[3]) * size_t{256} + static_cast<unsigned char>(cipher[4]);
    ASSERT(size <= TlsSession::kRecordMost + 64 && cipher.size() >= 5 + size);
    count += cipher[0] == SSL3_RT_APPLICATION_DATA;
    cipher.remove_prefix(5 + size);
  }
  return count;
}

struct End {
  std::unique_ptr<TlsSession> session;  // ours, or
  std::unique_ptr<RawPeer> raw;         // OpenSSL alone
  std::string to_come, got, wrote, why;
  bool opened = false, failed = false, said_end = false, ticket_due = false;
  size_t tickets_heard = 0, tickets_sent = 0, silent_updates = 0;

  SSL* ssl() const { return session ? session->ssl() : raw->ssl; }
  bool open() const { return session ? session->established() : !failed && SSL_is_init_finished(raw->ssl); }

  void hear(End& other, size_t size) {
    const std::string cipher = to_come.substr(0, size);
    to_come.erase(0, cipher.size());
    const size_t before = got.size();
    session ? hear_ours(other, cipher) : hear_raw(other, cipher);
    ASSERT(std::string_view(other.wrote).substr(before, got.size() - before) == std::string_view(got).substr(before));
    opened = opened || open();
    ASSERT(opened || got.empty());
    if (got.size() > before) silent_updates = 0;
  }
  void write(End& other, const std::vector<size_t>& sizes) {
    if (!open() || said_end) return;
    std::vector<std::string> pieces;
    std::vector<iovec> spans;
    size_t total = 0;
    for (const size_t size : sizes) {
      pieces.push_back(pattern(wrote.size(), size));
      wrote += pieces.back();  // before anything can arrive
      total += size;
    }
    for (std::string& piece : pieces) spans.push_back({piece.data(), piece.size()});
    if (!session) return write_raw(other, pieces);
    std::string out;
    // The answer to a key update goes first, and a ticket not with it.
    const bool ticket = ticket_due && SSL_get_key_update_type(ssl()) == SSL_KEY_UPDATE_NONE;
    const bool good = session->encrypt(spans, out);
    ASSERT(good || session->state() == State::kFailed);
    failed = !good;
    const size_t records = records_of(out), full = (total + TlsSession::kRecordMost - 1) / TlsSession::kRecordMost;
    // A ticket, and an answer to key updates, go in front.
    ASSERT(failed || (records >= full && records <= full + ticket + (silent_updates > 0 || asked_for_update)));
    tickets_sent += ticket;
    ticket_due = ticket_due && !ticket;
    asked_for_update = false;
    other.to_come += out;
  }
  void end(End& other) {
    if (!open() || said_end) return;
    said_end = true;
    if (session) return session->close_notify(other.to_come);
    SSL_shutdown(raw->ssl);
    other.to_come += raw->say();
  }
  // A password was right.
  void peer_proves() {
    if (!session || !session->established() || proved) return;
    proved = true;
    ASSERT((SSL_get_options(ssl()) & SSL_OP_CLEANSE_PLAINTEXT) != 0);
    session->peer_has_proved();
    ASSERT((SSL_get_options(ssl()) & SSL_OP_CLEANSE_PLAINTEXT) == 0);
    ticket_due = SSL_version(ssl()) == TLS1_3_VERSION;
  }
  // Key updates without any data, which arrive at once.
  void update_keys(End& other, size_t count) {
    if (!raw || !open() || said_end || SSL_version(ssl()) != TLS1_3_VERSION) return;
    other.hear(*this, other.to_come.size());
    for (size_t i = 0; i < count; ++i) {
      ASSERT(SSL_key_update(ssl(), i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
      ASSERT(SSL_do_handshake(ssl()) == 1);
    }
    other.to_come += raw->say();
    other.asked_for_update = true;
    other.silent_updates += count;
    other.hear(*this, other.to_come.size());
  }

  bool proved = false, asked_for_update = false;

 private:
  void hear_ours(End& other, const std::string& cipher) {
    std::string out;
    const bool was_failed = failed;
    const size_t before = got.size();
    const TlsSession::Fed fed = feed(*session, cipher, got, out);
    ASSERT(fed.plain == got.size() - before);
    failed = session->state() == State::kFailed;
    ASSERT(fed.plain == 0 || session->established() || failed);
    ASSERT(!was_failed || (failed && fed.error.empty() && fed.plain == 0 && out.empty()));
    ASSERT(was_failed || fed.error.empty() == !failed);
    if (!fed.error.empty()) why = fed.error;
    other.to_come += out;
  }
  void hear_raw(End& other, const std::string& cipher) {
    if (failed) return;
    if (!cipher.empty()) BIO_write(raw->in, cipher.data(), static_cast<int>(cipher.size()));
    char room[16384];
    int size;
    ERR_clear_error();
    while ((size = SSL_read(raw->ssl, room, sizeof room)) > 0) got.append(room, static_cast<size_t>(size));
    const int error = SSL_get_error(raw->ssl, size);
    failed = error != SSL_ERROR_WANT_READ && error != SSL_ERROR_ZERO_RETURN;
    ERR_clear_error();
    other.to_come += raw->say();
  }
  void write_raw(End& other, const std::vector<std::string>& pieces) {
    for (const std::string& piece : pieces) {
      const int size = static_cast<int>(piece.size());
      ASSERT(size == 0 || SSL_write(raw->ssl, piece.data(), size) == size);
    }
    other.to_come += raw->say();
  }
};

// What a client keeps for the next time.
struct Kept {
  std::unique_ptr<SSL_SESSION, Freed<SSL_SESSION_free>> session;
  Plan plan;
  Known known;
  bool sure = false;  // nothing was in its way: it must be taken
};

class Connection {
 public:
  Connection(const TlsWorld& world, const Plan& plan, const Kept* kept) : plan_(plan) {
    if (kept && kept->session && !plan.raw_server) kept_ = kept;
    may_resume_ = kept_ && SSL_SESSION_is_resumable(kept_->session.get()) == 1;
    make_server(world);
    make_client(world);
    b_.hear(a_, 0);
    if (!plan_.slow) pump(8);
    look();
  }
  ~Connection() {
    // Without a close_notify OpenSSL would forget the session.
    for (const End* one : {&a_, &b_}) {
      if (one->raw) SSL_set_shutdown(one->raw->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
  }

  void act(Input& input, size_t what) {
    End& one = what & 1 ? a_ : b_;
    End& other = what & 1 ? b_ : a_;
    switch (what / 2 % 9) {
      case 0:
      case 1: one.hear(other, one.to_come.size()); break;
      case 2: one.hear(other, 1 + input.byte()); break;
      case 3: write(one, other, input); break;
      case 4:
        if (input.byte() == 0) one.end(other);
        break;
      case 5: {  // a byte is changed
        const size_t at = input.number();
        const char by = static_cast<char>(input.byte());
        if (at < one.to_come.size()) one.to_come[at] ^= by;
        changed_ = true;
        break;
      }
      case 6: {  // bytes come that nobody has sent
        const size_t at = input.number();
        one.to_come.insert(std::min(at, one.to_come.size()), input.take(input.byte()));
        changed_ = true;
        break;
      }
      case 7: {  // bytes are lost
        const size_t at = std::min(input.number(), one.to_come.size());
        one.to_come.erase(at, 1 + input.byte());
        changed_ = true;
        break;
      }
      default:
        if (one.raw) {
          flood(one, other, input.byte());
        } else if (a_.session) {
          a_.peer_proves();
        }
    }
    look();
  }

  // All arrives that is on its way.
  Kept finish() {
    pump(20);
    look();
    Kept out;
    if (!changed_) {
      if (good()) {
        finish_good();
      } else {
        ASSERT(!a_.open() && !b_.open() && a_.failed && b_.failed);
        const bool by_alpn = plan_.protocol_fits() && plan_.alpn_required && plan_.offer == Plan::kNone;
        ASSERT(!by_alpn || a_.why == "no application protocol is named (ALPN)");
      }
    }
    if (!a_.session || !a_.opened || !b_.open()) return out;
    out.session.reset(SSL_get1_session(b_.ssl()));
    out.plan = plan_;
    out.known = known();
    out.sure = !changed_ && !a_.failed && !b_.failed && SSL_SESSION_has_ticket(out.session.get()) == 1 &&
               (!plan_.tls13() || b_.tickets_heard > 0);
    return out;
  }

 private:
  void make_server(const TlsWorld& world) {
    const size_t protocols = plan_.server_protocols;
    if (plan_.raw_server) {
      a_.raw = std::make_unique<RawPeer>(world.raw_accepting[protocols].get(), true);
    } else {
      const auto& context = world.accepting[protocols][plan_.certificate_required][plan_.reloaded];
      a_.session = TlsSession::accepting(context->native(), plan_.alpn_required, context);
    }
  }
  void make_client(const TlsWorld& world) {
    const size_t protocols = plan_.client_protocols;
    if (plan_.raw_client) {
      b_.raw = std::make_unique<RawPeer>(world.raw_connecting[protocols].get());
    } else {
      const auto& context = world.connecting[protocols][plan_.host != Plan::kAny];
      b_.session = TlsSession::connecting(context->native(), context);
      context->expect_host(b_.ssl(), plan_.host == Plan::kWrong ? "elsewhere" : "localhost");
    }
    constexpr std::string_view kOffers[] = {"\x0apostgresql", "", "\x02h2\x0bpostgresqlx", "\x02h2\x0apostgresql"};
    const std::string_view offer = kOffers[plan_.offer];
    ASSERT(SSL_set_alpn_protos(b_.ssl(), reinterpret_cast<const unsigned char*>(offer.data()),
                               static_cast<unsigned>(offer.size())) == 0);
    if (plan_.person != 0) {
      const Identity& who = world.people[plan_.person - 1];
      ASSERT(SSL_use_certificate(b_.ssl(), who.cert.get()) == 1);
      ASSERT(SSL_use_PrivateKey(b_.ssl(), who.key.get()) == 1);
    }
    if (kept_) SSL_set_session(b_.ssl(), kept_->session.get());
    SSL_set_msg_callback(
        b_.ssl(), [](int sent, int version, int type, const void* bytes, size_t size, SSL*, void* end) {
          const bool ticket =
              type == SSL3_RT_HANDSHAKE && size > 0 && *static_cast<const char*>(bytes) == SSL3_MT_NEWSESSION_TICKET;
          if (!sent && ticket && version == TLS1_3_VERSION) ++static_cast<End*>(end)->tickets_heard;
        });
    SSL_set_msg_callback_arg(b_.ssl(), &b_);
  }

  void write(End& one, End& other, Input& input) const {
    std::vector<size_t> sizes(1 + input.byte() % 5);
    for (size_t& size : sizes) size = input.number() % 40961;
    if (one.wrote.size() < 200'000) one.write(other, sizes);
  }

  void flood(End& one, End& other, size_t count) {
    const bool was_open = other.open() && !other.failed;
    one.update_keys(other, count);
    if (changed_ || !was_open || one.said_end) return;
    // Each takes OpenSSL up to five of kStepsMost steps, and what else was said some more.
    ASSERT(other.silent_updates > 20 || !other.failed);
    ASSERT(other.silent_updates < 60 || other.failed);
    ASSERT(!other.failed || other.why == "too many messages of the TLS protocol without data");
    flooded_ = flooded_ || other.failed;
  }

  void pump(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      a_.hear(b_, a_.to_come.size());
      b_.hear(a_, b_.to_come.size());
    }
  }

  // Whom the accepting side has to take the client for.
  Known known() const {
    if (a_.session->resumed()) return kept_->known;
    return {plan_.person};
  }

  // A session that is resumed brings its certificate.
  bool good() const {
    const bool resumed = kept_ && a_.session && a_.session->resumed();
    return plan_.good() || (plan_.fits() && resumed && known().person != 0);
  }

  // What must be so at any time, whatever the line does.
  void look() const {
    ASSERT(!a_.opened || good());
    ASSERT(!b_.opened || plan_.fits());
    if (!a_.session) return;
    ASSERT(!plan_.tls13() || b_.tickets_heard <= a_.tickets_sent);
    if (!a_.open()) return;
    const std::string_view agreed = plan_.offer == Plan::kOurs || plan_.offer == Plan::kTwo ? kTlsProtocol : "";
    ASSERT(a_.session->alpn() == agreed && (!plan_.alpn_required || agreed == kTlsProtocol));
    ASSERT(!a_.session->resumed() || (kept_ && same_settings()));
    ASSERT(a_.session->has_peer_certificate() == (known().person != 0));
    ASSERT(a_.session->peer_common_name() == known().common());
    ASSERT(a_.session->peer_distinguished_name() == known().distinguished());
    ASSERT(!plan_.certificate_required || known().person != 0);
  }

  bool same_settings() const {
    return kept_->plan.server_protocols == plan_.server_protocols &&
           kept_->plan.certificate_required == plan_.certificate_required;
  }

  // What else was said between may have been the last straw.
  static bool was_flooded(const End& one) {
    return one.silent_updates > 20 && one.why == "too many messages of the TLS protocol without data";
  }

  void finish_good() const {
    if (flooded_ || was_flooded(a_) || was_flooded(b_)) return;
    ASSERT(a_.open() && b_.open() && a_.wrote == b_.got && b_.wrote == a_.got);
    if (a_.session) ASSERT(!b_.said_end || a_.session->state() == State::kEnded);
    if (b_.session) ASSERT(!a_.said_end || b_.session->state() == State::kEnded);
    ASSERT(SSL_version(a_.ssl()) == (plan_.tls13() ? TLS1_3_VERSION : TLS1_2_VERSION));
    if (a_.session && b_.session) {
      ASSERT(a_.session->describe() == b_.session->describe() && a_.session->alpn() == b_.session->alpn());
      ASSERT(a_.session->resumed() == b_.session->resumed());
      ASSERT(a_.session->end_point_hash() == b_.session->end_point_hash() &&
             a_.session->end_point_hash().size() == 32);
    }
    if (!a_.session) return;
    ASSERT(!plan_.tls13() || b_.tickets_heard == a_.tickets_sent);
    const bool must = kept_ && may_resume_ && kept_->sure && same_settings() &&
                      kept_->plan.client_protocols == plan_.client_protocols && kept_->plan.host == plan_.host;
    ASSERT(!must || a_.session->resumed());
  }

  const Plan plan_;
  const Kept* kept_ = nullptr;
  bool may_resume_ = false;  // a client's OpenSSL gives a session up when a connection with it has failed
  End a_, b_;                // who accepts, who connects
  bool changed_ = false, flooded_ = false;
};

static void try_input(Input input) {
  static const TlsWorld world;
  throw_dice_anew(5);
  Kept kept;
  Plan plan = Plan::of(input);
  for (int times = 0; times < 4; ++times) {
    Connection connection(world, plan, &kept);
    bool again = false;
    while (input.left() && !again) {
      const size_t what = input.byte();
      again = what >= 240;
      if (!again) connection.act(input, what);
    }
    Kept next = connection.finish();
    if (!again) return;
    if (next.session) kept = std::move(next);
    if (const size_t how = input.byte(); how % 3 == 1) {  // as somebody else
      plan = Plan::of(input);
      if (kept.session) plan.host = kept.plan.host;  // OpenSSL looks at no name again that a session has
    } else if (how % 3 == 2) {                       // without the ticket
      kept = {};
      plan = Plan::of(input);
    }
  }
}

}  // namespace berth::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::net::try_input({data, size});
  return 0;
}
