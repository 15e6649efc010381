#include "sim/sim_client.h"

#include <algorithm>

#include "sim/world.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::sim {

SimClient::SimClient(World& world, int number, const Habits& habits, const Dice& dice)
    : world_(world),
      number_(number),
      habits_(habits),
      random_(dice),
      batches_left_(habits.batches),
      oracle_(private_cluster_) {
  private_cluster_.oracle = true;
  private_cluster_.defaults = world.postgres().defaults;
  private_cluster_.cancelled = [this](const std::string& tag) { return was_cancelled(tag); };
  if (habits_.settings && chance(50)) startup_["application_name"] = "app" + std::to_string(random_.below(4));
  if (habits_.settings && chance(30)) startup_["DateStyle"] = pick({"ISO", "SQL, DMY", "German"});
  if (habits_.settings && chance(20)) startup_["TimeZone"] = pick({"Europe/Berlin", "Asia/Tokyo"});
  if (habits_.settings && chance(20)) startup_["extra_float_digits"] = pick({"2", "3"});
  oracle_.log_in(startup_);
}

void SimClient::start(LinkPtr to) {
  link = std::move(to);
  if (chance(20) && !world_.tls()) {  // else a tunnel asks, or must not
    phase_ = Phase::kSsl;
    out_ = std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8);
    return;
  }
  send_startup();
}

void SimClient::send_startup() {
  phase_ = Phase::kLogin;
  std::string body;
  wire::put_cstring(body, "user");
  wire::put_cstring(body, world_.user_of(number_));
  wire::put_cstring(body, "database");
  wire::put_cstring(body, world_.database_of(number_));
  for (const auto& [name, value] : startup_) {
    if (name == "extra_float_digits") {
      wire::put_cstring(body, "options");
      wire::put_cstring(body, "-c extra_float_digits=" + value);
      continue;
    }
    wire::put_cstring(body, name);
    wire::put_cstring(body, value);
  }
  body += '\0';
  wire::put32(out_, static_cast<uint32_t>(body.size() + 8));
  wire::put32(out_, habits_.long_keys && number_ % 2 == 0 ? wire::kProtocol32 : wire::kProtocol30);
  out_ += body;
}

std::string SimClient::describe() const {
  return fmt::format(
      "client {} phase {} pending {} open_batch {} out {} in {} batches_left {} status {} sent {} got {} copy_due {}",
      number_, static_cast<int>(phase_), pending_ready_, open_batch_, out_.size(), in_.size(), batches_left_, status_,
      sent_.size(), got_.size(), copies_due_);
}

void SimClient::violation(const std::string& what) const {
  world_.violation("client " + std::to_string(number_) + ": " + what);
}

void SimClient::step() {
  if (phase_ == Phase::kUnborn || phase_ == Phase::kGone) return;
  if (!chance(habits_.slow_percent)) read_some();
  if (phase_ == Phase::kGone) return;
  write_some();
  if (phase_ != Phase::kActive || leaving_) return;
  if (pending_ready_ > 0 && chance(habits_.cancel_percent)) {
    const bool right = chance(80);
    if (right) note_right_cancel();
    world_.send_cancel(pid_, right ? key_ : std::string(key_.size(), 'z'));
  }
  if (copies_due_ > 0 || out_.size() > 4096) return;
  if (world_.now() < rests_until_) return;
  if (chance(habits_.rest_percent)) rests_until_ = world_.now() + static_cast<Micros>(random_.below(kSecond));
  if (batches_left_ > 0 || open_batch_) {
    if (may_speak() && (pending_ready_ == 0 ? chance(60) : chance(10))) next_batch();
  } else if (quiet() && chance(50)) {
    phase_ = Phase::kSaidGoodbye;
    compare(true);
    if (chance(70)) wire::put_empty(out_, wire::kTerminate);
    leaving_ = true;
    leave_after_ = out_.size();
  }
}

bool SimClient::may_speak() const {
  return phase_ == Phase::kActive && !leaving_ && copies_due_ == 0 && out_.size() <= 4096 &&
         (batches_left_ > 0 || open_batch_) && pending_ready_ < habits_.pipeline;
}

void SimClient::write_some() {
  if (leaving_ && leave_after_ == 0) return leave();
  if (out_.empty()) return;
  const size_t room = link->window > link->to_broker.bytes.size() ? link->window - link->to_broker.bytes.size() : 0;
  size_t part = std::min(out_.size(), room);
  if (leaving_) part = std::min(part, leave_after_);
  if (part == 0) return;
  if (chance(40)) part = 1 + random_.below(part);
  link->to_broker.bytes.append(out_, 0, part);
  out_.erase(0, part);
  if (leaving_) leave_after_ -= part;
}

// Ends at this byte, in one of the ways in which clients do.
void SimClient::leave() {
  if (chance(20)) {
    link->reset = true;
  }
  link->to_broker.fin = true;
  link->peer_open = false;
  ended(true);
}

void SimClient::read_some() {
  if (link->reset) return ended(false);
  Direction& from = link->to_peer;
  if (from.bytes.empty()) {
    if (from.fin) ended(false);
    return;
  }
  const size_t part = chance(50) ? from.bytes.size() : 1 + random_.below(from.bytes.size());
  in_.append(from.bytes, 0, part);
  from.bytes.erase(0, part);
  while (phase_ != Phase::kGone) {
    if (phase_ == Phase::kSsl) {
      if (in_.empty()) return;
      if (in_[0] == 'E') {  // sent away already
        phase_ = Phase::kLogin;
        continue;
      }
      if (in_[0] != 'N') violation("SSLRequest was not answered with N");
      in_.erase(0, 1);
      send_startup();
      continue;
    }
    if (in_.size() < wire::kHeaderSize) return;
    const wire::Head head = wire::read_head(in_.data(), 1 << 26);
    if (!head.valid) {
      violation("got an invalid message");
      return ended(true);
    }
    if (in_.size() < head.size) return;
    Message message{head.tag, in_.substr(0, head.size)};
    in_.erase(0, head.size);
    on_message(std::move(message));
  }
}

void SimClient::on_message(Message message) {
  world_.trace("client {} got {}", number_, show(message.bytes));
  if (message.tag == wire::kParameterStatus) {
    std::string_view body = message.body(), name, value;
    wire::take_cstring(body, name);
    wire::take_cstring(body, value);
    known_[std::string(name)] = value;
    return;
  }
  check_owner(message);
  if (phase_ == Phase::kLogin) return on_login_message(message);
  switch (message.tag) {
    case wire::kReadyForQuery:
      status_ = message.bytes[5];
      if (--pending_ready_ < 0) violation("got a ReadyForQuery that it did not ask for (I2)");
      if (pending_ready_ == 0) {
        if (!open_batch_) settings_in_flight_ = false;
        copies_due_ = copies_fed_ = 0;
        copy_ahead_ = false;
      }
      break;
    case wire::kCopyInResponse:
      if (copy_ahead_) --pending_ready_;
      copy_ahead_ = false;
      if (copies_fed_ > 0) {
        --copies_fed_;
      } else if (copies_due_ > 0) {
        copy_data();
        --copies_due_;
      }
      break;
    case wire::kErrorResponse: on_error(message); break;
    case wire::kNoticeResponse:
      if (message.bytes.find("No server connection available") != std::string::npos) return;
      break;
    default: break;
  }
  got_.push_back(std::move(message));
  if (quiet()) compare(true);
}

void SimClient::on_login_message(const Message& message) {
  switch (message.tag) {
    case wire::kAuthentication:
      out_ += world_.answer(login_, world_.user_of(number_), world_.password_of(number_), message.body());
      return;
    case wire::kBackendKeyData:
      pid_ = wire::read32(message.body().data());
      key_ = message.body().substr(4);
      return;
    case wire::kReadyForQuery:
      if (!world_.knows_password(number_) && world_.must_ask(world_.user_of(number_), world_.database_of(number_)))
        violation("got in with a wrong password");
      phase_ = Phase::kActive;  // its settings are told as it asked for them: PostgreSQL's spelling follows with the
                                // first server
      return;
    case wire::kErrorResponse: return on_error(message);
    default: return violation(std::string("got a message at its login of type ") + message.tag);
  }
}

void SimClient::on_error(const Message& message) {
  const wire::ErrorFields error = wire::parse_error(message.body());
  if (error.severity == "FATAL") {
    last_fatal_ = error.message;
    return;
  }
  if (error.sqlstate != "57014") return;
  if (error.message.starts_with("COPY")) return;
  if (--cancels_due_ < 0)
    violation("a statement was cancelled that nobody has cancelled: " + std::string(error.message));
}

// A request with the right key is on its way.
void SimClient::note_right_cancel() {
  ++cancels_due_;
  if (world_.cancels_must_work()) world_.postgres().hold(number_);
}

// Bytes that a client gets belong to it.
void SimClient::check_owner(const Message& message) {
  const std::string tag = tag_in(message.bytes);
  if (!tag.empty() && client_of_tag(tag) != number_)
    violation("got what belongs to another client (I1): " + show(message.bytes));
  if (!echoes_in(message.bytes).empty()) violation("got what belongs to a stranger (I1): " + show(message.bytes));
  if (message.bytes.find("INJECTED") != std::string::npos)
    violation("was told what an unproved server has said (T23)");
}

// The connection is over. `expected`: the client itself has ended it.
void SimClient::ended(bool expected) {
  const bool said_goodbye = phase_ == Phase::kSaidGoodbye;
  phase_ = Phase::kGone;
  link->to_broker.fin = true;
  link->peer_open = false;
  if (!expected && !said_goodbye && !lost_is_allowed(last_fatal_) &&
      !(last_fatal_.empty() && (!in_.empty() || link->mute) && lost_is_allowed("torn"))) {
    violation(fmt::format("was disconnected: {}", last_fatal_.empty() ? "without a word" : last_fatal_));
  }
  world_.trace("client {} ended: {}", number_, last_fatal_);
  compare(false);
}

bool SimClient::lost_is_allowed(std::string_view text) const {
  if (text.starts_with("password authentication failed")) return world_.may_refuse(number_);
  // It is not told so in the middle of a message.
  if (said_long_name_ && (text == "name is too long" || text == "torn")) return true;
  return world_.may_lose(text);
}

}  // namespace berth::sim
