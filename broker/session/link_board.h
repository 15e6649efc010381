// What the link (link/) and the console (admin/) tell each other about: who this process is, and how each of its
// links to a database with the extension fares.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "auth/secrets.h"
#include "base/time.h"

namespace berth::session {

// Who this process is. Filled by make_identity() before the workers start, and constant from then on.
struct Identity {
  std::string id;  // of this process, not of the configuration: another one at each start
  std::string name;
  std::string version;
  Micros started_at = 0;  // wall clock
  // What pgberth_link proves itself with at the console: the text goes to the databases, the secret to the verifier.
  SecretString password;
  auth::Secret secret;
};

void make_identity(Identity& identity, std::string_view version, int64_t port);

// One row of SHOW LINKS.
struct LinkRow {
  std::string database;  // as clients call it; of `link` = connection string: the server's own name
  std::string host;
  int64_t port = 0;
  std::string server_database;
  std::string user;
  std::string state;
  Micros since = 0;  // wall clock
  std::string error;
  std::string registered_id;  // empty: not registered
  std::string console;        // as registered, without a secret
  // When the server that it leads to started, and when it said so (wall clock; 0: it has not).
  Micros server_started_at = 0;
  Micros asked_at = 0;
};

// The rows, written by the link's thread, read by the console's. Rare on both sides, so a lock does.
class LinkBoard {
 public:
  void publish(std::vector<LinkRow> rows, bool off);
  std::vector<LinkRow> rows() const;
  // "off", "none" or "up: a, b": one column of SHOW BROKER. Up is a database whose registration is another link's,
  // too.
  std::string summary() const;

 private:
  mutable std::mutex mutex_;
  std::vector<LinkRow> rows_;  // guarded by mutex_
  bool off_ = true;            // likewise
};

}  // namespace berth::session
