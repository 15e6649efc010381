// The server's half of SCRAM-SHA-256, with channel binding or without: reads a client's two messages, writes ours,
// checks its proof. Pure: nonce, salt and keys are given. Which user it is, and what a failure means, is the
// verifier's business.
#pragma once

#include <string>
#include <string_view>

#include "auth/secrets.h"
#include "base/result.h"

namespace berth::auth {

class ScramServer {
 public:
  ScramServer(std::string salt, uint32_t iterations, std::string server_nonce);
  // Before client_first: the hash that SCRAM-SHA-256-PLUS was offered with, and whether the client has chosen it.
  void bind(std::string hash, bool chosen);
  // Reads the client-first-message and gives the server-first-message. The user name in it is not looked at: the one
  // of the startup packet counts, as in PostgreSQL.
  Result<std::string> client_first(std::string_view message);
  // Reads the client-final-message and gives the client's proof. Only after client_first.
  Result<Digest> client_final(std::string_view message);
  // Whether the proof fits a stored key, and the client key that it shows. Only after client_final.
  bool proves(const Digest& proof, const Digest& stored_key, Digest& client_key) const;
  // The server-final-message, which proves us to the client. Only after client_final.
  std::string server_final(const Digest& server_key) const;

 private:
  std::string server_nonce_;
  std::string salt_;
  uint32_t iterations_;
  std::string binding_;  // the hash that we offered to bind to; empty: none
  bool bound_ = false;   // the client has chosen it
  std::string header_;   // the gs2 header, "n,,", "y,," or kPlusHeader
  std::string nonce_;    // the client's and ours together
  std::string client_first_bare_;
  std::string server_first_;
  std::string client_final_without_proof_;
};

}  // namespace berth::auth
