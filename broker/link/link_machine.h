// One link's decisions: when to connect, what to say next, when to give up and for how long to rest. It knows time
// and answers, but neither sockets nor libpq: link_connection.h acts, and feeds back what came of it.
//
//   kResting -> kConnecting -> kAsking -> kRegistering -> kUp <-> kBeating
//                               ^  v                        \-> kLeaving -> kGone
//                            kListening
//
// Whatever fails goes back to kResting, for 1, 2, 4, ... seconds; where only a person can help (no extension, no
// right to register), for kAskAgain. A database that has the extension, or had it, is worth a connection in that
// time: it stays (kListening) and asks every kAskSoon, or at once when a notification tells of CREATE EXTENSION.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/random.h"
#include "base/time.h"

namespace berth::link {

inline constexpr Micros kHeartbeat = 15 * kSecond;
inline constexpr Micros kAskAgain = 60 * kSecond;
inline constexpr Micros kAskSoon = 5 * kSecond;  // over a connection that is there
inline constexpr Micros kBackoffFirst = 1 * kSecond;
inline constexpr Micros kBackoffMax = 32 * kSecond;
inline constexpr Micros kConnectWithin = 10 * kSecond;  // name, connect and login together
inline constexpr Micros kAnswerWithin = 10 * kSecond;   // one query
inline constexpr Micros kLeaveWithin = 1 * kSecond;     // from leave() to the end

enum class LinkState : uint8_t {
  kResting,
  kConnecting,
  kAsking,
  kListening,
  kRegistering,
  kUp,
  kBeating,
  kLeaving,
  kGone
};

// What the database says of the extension. kShared: it is ready, and another link of this broker has registered there
// under another spelling of its address.
enum class Verdict : uint8_t { kReady, kAbsent, kStandby, kDenied, kShared };

// Why a link is not up; in kUp and kBeating kNone.
enum class Condition : uint8_t { kNew, kNone, kFailed, kAbsent, kStandby, kDenied, kShared };

// What to do now.
enum class Step : uint8_t {
  kNothing,
  kConnect,
  kAsk,
  kListen,
  kRegister,
  kBeat,
  kDeregister,
  kDrop,  // close the connection, if there is one
};

class LinkMachine {
 public:
  explicit LinkMachine(uint64_t seed) : random_(seed) {}

  // Each of these returns what is to be done next. `now` never goes back.
  Step on_time(Micros now);
  Step on_connected(Micros now);
  Step on_verdict(Verdict verdict, Micros now);
  // Answers kListen.
  Step on_listening(Micros now);
  Step on_registered(Micros now);
  // `known` false: the database does not know this registration any more.
  Step on_beaten(bool known, Micros now);
  // A notification on the channel: a heartbeat, or the question for the extension, is due at once.
  void on_notified(Micros now);
  // The connection, or what was asked over it, has failed.
  Step on_failed(std::string_view why, Micros now);
  // Something has changed (a reload): do not rest any longer.
  void hurry(Micros now);
  // The end: on_left() when deregistered; on_time() sees to it that it does not take longer than kLeaveWithin.
  Step leave(Micros now);
  Step on_left();

  LinkState state() const { return state_; }
  Condition condition() const { return condition_; }
  const std::string& error() const { return error_; }
  // When on_time() has something to decide.
  Micros wake_at() const { return wake_at_; }
  bool leaving() const { return leaving_; }
  bool registered() const {
    return state_ == LinkState::kUp || state_ == LinkState::kBeating || state_ == LinkState::kLeaving;
  }
  // Whether the log should say where the link stands: once for each change between up, failed, absent and so on, so
  // that a database that is down for a day costs two lines. Asking clears it.
  bool take_news();

 private:
  void enter(LinkState state, Micros wake_at);
  void become(Condition condition, std::string_view error);
  Step rest(Micros now, Micros pause);
  Step stay(Micros now);
  Step ask(LinkState state, Step step, Micros now);
  Micros with_jitter(Micros pause);

  Random random_;
  LinkState state_ = LinkState::kResting;
  Condition condition_ = Condition::kNew;
  std::string error_;
  Micros wake_at_ = 0;
  Micros backoff_ = kBackoffFirst;
  Micros leave_by_ = 0;
  bool was_up_ = false;   // this database has had the extension
  bool listens_ = false;  // on this connection
  bool again_ = false;    // a notification came while the answer was on its way
  bool leaving_ = false;  // leave() came while an answer was due: the next step is to deregister
  bool news_ = false;
};

}  // namespace berth::link
