// Between accept and chapter 1, for clients that speak TLS: asked for in clear words (SSLRequest, answered `S`), or
// at once (direct TLS: the first byte is that of a handshake, and ALPN must name PostgreSQL's protocol). The
// handshake is the engine's; here is what it means for the session. Over the Unix socket there is none, as in
// PgBouncer.
#include "base/fault.h"
#include "base/log.h"
#include "net/tls_context.h"
#include "net/tls_session.h"
#include "session/client.h"

namespace berth::session {

// What the first byte of a TLS record of a handshake is. A startup packet begins with the upper byte of its length:
// 0.
constexpr char kTlsHandshake = 0x16;

std::shared_ptr<const net::TlsContext> Client::tls_offered() const {
  return unix_socket ? nullptr : context.globals.tls.clients.context();
}

// Direct TLS, if these are the first bytes of the connection: what comes after a request in clear words is no
// ClientHello.
bool Client::begin_direct_tls(std::string_view bytes) {
  if (bytes.empty() || bytes[0] != kTlsHandshake || encrypted || seen_ssl || seen_gss) return false;
  const std::shared_ptr<const net::TlsContext> offered = tls_offered();
  if (!offered) return false;
  begin_tls(offered, true);
  return true;
}

// T4: whoever sends ahead in clear words what TLS should protect is told so and not obeyed, as in PostgreSQL, also if
// the request would be declined. T26, T27: one request of a kind, and none where TLS is spoken already.
void Client::ssl_on_request(bool more) {
  if (seen_ssl || encrypted) {
    return fatal(ClientEnd::kBadStartup, "08P01",
                 encrypted ? "SSLRequest inside of TLS" : "SSLRequest was answered already");
  }
  seen_ssl = true;
  made_progress();
  if (more) return fatal(ClientEnd::kClearAfterTlsRequest, "08P01");
  const std::shared_ptr<const net::TlsContext> offered = tls_offered();
  if (!offered) return send("N");
  send("S");
  begin_tls(offered, false);
}

void Client::begin_tls(const std::shared_ptr<const net::TlsContext>& offered, bool direct) {
  std::unique_ptr<net::TlsSession> session = net::TlsSession::accepting(offered->native(), direct, offered);
  if (!session) return close(ClientEnd::kTlsFailed, "TLS handshake failed: out of memory");
  handshaking = true;
  context.engine.start_tls(conn, std::move(session));
}

void Client::on_handshake(std::string_view error) {
  if (closing()) return;
  if (!error.empty()) {
    const std::string text = fmt::format("TLS handshake failed: {}", error);
    if (context.options().log_pooler_errors && context.refusals.take(context.now()))
      LOG_WARNING("{} {}", label(), text);
    if (net::tells_of_expiry(error))
      context.globals.tls.clients.counts.expired.fetch_add(1, std::memory_order_relaxed);
    return close(ClientEnd::kTlsFailed, text);
  }
  handshaking = false;
  encrypted = true;
  made_progress();
  TlsCounts& counts = context.globals.tls.clients.counts;
  counts.handshakes.fetch_add(1, std::memory_order_relaxed);
  if (tls()->resumed()) counts.resumptions.fetch_add(1, std::memory_order_relaxed);
}

const net::TlsSession* Client::tls() const {
  return encrypted && conn ? context.engine.tls(conn) : nullptr;
}

std::string Client::binding() const {
  const net::TlsSession* session = tls();
  return session ? session->end_point_hash() : std::string();
}

std::string Client::tls_text() const {
  const net::TlsSession* session = tls();
  return session ? session->describe() : std::string();
}

// Whether a startup packet may come as this one has come.
bool Client::encrypted_enough() const {
  const std::shared_ptr<const net::TlsContext> offered = encrypted ? nullptr : tls_offered();
  return !offered || offered->mode() < net::TlsMode::kRequire || FAULT(clear_words_let_in);
}

}  // namespace berth::session
