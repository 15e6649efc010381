// What PostgreSQL alone would have said to this client, against what the client got.
#include "sim/sim_client.h"
#include "sim/world.h"
#include "wire/backend.h"

namespace berth::sim {

static std::deque<Message> split(std::string_view bytes) {
  std::deque<Message> out;
  while (!bytes.empty()) {
    const wire::Head head = wire::read_head(bytes.data(), 1 << 26);
    out.push_back({head.tag, std::string(bytes.substr(0, head.size))});
    bytes.remove_prefix(head.size);
  }
  return out;
}

// The broker's own answer to a client that could not have a server: its batch is not run at all.
bool SimClient::is_refusal(const Message& message) const {
  if (message.tag != wire::kErrorResponse) return false;
  const wire::ErrorFields error = wire::parse_error(message.body());
  if (error.severity == "FATAL") return false;
  return error.message == "query_wait_timeout" || error.message == "canceling statement due to user request" ||
         world_.is_refusal(error.message);
}

static bool is_fatal(const Message& message) {
  return message.tag == wire::kErrorResponse && wire::parse_error(message.body()).severity == "FATAL";
}

static bool is_error(const Message& message, std::string_view sqlstate) {
  return message.tag == wire::kErrorResponse && wire::parse_error(message.body()).sqlstate == sqlstate;
}

// The same statement may run several times, and be cancelled in one of them: the next answer tells.
bool SimClient::was_cancelled(const std::string& tag) const {
  for (const Message& answer : got_) {
    if (answer.tag == wire::kDataRow && tag_in(answer.bytes) == tag) return false;
    if (is_error(answer, "57014") && tag_in(answer.bytes) == tag) return true;
  }
  return false;
}

// Feeds the oracle with what was sent and compares. `complete`: everything has been answered.
void SimClient::compare(bool complete) {
  bool skipping = false;  // a refused batch
  while (!sent_.empty() || !expected_.empty()) {
    while (!expected_.empty() && !got_.empty()) {
      if (is_fatal(got_.front())) {
        got_.pop_front();
        if (!got_.empty()) violation("got something after FATAL: " + show(got_.front().bytes));
        return;
      }
      // In a failed transaction the broker cannot bring a statement to a server that lacks it: then its Describe
      // fails as all else does there.
      if (expected_.front().tag == 't' && is_error(got_.front(), "25P02")) {
        expected_.clear();
        got_.pop_front();
        oracle_.fail_instead();
        continue;
      }
      // Likewise a Bind: which of two errors it is, does not matter in a transaction that has failed.
      if (is_error(got_.front(), "25P02") && expected_.front().tag == wire::kErrorResponse &&
          oracle_.status() == 'E') {
        expected_.front() = got_.front();
      }
      if (expected_.front().bytes != got_.front().bytes) {
        return violation("got " + show(got_.front().bytes) + " where PostgreSQL would say " +
                         show(expected_.front().bytes));
      }
      expected_.pop_front();
      got_.pop_front();
    }
    if (sent_.empty()) break;
    const std::string message = sent_.front();
    sent_.pop_front();
    const char tag = message[0];
    const bool aside =
        tag == wire::kCopyData || tag == wire::kCopyDone || tag == wire::kCopyFail || tag == wire::kFlush;
    if (expected_.empty() && !got_.empty() && is_refusal(got_.front()) && !aside) {
      got_.pop_front();
      skipping = true;
    }
    if (skipping) {
      if (tag != wire::kQuery && tag != wire::kSync && tag != wire::kFunctionCall) continue;
      skipping = false;
      expected_.push_back({'Z', std::string("Z\0\0\0\5I", 6)});
      continue;
    }
    served_ |= !aside;
    oracle_.feed_message(message);
    for (Message& answer : split(oracle_.out)) {
      if (answer.tag != wire::kParameterStatus) expected_.push_back(std::move(answer));
    }
    oracle_.out.clear();
  }
  if (!got_.empty() && !is_fatal(got_.front())) {
    return violation("got " + show(got_.front().bytes) + " where PostgreSQL would say nothing");
  }
  if (!complete) return;
  if (!expected_.empty()) return violation("did not get " + show(expected_.front().bytes) + " (I2)");
  if (served_) check_settings();
}

// What the client was told of its settings is what they are.
void SimClient::check_settings() {
  for (const auto& [name, value] : oracle_.reported()) {
    if (!is_reported(name)) continue;
    const auto at = known_.find(name);
    if (at == known_.end()) return violation("was never told of " + name);
    if (at->second != value)
      return violation("believes that " + name + " is " + at->second + ", it is " + value + " (I5)");
  }
}

}  // namespace berth::sim
