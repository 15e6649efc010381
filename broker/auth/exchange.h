// Both sides of a login as small machines without sockets: bytes in, bytes out. The broker's client is proved by a
// ClientVerifier; the broker proves itself to PostgreSQL by a ServerLogin. One object per login in flight, freed
// after.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "auth/secrets.h"
#include "auth/work.h"
#include "wire/tags.h"

namespace berth::auth {

// The auth_type values of PgBouncer that work today.
enum class Method { kTrust, kAny, kPlain, kMd5, kScramSha256 };

struct Step {
  enum class Kind { kSend, kOk, kFailed, kWork };
  Kind kind = Kind::kFailed;
  std::string
      bytes;  // kSend: whole protocol messages to send; kOk: what to send before AuthenticationOk, may be empty
  std::string reason;               // kFailed: for the log only; never holds a secret and never goes to a client
  bool protocol_violation = false;  // kFailed: the message was malformed (08P01), rather than the proof wrong (28P01)
  bool unproved = false;            // kFailed: nobody could say whether the proof is right, so it is no guess either
  std::unique_ptr<Work> work = nullptr;  // kWork: to be run, on any thread, and then given to resume()
};

// What an unknown user is made to look like: the kind of secret that most users have, and its iterations. Without
// one, an unknown user looks like one whose secret is of the method's own kind (with `scram_iterations`).
struct MockProfile {
  SecretKind kind = SecretKind::kNone;
  uint32_t iterations = 0;  // of kScram; 0: as `scram_iterations`
};
MockProfile most_common_profile(const std::vector<const Secret*>& secrets);

// Verifies one client. `secret` is what auth_file says of the user, null for a user that is not there: the exchange
// then takes the same steps and the same time as for a wrong password, and fails (failure class T3). `md5` accepts a
// plain or md5 secret, and takes SCRAM when the secret is one, as PgBouncer does; `plain` accepts any kind of secret.
class ClientVerifier : public SecretObject {
 public:
  virtual ~ClientVerifier() = default;
  // What to send first: an Authentication request, or kOk (trust, any).
  virtual Step start() = 0;
  // Feeds the body of one PasswordMessage / SASLInitialResponse / SASLResponse ('p').
  virtual Step feed(std::string_view body) = 0;
  // The largest body that it will look at.
  virtual size_t message_max() const { return wire::kPasswordSizeMax + 1; }
  // After a step of kWork, and before anything else: its work has run.
  virtual Step resume(Work& work) = 0;
  // After kOk of a SCRAM exchange against a SCRAM secret: the keys that log in to a server whose secret is the same;
  // else empty.
  virtual const ScramKeys& learned() const = 0;
  // After kOk of a clear-text exchange: the password; else empty.
  virtual std::string_view password() const = 0;
};
// The secret is copied. `trust` fails for a null secret, `any` never does. A clear secret is made into a SCRAM secret
// of `scram_iterations` where the exchange is SCRAM: at the first login of a user that is work of 0.2 microseconds
// per iteration, later ones find the result (key_cache.h). A login by `plain` against a SCRAM secret likewise.
// `binding` is the tls-server-end-point hash of our certificate on this connection: SCRAM then offers
// SCRAM-SHA-256-PLUS as well, and refuses a client that could bind and was made to believe that we cannot (T31).
std::unique_ptr<ClientVerifier> make_client_verifier(Method method, std::string_view user, const Secret* secret,
                                                     int scram_iterations, const MockProfile& profile = {},
                                                     std::string_view binding = {});

// What the broker can prove itself with, to a server. Any of them may be empty.
struct Proof {
  Secret secret;             // plain (works with every request), md5 (with md5), SCRAM (only together with `keys`)
  ScramKeys keys;            // client key learned at a client's login, and the server key of its secret
  SecretString otherwise{};  // a clear password for what the others cannot answer
};

// Whether a login to a server is bound to the TLS connection, so that nobody in between can pass it on: libpq's
// channel_binding. With kRequire every other way of proving is refused, and a server that asks for no proof, too.
enum class BindingWish : uint8_t { kDisable, kPrefer, kRequire };
struct ChannelBinding {
  BindingWish wish = BindingWish::kDisable;
  std::string hash;  // tls-server-end-point of the server's certificate; empty: no TLS, or no hash for its kind
};

// Logs in to one server.
class ServerLogin : public SecretObject {
 public:
  virtual ~ServerLogin() = default;
  // Feeds the body of one Authentication message ('R'), AuthenticationOk included. kSend: send and go on (SASLFinal
  // gives kSend without bytes: it is only checked); kOk: logged in. The bytes may hold a clear password: scrub() them
  // when sent. An iteration count above kScramIterationsMax, a nonce or salt beyond its limit, and every malformed
  // message fail (T8, T12).
  virtual Step feed(std::string_view body) = 0;
  // After a step of kWork, and before anything else: its work has run.
  virtual Step resume(Work& work) = 0;
};
std::unique_ptr<ServerLogin> make_server_login(std::string_view user, const Proof& proof,
                                               ChannelBinding binding = {});

}  // namespace berth::auth
