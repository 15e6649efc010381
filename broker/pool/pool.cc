#include "pool/pool.h"
#include "base/fault.h"

#include <algorithm>

#include "pool/watch.h"

namespace berth::pool {

Pool::Pool(SharedPool* shared, int worker, int workers, uint64_t seed)
    : shared_(shared), worker_(worker), workers_(workers), random_(seed) {}

// ---- clients

static bool waits_in_session(const ClientNode* client) {
  return client->state == ClientState::kWaiting && client->session_mode;
}

void ClientNode::enter(ClientState to) {
  ASSERT(may_move(state, to));
  watch_step(state, to);
  state = to;
}

void Pool::add_client(ClientNode* client, ClientState state) {
  watch_step(client->state, state);
  client->state = state;
  list(state).push_back(client);
}

void Pool::remove_client(ClientNode* client) {
  const bool waited = client->state == ClientState::kWaiting;
  (waits_in_session(client) ? session_waiting_ : list(client->state)).remove(client);
  if (waited) publish();
}

void Pool::move(ClientNode* client, ClientState to, Micros now) {
  const bool waited = client->state == ClientState::kWaiting;
  (waits_in_session(client) ? session_waiting_ : list(client->state)).remove(client);
  client->enter(to);
  (waits_in_session(client) ? session_waiting_ : list(to)).push_back(client);
  if (to == ClientState::kWaiting) client->wait_since = now;
  if (waited || to == ClientState::kWaiting) publish();
}

bool Pool::session_may_take() const {
  if (limits_.transaction_reserve <= 0 || FAULT(reserve_ignored)) return true;
  const int64_t most = std::max<int64_t>(1, limits_.pool_size - limits_.transaction_reserve);
  return shared_->session_held.load(std::memory_order_relaxed) < most;
}

ClientNode* Pool::first_eligible() const {
  const ClientList& waiting = clients(ClientState::kWaiting);
  ClientNode* first = FAULT(last_waiter_first) ? waiting.back() : waiting.front();
  ClientNode* session = session_waiting_.front();
  if (!session || !session_may_take()) return first;
  if (!first) return session;
  return session->wait_since < first->wait_since ? session : first;
}

ServerNode* Pool::pick_idle() {
  // The front was used last. Round robin takes the one that has rested longest.
  return limits_.round_robin ? list(ServerState::kIdle).back() : list(ServerState::kIdle).front();
}

ServerNode* Pool::take_idle(ClientNode* client, Micros now) {
  if (list(ServerState::kIdle).empty() || paused() || first_eligible()) return nullptr;
  if (client->session_mode && !session_may_take()) return nullptr;
  ServerNode* server = pick_idle();
  if (now - server->state_since > limits_.check_delay || stale(server)) return nullptr;
  return server;
}

// ---- servers

void Pool::publish() {
  if (workers_ == 1) return;
  SliceSignal& signal = mine();
  const ClientNode* first = clients(ClientState::kWaiting).front();
  const ClientNode* session = session_waiting_.front();
  Micros oldest = first ? first->wait_since : kNever;
  if (session && session_may_take()) oldest = std::min(oldest, session->wait_since);
  signal.waiting.store(oldest == kNever ? 0 : static_cast<int>(waiting_count()), std::memory_order_relaxed);
  if (signal.oldest_wait.load(std::memory_order_relaxed) != oldest) signal.oldest_wait.store(oldest);
  const int idle = static_cast<int>(servers(ServerState::kIdle).size());
  if (signal.idle.load(std::memory_order_relaxed) != idle && !FAULT(free_server_not_published))
    signal.idle.store(idle);
}

void Pool::add_server(ServerNode* server, ServerState state, Micros now) {
  server->state = state;
  server->state_since = now;
  list(state).push_front(server);
}

void Pool::give_back(const ServerNode* server) {
  (void)server;
  shared_->servers.release();
  shared_->of_database->servers.release();
  if (!FAULT(budget_not_given_back)) shared_->of_user->servers.release();
}

void Pool::remove_server(ServerNode* server) {
  list(server->state).remove(server);
  if (server->held_by_session) {
    server->held_by_session = false;
    shared_->session_held.fetch_sub(1, std::memory_order_relaxed);
  }
  give_back(server);
  publish();
}

void Pool::move(ServerNode* server, ServerState to, Micros now) {
  ASSERT(may_move(server->state, to));
  watch_step(server->state, to);
  list(server->state).remove(server);
  if (server->held_by_session && to != ServerState::kLinked) {
    server->held_by_session = false;
    shared_->session_held.fetch_sub(1, std::memory_order_relaxed);
  }
  server->state = to;
  server->state_since = now;
  list(to).push_front(server);
}

void Pool::link(ClientNode* client, ServerNode* server, Micros now) {
  move(server, ServerState::kLinked, now);
  move(client, ClientState::kLinked, now);
  linked_peak_ = std::max(linked_peak_, servers(ServerState::kLinked).size());
  if (client->session_mode) {
    server->held_by_session = true;
    shared_->session_held.fetch_add(1, std::memory_order_relaxed);
  }
  publish();
}

void Pool::checkin(ServerNode* server, Micros now) {
  move(server, ServerState::kIdle, now);
  publish();
}

void Pool::depart(ServerNode* server) {
  ASSERT(server->state == ServerState::kTravelling);
  list(server->state).remove(server);
  publish();
}

size_t Pool::server_count() const {
  size_t count = 0;
  for (const ServerList& servers : servers_) count += servers.size();
  return count;
}

bool Pool::empty() const {
  if (server_count() || !session_waiting_.empty()) return false;
  return std::all_of(clients_.begin(), clients_.end(), [](const ClientList& list) { return list.empty(); });
}

// ---- opening

void Pool::opened(Micros now) {
  (void)now;
  failures_ = 0;
  overloads_ = 0;
  next_open_ = 0;
}

static Micros doubled(Micros first, int times, Micros most) {
  while (times-- > 1 && first < most) first *= 2;
  return std::min(first, most);
}

void Pool::open_failed(Micros now) {
  if (!FAULT(no_back_off)) ++failures_;
  const Micros wait =
      std::min(doubled(kBackoffFirst, failures_, kBackoffMost), std::max(limits_.login_retry, kMillisecond));
  // Jitter: between three quarters and all of it, so that the slices and brokers of a fleet do not knock together.
  next_open_ = now + static_cast<Micros>(static_cast<double>(wait) * (0.75 + 0.25 * random_.fraction()));
}

void Pool::overloaded(Micros now) {
  ++overloads_;
  const Micros wait = doubled(kOverloadFirst, overloads_, kOverloadMost);
  next_open_ = now + static_cast<Micros>(static_cast<double>(wait) * (0.75 + 0.25 * random_.fraction()));
}

bool Pool::may_open(Micros now) {
  if (now < next_open_) return false;
  const size_t opening = servers(ServerState::kConnecting).size() + servers(ServerState::kLogin).size() +
                         servers(ServerState::kSetup).size();
  // After a failure one connect at a time knocks; else several.
  if (opening >= static_cast<size_t>(failures_ + overloads_ > 0 ? 1 : kParallelConnects)) return false;
  tokens_ =
      std::min<double>(kOpenBurst, tokens_ + static_cast<double>(now - tokens_at_) / static_cast<double>(kOpenEvery));
  tokens_at_ = now;
  return tokens_ >= 1;
}

// `wish_at`: for a waiter, who may ask holders to give back; kNever: for nobody in particular.
bool Pool::acquire(bool reserve, Micros wish_at) {
  shared_->servers.limit.store(limits_.pool_size, std::memory_order_relaxed);
  if (!shared_->servers.try_acquire(reserve ? limits_.reserve_pool_size : 0)) return false;
  if (!shared_->of_database->servers.try_acquire()) {
    if (wish_at != kNever) shared_->of_database->servers.want(wish_at);
    shared_->servers.release();
    return false;
  }
  if (!shared_->of_user->servers.try_acquire()) {
    if (wish_at != kNever) shared_->of_user->servers.want(wish_at);
    shared_->servers.release();
    shared_->of_database->servers.release();
    return false;
  }
  reserve_opening_ = reserve;
  tokens_ -= 1;
  return true;
}

// ---- decisions

// An idle server that nobody here may use goes to a worker that has waited longer.
Decision Pool::lend_or_none(Micros now, const ClientNode* own) {
  (void)now;
  if (workers_ == 1) return {};
  Micros best = own ? own->wait_since - kStealAfter : kNever;
  int to = -1;
  for (int worker = 0; worker < workers_; ++worker) {
    if (worker == worker_) continue;
    SliceSignal& other = shared_->slices[static_cast<size_t>(worker)];
    const Micros since = other.oldest_wait.load();
    if (since >= best) continue;
    if (other.waiting.load(std::memory_order_relaxed) <= other.inbound.load(std::memory_order_relaxed)) continue;
    best = since;
    to = worker;
  }
  if (to < 0) return {};
  shared_->slices[static_cast<size_t>(to)].inbound.fetch_add(1, std::memory_order_relaxed);
  return {.kind = Decision::Kind::kLend, .server = pick_idle(), .to = to};
}

Decision Pool::want_more(Micros now) {
  const size_t opening = servers(ServerState::kConnecting).size() + servers(ServerState::kLogin).size() +
                         servers(ServerState::kSetup).size() + servers(ServerState::kChecking).size();
  const bool greeting = !clients(ClientState::kLoginWait).empty() && opening == 0;
  size_t wanted = clients(ClientState::kWaiting).size() + (session_may_take() ? session_waiting_.size() : 0);
  if (wanted == 0 && !greeting) return {};
  if (wanted <= opening && !greeting) return {};
  if (workers_ > 1 && wanted > 0 && now - asked_at_ >= kMillisecond) {
    for (int step = 1; step < workers_; ++step) {
      const int worker = (worker_ + step) % workers_;
      if (shared_->slices[static_cast<size_t>(worker)].idle.load() > 0) {
        asked_at_ = now;
        return {.kind = Decision::Kind::kAsk, .to = worker};
      }
    }
  }
  if (!may_open(now)) return {};
  if (acquire(false, now)) return {.kind = Decision::Kind::kOpen};
  const ClientNode* oldest = first_eligible();
  if (limits_.reserve_pool_size > 0 && oldest && now - oldest->wait_since >= limits_.reserve_pool_timeout &&
      acquire(true, now)) {
    return {.kind = Decision::Kind::kOpen};
  }
  return {};
}

Decision Pool::next(Micros now) {
  ClientNode* client = first_eligible();
  if (!list(ServerState::kIdle).empty() && !paused()) {
    Decision lend = lend_or_none(now, client);
    if (lend.kind != Decision::Kind::kNone) return lend;
    if (!client) return {};
    ServerNode* server = pick_idle();
    if (stale(server)) return {.kind = Decision::Kind::kClose, .server = server, .why = CloseReason::kReconnect};
    if (now - server->state_since > limits_.check_delay) return {.kind = Decision::Kind::kCheck, .server = server};
    return {.kind = Decision::Kind::kAssign, .client = client, .server = server};
  }
  if (paused()) return {};
  return want_more(now);
}

int64_t Pool::fill_share() const {
  const int64_t wanted = std::min(limits_.min_pool_size, limits_.pool_size);
  return wanted / workers_ + (worker_ < wanted % workers_ ? 1 : 0);
}

// One idle server that has to go, if any.
Decision Pool::trim(Micros now) {
  const ServerList& idle = servers(ServerState::kIdle);
  const int64_t open = shared_->servers.used.load(std::memory_order_relaxed);
  const bool nobody = waiting_count() == 0;
  Gate& database = shared_->of_database->servers;
  Gate& user = shared_->of_user->servers;
  for (ServerNode* server = idle.back(); server;) {
    CloseReason why = CloseReason::kNone;
    if (stale(server)) {
      why = CloseReason::kReconnect;
    } else if (server->expires_at && now >= server->expires_at) {
      why = CloseReason::kLifetime;
    } else if (limits_.idle_timeout > 0 && now - server->state_since >= limits_.idle_timeout &&
               open > limits_.min_pool_size) {
      why = CloseReason::kIdleTimeout;
    } else if (open > limits_.pool_size + limits_.reserve_pool_size) {
      why = CloseReason::kPoolSize;
    } else if (nobody && open > limits_.pool_size && server->in_reserve &&
               now - server->state_since >= limits_.reserve_pool_timeout) {
      why = CloseReason::kReserve;
    } else if (nobody && database.take_wish(now)) {
      why = CloseReason::kEvictedDatabase;
    } else if (nobody && user.take_wish(now)) {
      why = CloseReason::kEvictedUser;
    }
    if (why == CloseReason::kEvictedDatabase || why == CloseReason::kEvictedUser) evicted_at_ = now;
    if (why != CloseReason::kNone) return {.kind = Decision::Kind::kClose, .server = server, .why = why};
    server = idle.previous(server);
  }
  return {};
}

Decision Pool::tick(Micros now) {
  Decision decision = next(now);
  if (decision.kind != Decision::Kind::kNone) return decision;
  decision = trim(now);
  if (decision.kind != Decision::Kind::kNone) return decision;
  if (limits_.fill && !paused() && now - evicted_at_ >= kFillPause &&
      static_cast<int64_t>(server_count()) < fill_share() &&
      shared_->servers.used.load(std::memory_order_relaxed) < limits_.min_pool_size && may_open(now) &&
      acquire(false, kNever)) {
    return {.kind = Decision::Kind::kOpen};
  }
  publish();
  return {};
}

}  // namespace berth::pool
