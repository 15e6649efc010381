// From accept to the proof: a client is a newcomer, and takes one of the places for those. When all are taken, the
// newcomer that has kept us waiting longest makes room: whoever comes to log in does so in milliseconds, and whoever
// only holds a place loses it. (To refuse those who come would let a few thousand silent connections shut everybody
// out until client_login_timeout.) Failed logins are answered later and later (session/throttle.h).
#include <fmt/format.h>

#include "base/fault.h"
#include "session/client.h"

namespace berth::session {

void Client::enter_door() {
  const AddressKey who = key_of(peer);
  Door& door = context.globals.door;
  Door::Answer answer = door.enter(who, context.worker);
  if (answer != Door::Answer::kIn) answer = enter_full(who, answer);
  switch (answer) {
    case Door::Answer::kIn: newcomer = true; return;
    case Door::Answer::kFull: return fatal(ClientEnd::kNewcomersMax, "53300");
    case Door::Answer::kAddressFull: return fatal(ClientEnd::kNewcomersOfAddress, "53300");
  }
}

// If those who hold the places are another worker's, none of ours, who have hardly come, goes for them.
Door::Answer Client::enter_full(const AddressKey& who, Door::Answer answer) {
  const bool of_address = answer == Door::Answer::kAddressFull;
  Micros age = 0;  // of ours who makes room at once
  if (context.workers > 1 && of_address) age = kRoomAge;
  if (!of_address && context.globals.door.fullest(context.worker) != context.worker) age = kNever;
  answer = enter_with_room(who, answer, age);
  if (answer != Door::Answer::kIn && context.workers > 1) answer = enter_owing(who, answer);
  if (answer != Door::Answer::kIn && age > 0) answer = enter_with_room(who, answer, 0);
  return answer;
}

Door::Answer Client::enter_with_room(const AddressKey& who, Door::Answer answer, Micros age) {
  // Another worker may be faster to take the place that was made.
  for (int i = 0; answer != Door::Answer::kIn && i < kRoomTries; ++i) {
    if (!make_room(context, answer == Door::Answer::kAddressFull ? &who : nullptr, age)) break;
    answer = context.globals.door.enter(who, context.worker);
  }
  return answer;
}

// Enters all the same, and another worker disconnects one of its own instead.
Door::Answer Client::enter_owing(const AddressKey& who, Door::Answer refused) {
  Door& door = context.globals.door;
  const Door::Answer answer = door.enter(who, context.worker, true);
  if (answer != Door::Answer::kIn) return answer;
  const int fullest = door.fullest(context.worker);
  const int to = fullest != context.worker ? fullest : (context.worker + 1) % context.workers;
  const AddressKey anybody;
  context.fleet.ask_room(to, refused == Door::Answer::kAddressFull ? who : anybody, context.workers);
  return answer;
}

// Another worker has let somebody in for whom there was no place. Who has nobody to make room asks the next one.
void room_asked(Context& context, const AddressKey& of, int workers_left) {
  if (make_room(context, of.counts() ? &of : nullptr, 0) || workers_left <= 1) return;
  context.fleet.ask_room((context.worker + 1) % context.workers, of, workers_left - 1);
}

// Who waits for us, for the answer of a lookup, say, does not make room. The list is in the order of what each did
// last.
bool make_room(Context& context, const AddressKey* of, Micros age) {
  int left = kRoomScanMax;
  for (pool::ClientNode* node = context.startup_clients.front(); node && left > 0; --left) {
    auto* client = static_cast<Client*>(node);
    node = context.startup_clients.next(node);
    if (!client->newcomer || (context.engine.paused(client->conn) & net::kPauseLogin)) continue;
    if (of && !(key_of(client->peer) == *of)) continue;
    if (context.now() - client->connected_at < age) continue;
    client->fatal(ClientEnd::kMadeRoom, "53300",
                  fmt::format("{} ({})", stats::words_of(ClientEnd::kMadeRoom),
                              of ? "max_unauthenticated_per_address" : "max_unauthenticated_connections"));
    return true;
  }
  return false;
}

void Client::made_progress() {
  context.startup_clients.remove(this);
  context.startup_clients.push_back(this);
}

// It has proved who it is, and is one of the clients now, if there is room for one more. The console's are not
// counted.
bool Client::pass_door() {
  const bool trusted = login->method == auth::Method::kTrust || login->method == auth::Method::kAny;
  // Who was let in without a proof has shown nothing about the guesses of others.
  if (!login->extension && (!trusted || !login->asked.empty())) {
    context.globals.throttle.succeeded(key_of(peer), throttle_name(), context.now());
  }
  leave_door();
  if (login->console && !FAULT(admin_room_missing)) return true;
  if (!context.globals.clients.try_acquire()) {
    fatal(ClientEnd::kMaxClientConn, "53300");
    return false;
  }
  counted = true;
  if (!context.globals.door.admit(key_of(peer))) {
    fatal(ClientEnd::kMaxClientsOfAddress, "53300");
    return false;
  }
  counted_address = true;
  return true;
}

// What it holds of the counts, at its end too.
void Client::leave_door() {
  if (newcomer) context.globals.door.leave(key_of(peer), context.worker);
  newcomer = false;
}

// Whose secret is tried. Roles of auth_query are those of the database that is asked, which another database's owner
// may create with the same name: a login as such a role says nothing of its namesakes. Whether the database is known
// makes no difference.
std::string Client::throttle_name() const {
  const config::Config& config = *login->config;
  const bool by_query = !login->console && login->asked.empty() && !config.find_secret(login->user) &&
                        !config.auth_user(login->entry).empty();
  if (!by_query) return login->user;
  const std::string& asked = config.auth_dbname(login->entry);
  return learned_name(asked.empty() ? login->database : asked, login->user);
}

// A proof that is beyond what its user or its address may try is not looked at. The extension's secret cannot be
// guessed, and its views must not suffer from somebody who tries.
bool Client::may_try() {
  return login->extension || context.globals.throttle.may_try(key_of(peer), throttle_name(), context.now());
}

// Called at its end. Who hangs up before the verdict on his proof has had it looked at, or has made us queue it, and
// counts as one who failed: else he would guess, or keep the helper threads busy, for nothing.
void Client::left_login(ClientEnd why) {
  if (login->unwanted) login->unwanted->store(true, std::memory_order_relaxed);
  const bool by_itself = why == ClientEnd::kUnexpectedEof || why == ClientEnd::kConnectionLost;
  if (state != pool::ClientState::kAuth || !by_itself || !login->verifier || login->extension) return;
  if (!(context.engine.paused(conn) & net::kPauseLogin)) return;
  context.globals.throttle.failed(key_of(peer), throttle_name(), context.now());
}

// The answer may have to wait: then the login is held, in its place among the newcomers, until the janitor says it.
void Client::auth_failed(std::string_view sqlstate, std::string text) {
  const Micros delay =
      login->extension ? 0 : context.globals.throttle.failed(key_of(peer), throttle_name(), context.now());
  if (delay == 0) return fatal(ClientEnd::kAuthFailed, sqlstate, text);
  login->verifier.reset();
  login->held_until = context.now() + delay;
  login->refusal = std::move(text);
  login->refusal_sqlstate = sqlstate;
  made_progress();
  context.engine.pause(conn, net::kPauseHeld);
}

// The janitor's: what time says of one that has not logged in.
void Client::newcomer_on_tick() {
  const config::Options& options = context.options();
  const Micros age = context.now() - connected_at;
  if (options.client_login_timeout > 0 && age >= options.client_login_timeout) {
    fatal(ClientEnd::kLoginTimeout, "57014");
  } else if (state == pool::ClientState::kStartup && options.client_startup_timeout > 0 &&
             age >= options.client_startup_timeout) {
    fatal(ClientEnd::kStartupTimeout, "57014");
  } else if (login && login->held_until > 0 && context.now() >= login->held_until) {
    fatal(ClientEnd::kAuthFailed, login->refusal_sqlstate, login->refusal);
  }
}

}  // namespace berth::session
