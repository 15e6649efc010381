// What a connection to a server does before its first packet: it asks for TLS, or begins it at once, and checks who
// is there, as server_tls_* say. One machine for every connection to a server (its first, a retry, a cancel request,
// auth_query's: T25), without a socket of its own: the engine's calls are its only acts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "auth/exchange.h"
#include "config/config.h"
#include "net/engine.h"
#include "session/context.h"

namespace berth::session {

// How one server is to be spoken to. A cancel request copies that of the server that it is for.
struct ServerTlsWish {
  std::shared_ptr<const net::TlsContext> context;
  std::string host;     // as the configuration names it
  bool direct = false;  // no question first: the ClientHello is what the server hears first
  bool must = false;    // a server that declines is not spoken to
};

// As the options of server_tls_* have it, with their newest context. Null: in clear words, which is all that `allow`
// says, unless the server `insists`. (On a Unix socket nothing of it counts.)
std::shared_ptr<const ServerTlsWish> wish_for_tls(std::shared_ptr<const net::TlsContext> newest,
                                                  const config::Options& options, const std::string& host,
                                                  bool insists);
// allow: whether a server that refuses a login in clear words with this SQLSTATE is asked again inside of TLS.
bool asks_for_tls(std::string_view sqlstate, const net::TlsContext* newest);
// How a login is bound to the connection's session; null: it has none.
auth::ChannelBinding binding_of(const net::TlsSession* session, const config::Options& options);

class ServerTls {
 public:
  ServerTls(std::shared_ptr<const ServerTlsWish> wish, TlsCounts& counts);
  ~ServerTls();
  ServerTls(const ServerTls&) = delete;
  ServerTls& operator=(const ServerTls&) = delete;

  enum class Next : uint8_t {
    kWait,     // for more: bytes (on_bytes) or the end of the handshake (on_handshake)
    kClear,    // the server declines, and that is allowed: go on in clear words
    kSecured,  // go on, inside of TLS
    kFailed,   // why() says so, in our own words only (T23)
  };
  Next start(net::Engine& engine, net::Conn* conn);
  // The server's answer to SSLRequest: one byte, and nothing may follow it before the handshake (T4).
  Next on_bytes(net::Engine& engine, net::Conn* conn, std::string_view bytes);
  Next on_handshake(net::Engine& engine, net::Conn* conn, std::string_view error);
  const std::string& why() const { return why_; }
  // Of kFailed: the server's own trouble of the moment (too many processes, a start), which a retry may not meet.
  bool may_pass() const { return may_pass_; }
  bool asked() const { return state_ == State::kAsked; }

 private:
  enum class State : uint8_t { kStart, kAsked, kShaking, kOver };
  Next shake(net::Engine& engine, net::Conn* conn);
  Next fail(std::string why);

  std::shared_ptr<const ServerTlsWish> wish_;
  TlsCounts& counts_;
  State state_ = State::kStart;
  bool may_pass_ = false;
  std::string why_;
};

}  // namespace berth::session
