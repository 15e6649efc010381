// One cancel request on its way to PostgreSQL: its own connection, closed by PostgreSQL once the signal is sent. The
// server is not reused before that (failure class 15).
#pragma once

#include "net/engine.h"
#include "session/context.h"

namespace berth::session {

class Server;
struct ServerTlsWish;
class ServerTls;

class CancelConnection final : public net::Handler {
 public:
  CancelConnection(Context& context, Server* server);
  ~CancelConnection();
  void on_connected(int error) override;
  net::Taken on_bytes(std::string_view bytes) override;
  void on_handshake(std::string_view error) override;
  void on_eof(int error) override;
  void on_drained() override {}
  void on_closed() override;
  void on_detached(int, std::string_view, std::unique_ptr<net::TlsSession>) override {}
  // The server is closing: nothing to tell it any more.
  void forget_server() { server_ = nullptr; }
  Micros deadline() const { return deadline_; }
  void finish();
  Server* server() const { return server_; }

 private:
  void send();

  Context& context_;
  Server* server_;
  net::Conn* conn_ = nullptr;
  std::string packet_;
  std::shared_ptr<const ServerTlsWish> tls_wish_;  // that of the server: null if it is spoken to in clear words
  std::unique_ptr<ServerTls> tls_start_;
  Micros deadline_;
  bool closing_ = false;
};

}  // namespace berth::session
