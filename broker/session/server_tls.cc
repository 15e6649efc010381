// See server_tls.h.
#include "session/server_tls.h"

#include <fmt/format.h>

#include <utility>

#include "base/assert.h"
#include "base/fault.h"
#include "net/tls_session.h"
#include "wire/encode.h"
#include "wire/startup.h"

namespace berth::session {

std::shared_ptr<const ServerTlsWish> wish_for_tls(std::shared_ptr<const net::TlsContext> newest,
                                                  const config::Options& options, const std::string& host,
                                                  bool insists) {
  if (!newest || (newest->mode() == net::TlsMode::kAllow && !insists)) return nullptr;
  auto wish = std::make_shared<ServerTlsWish>();
  wish->host = host;
  wish->must = newest->mode() >= net::TlsMode::kRequire;
  wish->direct = wish->must && options.server_tls_negotiation == "direct";
  wish->context = std::move(newest);
  return wish;
}

bool asks_for_tls(std::string_view sqlstate, const net::TlsContext* newest) {
  return sqlstate == "28000" && newest && newest->mode() == net::TlsMode::kAllow;
}

auth::ChannelBinding binding_of(const net::TlsSession* session, const config::Options& options) {
  const std::string& wish = options.server_channel_binding;
  auth::ChannelBinding binding;
  binding.wish = wish == "require"   ? auth::BindingWish::kRequire
                 : wish == "disable" ? auth::BindingWish::kDisable
                                     : auth::BindingWish::kPrefer;
  if (session) binding.hash = session->end_point_hash();
  return binding;
}

ServerTls::ServerTls(std::shared_ptr<const ServerTlsWish> wish, TlsCounts& counts)
    : wish_(std::move(wish)), counts_(counts) {
  ASSERT(wish_ && wish_->context);
}

// A handshake that is cut off has failed, too.
ServerTls::~ServerTls() {
  if (state_ == State::kShaking) counts_.failures.fetch_add(1, std::memory_order_relaxed);
}

ServerTls::Next ServerTls::fail(std::string why) {
  state_ = State::kOver;
  why_ = std::move(why);
  return Next::kFailed;
}

ServerTls::Next ServerTls::start(net::Engine& engine, net::Conn* conn) {
  ASSERT(state_ == State::kStart);
  if (wish_->direct) return shake(engine, conn);
  std::string request;
  wire::put32(request, 8);
  wire::put32(request, wire::kSslRequestCode);
  state_ = State::kAsked;
  net::write(engine, conn, request);
  return Next::kWait;
}

ServerTls::Next ServerTls::on_bytes(net::Engine& engine, net::Conn* conn, std::string_view bytes) {
  ASSERT(state_ == State::kAsked && !bytes.empty());
  const char answer = bytes[0];
  may_pass_ = answer == 'E';
  if (answer == 'E') return fail("the server answers the request for TLS with an error");
  if (answer != 'S' && answer != 'N') return fail("the server's answer to the request for TLS is invalid");
  // Whatever stands behind the answer was sent by somebody who is not proved: it must never count as said inside of
  // TLS.
  if (bytes.size() > 1) return fail("the server sent unencrypted data after its answer to the request for TLS");
  if (answer == 'S') return shake(engine, conn);
  if (wish_->must && !FAULT(declined_tls_accepted))
    return fail("the server does not offer TLS, but server_tls_sslmode requires it");
  state_ = State::kOver;
  return Next::kClear;
}

ServerTls::Next ServerTls::shake(net::Engine& engine, net::Conn* conn) {
  const std::shared_ptr<const net::TlsContext>& context = wish_->context;
  std::unique_ptr<net::TlsSession> session = net::TlsSession::connecting(context->native(), context);
  if (!session) return fail("out of memory for TLS");
  context->expect_host(session->ssl(), wish_->host);
  state_ = State::kShaking;
  engine.start_tls(conn, std::move(session));
  return Next::kWait;
}

ServerTls::Next ServerTls::on_handshake(net::Engine& engine, net::Conn* conn, std::string_view error) {
  ASSERT(state_ == State::kShaking);
  if (!error.empty()) {
    if (net::tells_of_expiry(error)) counts_.expired.fetch_add(1, std::memory_order_relaxed);
    counts_.failures.fetch_add(1, std::memory_order_relaxed);
    return fail(fmt::format("TLS handshake failed: {}", error));
  }
  const net::TlsSession* session = engine.tls(conn);
  ASSERT(session);
  // Direct TLS has not asked for PostgreSQL: only the protocol's name says that it is one.
  if (wish_->direct && session->alpn() != net::kTlsProtocol && !FAULT(any_protocol_taken)) {
    counts_.failures.fetch_add(1, std::memory_order_relaxed);
    return fail("TLS handshake failed: the server did not agree on the protocol postgresql (ALPN)");
  }
  // Every handshake without one should have failed; this does not depend on ciphers.
  if (wish_->context->mode() >= net::TlsMode::kVerifyCa && !session->has_peer_certificate()) {
    counts_.failures.fetch_add(1, std::memory_order_relaxed);
    return fail("TLS handshake failed: the server has shown no certificate");
  }
  counts_.handshakes.fetch_add(1, std::memory_order_relaxed);
  if (session->resumed()) counts_.resumptions.fetch_add(1, std::memory_order_relaxed);
  state_ = State::kOver;
  return Next::kSecured;
}

}  // namespace berth::session
