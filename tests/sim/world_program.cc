// A world that does what a fuzzer has written: each choice is who does what next. A client says something or reads, a
// worker or a backend has its turn, mail arrives, time passes, something breaks; and there are clients and servers
// that speak just the fuzzer's bytes. Those have a pool of their own, so all others keep their oracle. What no choice
// decides comes from the seed; when the choices end, the world ends as every other does: all must be served.
#include <algorithm>

#include "sim/world.h"
#include "wire/encode.h"

namespace berth::sim {

static constexpr size_t kStrangersMost = 12;
static constexpr size_t kRawBytesMost = 255;

// While the choices decide, nothing but they and the seed does.
void World::follow_program() {
  while (!failed() && choices_->left()) {
    choices_->let_decide(true);
    postgres_.now = now();
    choices_->subject == Choices::Subject::kAnything ? obey() : obey_quiet();
    choices_->let_decide(false);
    forget_backends();
    if (!failed()) check();
  }
  end_program();
}

void World::obey() {
  switch (random_.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3: return obey_client();
    case 4: return obey_operator();
    case 5: return obey_raw_client();
    case 6:
    case 7:
    case 8: return obey_backend();
    case 9:
      do_asides();
      if (!failed()) deliver_mail();
      return;
    case 10: return obey_time();
    case 11: return obey_network();
    case 12:
    case 13: return turn_worker(random_.below(workers_.size()));
    default: {  // a while of everything, as the seed has it
      const uint64_t turns = std::min(turns_left_, 1 + random_.below(32));
      choices_->let_decide(false);
      turns_left_ -= turns;
      for (uint64_t i = 0; i < turns && !failed(); ++i) turn();
    }
  }
}

// Everybody comes in turn, and the pieces in which bytes arrive are the seed's.
void World::obey_quiet() {
  SimClient& client = *clients_[random_.below(std::min<size_t>(clients_.size(), 3))];
  if (!client.started()) {
    if (next_client_ < clients_.size()) let_in(*clients_[next_client_]);
  } else if (choices_->subject == Choices::Subject::kCancels) {
    switch (random_.below(4)) {
      case 0: return obey_cancel(client);
      case 1:
        choices_->let_decide(false);
        if (client.may_speak()) client.next_batch();
        return client.write_some();
      default: break;
    }
  } else if (client.may_speak() && random_.below(8) < 7) {
    client.wild_message(*choices_);
    return client.write_some();
  }
  const uint64_t turns = std::min(turns_left_, 1 + random_.below(16));
  choices_->let_decide(false);
  turns_left_ -= turns;
  for (uint64_t i = 0; i < turns && !failed(); ++i) turn();
}

// Its first four bytes say how long it is.
static void set_length(std::string& packet) {
  std::string length;
  wire::put32(length, static_cast<uint32_t>(packet.size()));
  if (packet.size() >= length.size()) packet.replace(0, length.size(), length);
}

// A packet that is right, or nearly so, or anything. Who knows the key has cancelled; everybody else has not.
void World::obey_cancel(SimClient& client) {
  std::string packet;
  wire::put32(packet, static_cast<uint32_t>(12 + client.key_.size()));
  wire::put32(packet, wire::kCancelRequestCode);
  wire::put32(packet, client.pid_);
  packet += client.key_;
  const std::string right = packet;
  switch (random_.below(6)) {
    case 0: break;
    case 1: packet[random_.below(packet.size())] = static_cast<char>(random_.below(256)); break;
    case 2:  // another length: as the packet says, or not
      packet.resize(random_.below(packet.size() + 1));
      if (random_.below(2) == 0) set_length(packet);
      break;
    case 3:
      packet += choices_->text(kRawBytesMost);
      if (random_.below(2) == 0) set_length(packet);
      break;
    case 4: packet = packet.substr(0, 12) + clients_[random_.below(clients_.size())]->key_; break;
    default: packet = packet.substr(0, random_.below(packet.size() + 1)) + choices_->text(kRawBytesMost);
  }
  // Before its login it has no key, and nobody may cancel anything.
  if (!client.key_.empty() && packet.starts_with(right)) client.note_right_cancel();
  send_packet(std::move(packet));
}

void World::obey_client() {
  SimClient& client = *clients_[random_.below(clients_.size())];
  if (!client.started()) {
    if (next_client_ < clients_.size() && !ending_) let_in(*clients_[next_client_]);
    return;
  }
  if (client.done()) return;
  switch (random_.below(5)) {
    case 0: return client.step();
    case 1:
      if (client.may_speak()) client.next_batch();
      return client.write_some();
    case 2:
      if (client.may_speak() && client.habits_.extended && client.habits_.named) client.wild_message(*choices_);
      return client.write_some();
    case 3: return client.write_some();
    default: return client.read_some();
  }
}

void World::obey_operator() {
  if (operators_.empty()) return;
  SimOperator& one = *operators_[random_.below(operators_.size())];
  if (one.started()) return one.step();
  if (ending_) return;
  if (LinkPtr link = come_in(config::PoolMode::kTransaction)) one.start(link);
}

// Words that nobody takes for a client's, not even behind other ones (see tag_in), nor for an echo.
static std::string raw_words(Choices& choices) {
  std::string words = choices.text(kRawBytesMost);
  std::replace(words.begin(), words.end(), kEchoByte, 'e');
  std::replace(words.begin(), words.end(), kEchoEnd, 'e');
  const bool goes_on = !words.empty() && (words[0] == '.' || (words[0] >= '0' && words[0] <= '9'));
  return goes_on || !tag_in(words).empty() ? std::string() : words;
}

// One of kRawUser, a new one at times, says a Query whose answer is for nobody else.
void World::obey_own_query() {
  std::vector<SimStranger*> raw;
  for (const auto& one : strangers_) {
    if (one->logged_in() && !one->done()) raw.push_back(one.get());
  }
  if (!raw.empty() && random_.below(4) > 0) return raw[random_.below(raw.size())]->say_own_query();
  if (ending_ || strangers_.size() >= kStrangersMost) return;
  LinkPtr link = come_in(config::PoolMode::kTransaction);
  if (!link) return;
  auto fresh = std::make_unique<SimStranger>(*this, dice());
  fresh->start_raw(link, true, {});
  fresh->say_own_query();
  strangers_.push_back(std::move(fresh));
}

void World::obey_raw_client() {
  const uint64_t what = random_.below(8);
  if (what >= 5) return obey_own_query();
  const size_t known = strangers_.size();
  SimStranger* one = known > 0 ? strangers_[random_.below(known)].get() : nullptr;
  if (what >= 3) {
    const std::string bytes = raw_words(*choices_);
    // Neither the console nor another's pool: what happens there is judged.
    for (const char* other : {"admin", "pgbouncer", "u0", "u1"}) {
      if (bytes.find(other) != std::string::npos) return;
    }
    if (one && one->raw() && !one->done()) return one->say(bytes);
    if (ending_ || known >= kStrangersMost) return;
    auto fresh = std::make_unique<SimStranger>(*this, dice());
    LinkPtr link = come_in(what == 3 ? config::PoolMode::kTransaction : config::PoolMode::kSession);
    if (!link) return;
    fresh->start_raw(link, random_.below(4) > 0, bytes);
    strangers_.push_back(std::move(fresh));
    return;
  }
  if (!one || one->done()) return;
  if (one->started()) return what == 2 && one->raw() ? one->leave(chance(50)) : one->step();
  if (ending_) return;
  if (LinkPtr link = come_in(config::PoolMode::kTransaction)) one->start(link);
}

void World::obey_backend() {
  if (places_.empty()) return;
  const uint64_t what = random_.below(8);
  if (what < 3) return obey_raw_backend(what);
  Place& place = *places_[random_.below(places_.size())];
  if (what == 3) {
    if (scenario_.faults) make_trouble(place);
  } else if (now() >= place.answers_at) {
    step_backend(place);
  }
}

void World::obey_raw_backend(uint64_t what) {
  std::vector<Place*> raw;
  for (const auto& place : places_) {
    if (!place->backend->gone && place->backend->user() == kRawUser) raw.push_back(place.get());
  }
  if (raw.empty()) return;
  Place& place = *raw[random_.below(raw.size())];
  if (what == 0) return make_trouble(place);
  place.backend->say_raw(raw_words(*choices_), what == 1);
}

// Not for so long that somebody runs out of time who was merely given no turn.
void World::obey_time() {
  const Micros passes = std::min(time_left_, Micros{1} << random_.below(23));
  time_left_ -= passes;
  network_.now += passes;
}

void World::obey_network() {
  NetProfile& net = network_.profile;
  net.chunk_most = size_t{1} << random_.below(17);
  net.idle_percent = static_cast<int>(random_.below(90));
  net.partial_percent = static_cast<int>(random_.below(90));
}

// Who has not come yet stays away, and who only ever does what is written goes.
void World::end_program() {
  std::erase_if(clients_, [](const auto& one) { return !one->started(); });
  std::erase_if(operators_, [](const auto& one) { return !one->started(); });
  std::erase_if(strangers_, [](const auto& one) { return !one->started(); });
  scenario_.operators = static_cast<int>(operators_.size());
  next_client_ = clients_.size();
  for (auto& one : strangers_) {
    if (one->raw() && !one->done()) one->leave(false);
  }
  for (auto& place : places_) {
    if (place->backend->user() == kRawUser) place->backend->terminate("", "");
  }
}

}  // namespace berth::sim
