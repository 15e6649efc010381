// One connection of the link to PostgreSQL, over libpq and without ever blocking: the thread polls its descriptor and
// calls on_ready(). It knows what to say to the extension, and not when.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "link/link_machine.h"
#include "link/pq.h"
#include "link/targets.h"
#include "net/address.h"
#include "session/link_board.h"

namespace berth::link {

// Which database the other side is, however its address is spelt: a server's start, to the microsecond, and the
// database's oid. (A cluster's own identifier is that of its standbys and copies, too.)
struct Place {
  Micros server_started_at = 0;  // wall clock; 0: not known
  std::string database;
  bool operator==(const Place&) const = default;
};

// What came of on_ready().
struct Happened {
  enum class Kind { kNothing, kConnected, kVerdict, kListening, kRegistered, kBeaten, kDeregistered, kFailed };
  Kind kind = Kind::kNothing;
  Verdict verdict = Verdict::kAbsent;  // of kVerdict
  Place place;                         // likewise
  bool known = true;                   // of kBeaten
  std::string error;                   // of kFailed: one line
};

class LinkConnection {
 public:
  // `addresses` are those of the target's host if that is a name: libpq would block to look it up.
  void connect(const Target& target, const config::Config& config, const std::vector<net::Address>& addresses);
  // Each sends one query; its answer is a Happened. A failure to send is one, too.
  void ask();
  void listen();
  void register_broker(const session::Identity& identity, const std::string& console);
  void beat(const std::string& id);
  void deregister(const std::string& id);
  void close();

  // It has failed already; on_ready() says how.
  bool broken() const;
  bool open() const { return connection_ != nullptr; }
  // For poll(2). The descriptor may change while a connection is being made. -1: nothing to wait for.
  int descriptor() const;
  short events() const;
  // To be called when poll says so, and once after each call above: what is known already is not told by poll.
  Happened on_ready();
  // Since the last call: a notification on the channel.
  bool take_notified();

 private:
  enum class Asked : uint8_t { kNothing, kVerdict, kListen, kListenFirst, kRegister, kBeat, kDeregister };

  Happened connecting();
  Happened answer(const pg_result* result);
  Happened failed() const;
  void send(Asked asked, const char* sql, const std::vector<std::string>& values = {});
  void send_registration();

  PqConnection connection_;
  bool waits_to_read_ = false;  // a connection that is being made: else it waits to write
  bool connected_ = false;
  bool notified_ = false;
  bool send_failed_ = false;
  Asked asked_ = Asked::kNothing;
  PqResult result_;                        // of what was asked, until the server is ready again
  std::vector<std::string> registration_;  // its parameters, while LISTEN goes ahead
};

}  // namespace berth::link
