#include "link/link_machine.h"

#include <algorithm>

#include "base/assert.h"

namespace berth::link {

void LinkMachine::enter(LinkState state, Micros wake_at) {
  state_ = state;
  wake_at_ = wake_at;
}

void LinkMachine::become(Condition condition, std::string_view error) {
  news_ = news_ || condition != condition_;
  condition_ = condition;
  error_ = error;
}

bool LinkMachine::take_news() {
  const bool news = news_;
  news_ = false;
  return news;
}

// Up to a quarter more, so that many brokers do not come back to a restarted server in one moment.
Micros LinkMachine::with_jitter(Micros pause) {
  return pause + static_cast<Micros>(random_.below(static_cast<uint64_t>(pause / 4)));
}

Step LinkMachine::rest(Micros now, Micros pause) {
  if (leaving_) {
    enter(LinkState::kGone, kNever);
  } else {
    enter(LinkState::kResting, now + with_jitter(pause));
  }
  return Step::kDrop;
}

Step LinkMachine::ask(LinkState state, Step step, Micros now) {
  enter(state, now + kAnswerWithin);
  return step;
}

Step LinkMachine::on_time(Micros now) {
  if (now < wake_at_) return Step::kNothing;
  switch (state_) {
    case LinkState::kResting: enter(LinkState::kConnecting, now + kConnectWithin); return Step::kConnect;
    case LinkState::kListening: return ask(LinkState::kAsking, Step::kAsk, now);
    case LinkState::kUp: return ask(LinkState::kBeating, Step::kBeat, now);
    case LinkState::kConnecting: return on_failed("connect timed out", now);
    case LinkState::kAsking:
    case LinkState::kRegistering:
    case LinkState::kBeating: return on_failed("no answer in time", now);
    case LinkState::kLeaving: return on_left();
    case LinkState::kGone: break;
  }
  return Step::kNothing;
}

Step LinkMachine::on_connected(Micros now) {
  ASSERT(state_ == LinkState::kConnecting);
  listens_ = again_ = false;
  return ask(LinkState::kAsking, Step::kAsk, now);
}

Step LinkMachine::on_verdict(Verdict verdict, Micros now) {
  ASSERT(state_ == LinkState::kAsking);
  bool worth_a_connection = false;
  switch (verdict) {
    case Verdict::kReady: return ask(LinkState::kRegistering, Step::kRegister, now);
    case Verdict::kAbsent:
      become(Condition::kAbsent, {});
      worth_a_connection = was_up_;
      break;
    case Verdict::kStandby: become(Condition::kStandby, {}); break;
    case Verdict::kDenied:
      become(Condition::kDenied, {});
      worth_a_connection = true;
      break;
    case Verdict::kShared: become(Condition::kShared, {}); break;
  }
  backoff_ = kBackoffFirst;  // the server answers: a failure after this is a new one
  return worth_a_connection ? stay(now) : rest(now, kAskAgain);
}

// Asks once more when it listens: what came in between has told nobody.
Step LinkMachine::stay(Micros now) {
  if (!listens_) return ask(LinkState::kAsking, Step::kListen, now);
  if (again_) return on_listening(now);
  enter(LinkState::kListening, now + with_jitter(kAskSoon));
  return Step::kNothing;
}

Step LinkMachine::on_listening(Micros now) {
  ASSERT(state_ == LinkState::kAsking);
  listens_ = true;
  again_ = false;
  return ask(LinkState::kAsking, Step::kAsk, now);
}

Step LinkMachine::on_registered(Micros now) {
  ASSERT(state_ == LinkState::kRegistering);
  backoff_ = kBackoffFirst;
  was_up_ = true;
  become(Condition::kNone, {});
  enter(LinkState::kUp, now + kHeartbeat);
  return leaving_ ? leave(now) : Step::kNothing;
}

Step LinkMachine::on_beaten(bool known, Micros now) {
  ASSERT(state_ == LinkState::kBeating);
  enter(LinkState::kUp, now + kHeartbeat);
  if (leaving_) return leave(now);
  return known ? Step::kNothing : ask(LinkState::kRegistering, Step::kRegister, now);
}

void LinkMachine::on_notified(Micros now) {
  if (state_ == LinkState::kUp || state_ == LinkState::kListening) wake_at_ = now;
  again_ = again_ || state_ == LinkState::kAsking;
}

Step LinkMachine::on_failed(std::string_view why, Micros now) {
  if (state_ == LinkState::kResting || state_ == LinkState::kGone) return Step::kDrop;
  if (state_ == LinkState::kLeaving) return on_left();
  become(Condition::kFailed, why);
  const Micros pause = backoff_;
  backoff_ = std::min(2 * backoff_, kBackoffMax);
  return rest(now, pause);
}

void LinkMachine::hurry(Micros now) {
  if (state_ != LinkState::kResting && state_ != LinkState::kListening) return;
  wake_at_ = now;
  backoff_ = kBackoffFirst;
}

Step LinkMachine::leave(Micros now) {
  if (!leaving_) leave_by_ = now + kLeaveWithin;
  leaving_ = true;
  switch (state_) {
    case LinkState::kUp: enter(LinkState::kLeaving, leave_by_); return Step::kDeregister;
    // A registration may be there when the answer comes.
    case LinkState::kRegistering:
    case LinkState::kBeating: wake_at_ = std::min(wake_at_, leave_by_); return Step::kNothing;
    case LinkState::kResting:
    case LinkState::kConnecting:
    case LinkState::kListening:
    case LinkState::kAsking: return on_left();
    case LinkState::kLeaving:
    case LinkState::kGone: break;
  }
  return Step::kNothing;
}

Step LinkMachine::on_left() {
  enter(LinkState::kGone, kNever);
  return Step::kDrop;
}

}  // namespace berth::link
