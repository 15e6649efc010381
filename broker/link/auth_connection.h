// One connection of auth_query to PostgreSQL, over libpq and without ever blocking: the thread polls its descriptor
// and calls on_ready(). It knows what to say, and not when. No parameter of any client reaches it, and its
// search_path is its own (T6).
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "link/auth_machine.h"
#include "link/pq.h"
#include "link/targets.h"
#include "net/address.h"

namespace berth::link {

// What came of on_ready().
struct AuthHappened {
  enum class Kind : uint8_t { kNothing, kConnected, kProbed, kChecked, kRow, kRefused, kLost };
  Kind kind = Kind::kNothing;
  bool generations = false;  // of kProbed
  auth::MockProfile usual;   // likewise
  int64_t generation = 0;    // of kChecked
  Micros server_now = 0;     // likewise
  AuthRow row;               // of kRow
  std::string error;         // of kRefused and kLost: one line
  bool no_database = false;  // of kLost
};

class AuthConnection {
 public:
  // `addresses` are those of the target's host if that is a name.
  void connect(const Target& target, const config::Config& config, const std::vector<net::Address>& addresses);
  // Each sends one query; its answer is an AuthHappened. A failure to send is one, too.
  void probe();
  void check();
  void query(const std::string& text, bool standard, const std::string& user);
  void close();

  bool open() const { return connection_ != nullptr; }
  bool broken() const;  // on_ready() says how
  // For poll(2). The descriptor may change while a connection is being made.
  int descriptor() const;
  short events() const;
  // To be called when poll says so, and once after each call above.
  AuthHappened on_ready();

 private:
  enum class Asked : uint8_t { kNothing, kProbe, kCheck, kStandard, kOwn };

  AuthHappened connecting();
  AuthHappened answer(const pg_result* result);
  AuthHappened row_of(const pg_result* result, bool standard) const;
  AuthHappened lost() const;
  void send(Asked asked, const char* sql, const char* user = nullptr);

  PqConnection connection_;
  bool waits_to_read_ = false;  // a connection that is being made: else it waits to write
  bool connected_ = false;
  bool send_failed_ = false;
  Asked asked_ = Asked::kNothing;
  std::string user_;  // whom the query is about
  PqResult result_;   // of what was asked, until the server is ready again
};

}  // namespace berth::link
