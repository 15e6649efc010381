// What a client of transaction or statement mode asks of a session that it does not have: it is told to the log, once
// per client and feature. Recognised by command tags (SET by the statement's first words too), so temporary tables
// and advisory locks are not among them.
#pragma once

#include <cstdint>
#include <string>

namespace berth::session {

class Client;

enum SessionFeature : uint8_t {
  kFeatureListen = 1,      // LISTEN
  kFeaturePrepare = 2,     // PREPARE in SQL; that of the protocol follows the client
  kFeatureHoldCursor = 4,  // DECLARE outside a transaction block: WITH HOLD
  kFeatureSet = 8,         // SET of what PostgreSQL does not report, outside a transaction block
};

// "listen,set": for the console.
std::string feature_names(uint8_t features);
// Says it unless it has been said of this client. Nothing in session mode.
void tell_feature(Client& client, SessionFeature feature);

}  // namespace berth::session
