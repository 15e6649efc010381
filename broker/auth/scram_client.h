// The client's half of SCRAM-SHA-256, with channel binding or without: how the broker proves itself to PostgreSQL.
// Pure: nonce and keys are given.
#pragma once

#include <string>
#include <string_view>

#include "auth/secrets.h"
#include "base/result.h"

namespace berth::auth {

class ScramClient {
 public:
  explicit ScramClient(std::string client_nonce);
  // Before client_first. With a hash the exchange is bound to it (SCRAM-SHA-256-PLUS); without, `able` says that we
  // could bind if only the server offered it, which a server that did offer it takes for a sign of somebody in
  // between.
  void bind(std::string hash, bool able);
  // What the server says of the secret that it has.
  struct Challenge {
    std::string salt;
    uint32_t iterations = 0;
  };
  // The client-first-message.
  std::string client_first() const;
  // Reads the server-first-message. Everything in it is bounded (T8, T12). Once.
  Result<Challenge> server_first(std::string_view message);
  // The client-final-message, with the proof that the key gives. Only after server_first.
  std::string client_final(const Digest& client_key);
  // Reads the server-final-message: "" when it proves that the server knows the server key, else why not. Only after
  // client_final.
  std::string server_final(std::string_view message, const Digest& server_key) const;

 private:
  std::string header_ = "n,,";  // the gs2 header
  std::string binding_;         // the hash, if it is bound
  std::string client_nonce_;
  std::string nonce_;  // ours and the server's together
  std::string server_first_;
  std::string client_final_without_proof_;
};

}  // namespace berth::auth
