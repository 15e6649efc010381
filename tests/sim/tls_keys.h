// Certificates of worlds with TLS, the contexts that the broker has in them, and OpenSSL as the broker's peers use
// it. All is made once for the process. OpenSSL's own randomness is a seed's, so that a world is the same at each
// replay.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/tls_context.h"

struct ssl_st;
struct ssl_session_st;

namespace berth::sim {

// From now on OpenSSL throws these dice.
void seed_openssl(uint64_t seed);

// What the broker begins or goes on with. `renewed`: the second certificate of the same name, by the same authority.
std::shared_ptr<const net::TlsContext> broker_for_clients(net::TlsMode mode, bool old_version, bool renewed);
std::shared_ptr<const net::TlsContext> broker_for_servers(net::TlsMode mode, bool old_version);

// The name that every server's certificate has.
inline constexpr const char* kTlsHost = "db.sim";

// Who a peer is. Clients check the broker's certificate; a server of kBad shows one that no authority has signed.
enum class TlsRole : uint8_t {
  kClient,
  kClientWithout,
  kClientOfHttp,
  kClientWithoutAlpn,
  kServer,
  kBadServer,
  kServerOfHttp
};

// The far end of one connection.
class TlsPeer {
 public:
  explicit TlsPeer(TlsRole role, ssl_session_st* resumes = nullptr);
  ~TlsPeer();
  TlsPeer(const TlsPeer&) = delete;
  TlsPeer& operator=(const TlsPeer&) = delete;

  // Takes what has come, shakes hands, and returns what was said inside. What must be sent is appended to `out`.
  std::string hear(std::string_view cipher, std::string& out);
  void write(std::string_view plain, std::string& out);
  void say_goodbye(std::string& out);
  bool open() const;
  bool failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }
  bool resumed() const;
  // What a client may resume later; null: nothing. The caller frees it.
  ssl_session_st* session() const;

 private:
  void take_output(std::string& out);
  ssl_st* ssl_;
  std::string error_;
};

}  // namespace berth::sim
