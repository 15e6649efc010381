// One connection of auth_query to PostgreSQL, on the engine of auth_query's thread: sockets and TLS as for the
// servers of pools (session/server_tls.h), and what is said over it as auth_wire.h has it. What happens to it is
// taken by the thread between two turns of the engine, so nothing here calls back.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "auth/exchange.h"
#include "base/secret_memory.h"
#include "config/config.h"
#include "link/auth_answer.h"
#include "net/address.h"
#include "net/engine.h"
#include "session/tls_contexts.h"

namespace berth::link {

// Whom to connect to, and as whom.
struct AuthPlan {
  std::shared_ptr<const config::Config> config;
  std::string host;                     // as the configuration names it
  std::vector<net::Address> addresses;  // of it: the next one is tried when one cannot be connected to
  std::string user, database;
  auth::Proof proof;
};

class AuthConnection {
 public:
  AuthConnection() = default;
  ~AuthConnection() { close(); }
  AuthConnection(const AuthConnection&) = delete;
  AuthConnection& operator=(const AuthConnection&) = delete;

  // Begins to connect, by the newest of the contexts for servers. kConnected or kLost follows.
  void connect(net::Engine& engine, session::TlsSide& tls, AuthPlan plan);
  // The work of kWork is done; means nothing to a connection that does not wait for it.
  void resume(auth::Work& work);
  // Each asks one question, of a connection that is not lost: its answer is what happens next.
  void probe();
  void check();
  void query(const std::string& text, bool standard, const std::string& user);
  // Nothing happens any more.
  void close();

  // What has happened, in order; kNothing: no more.
  AuthHappened take();
  bool has_news() const { return !happened_.empty(); }

 private:
  class Line;  // of one connect(): it lives until the engine has closed the last of its sockets

  Line* line_ = nullptr;  // null: closed
  std::list<AuthHappened, SecretAllocator<AuthHappened>> happened_;
  bool insists_ = false;  // server_tls_sslmode allow: the server has refused a login in clear words
};

}  // namespace berth::link
