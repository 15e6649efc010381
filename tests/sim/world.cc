#include "sim/world.h"

#include <algorithm>
#include <cerrno>

#include "auth/key_cache.h"
#include "auth/mock.h"
#include "auth/scram.h"
#include "base/siphash.h"
#include "pool/statements.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::sim {

std::string printable(std::string_view bytes) {
  std::string out;
  for (char c : bytes.substr(0, 120)) out += c >= ' ' && c <= '~' ? c : (c == '\0' ? '|' : '.');
  return out;
}

std::string show(std::string_view bytes) {
  std::string out(1, bytes.empty() ? '-' : bytes[0]);
  out += ' ';
  if (bytes.size() > 5) {
    for (char c : bytes.substr(5, 300)) out += c >= ' ' && c <= '~' ? c : (c == '\0' ? '|' : '.');
  }
  return out;
}

// Everything that a process keeps from one world to the next is as in a fresh one.
World::Restart::Restart() {
  process_key();  // both are drawn once in a process
  auth::process_secret();
  auth::forget_nonces();
  auth::client_keys().clear();
  auth::server_keys().clear();
  if (pool::statements_known() == 0) pool::restart_statement_ids();  // else a world before this one has failed
  restart_secure();
}

World::World(uint64_t seed, Choices* choices, std::string* trace)
    : seed_(seed),
      choices_(choices),
      random_(seed, choices),
      door_random_(~seed),
      network_(random_.next()),
      traced_(trace) {
  if (choices_) choices_->let_decide(false);
  tracing_ = traced_ || getenv("SIM_TRACE") != nullptr;
  statements_before_ = pool::statements_known();
  draw_scenario();
  if (choices_) draw_quiet(choices_->subject);
  postgres_.violation = [this](const std::string& what) { violation(what); };
  if (tracing_) {
    postgres_.trace = [this](const std::string& what) {
      trace_line("    " + what.substr(0, what.find("s ") + 2) + show(what.substr(what.find("s ") + 2)));
    };
  }
  network_.dial = [this](const net::Address& address, int& error) { return dial(address, error); };
  make_config();
  for (int i = 0; i < scenario_.workers; ++i) {
    Worker worker;
    worker.engine = std::make_unique<SimEngine>(network_, this);
    worker.fleet = std::make_unique<SimFleet>(*this, i);
    worker.context = std::make_unique<session::Context>(*worker.engine, globals_, *worker.fleet, i, scenario_.workers,
                                                        random_.next());
    worker.console = std::make_unique<admin::ConsoleImpl>(*worker.context, dispatcher_);
    workers_.push_back(std::move(worker));
  }
  running = config_;
  for (Worker& worker : workers_) session::reconfigure(*worker.context, config_);
  for (int i = 0; i < scenario_.clients; ++i) {
    Habits habits = scenario_.habits;
    habits.session = chance(scenario_.session_percent);
    if (config_->options.max_prepared_statements == 0) {
      habits.session |= choices_ && choices_->subject == Choices::Subject::kStatements;
      if (!habits.session) habits.named = habits.carried = false;
    }
    if (chance(50)) habits.cancel_percent = 0;  // whoever never cancels must never be cancelled
    clients_.push_back(std::make_unique<SimClient>(*this, i, habits, dice()));
  }
  for (int i = 0; i < scenario_.operators; ++i) {
    operators_.push_back(
        std::make_unique<SimOperator>(*this, i, scenario_.powers, std::vector<std::string>(), dice()));
  }
  for (int i = 0; i < scenario_.strangers; ++i) strangers_.push_back(std::make_unique<SimStranger>(*this, dice()));
}

World::~World() {
  for (Worker& worker : workers_) {
    worker.console.reset();
    worker.context.reset();
  }
}

void World::violation(const std::string& what) {
  if (!why_.empty()) return;
  why_ = what;
  trace("VIOLATION {}", what);
}

void World::trace_line(const std::string& line) {
  const std::string whole = fmt::format("{:>6} {:>9} {}\n", steps_, network_.now, line);
  traced_ ? void(*traced_ += whole) : fmt::print(stderr, "{}", whole);
}

// ---- connections

LinkPtr World::dial(const net::Address& address, int& error) {
  ASSERT(address.is_unix() == !tls_);
  if (trouble_ && scenario_.faults && chance(10)) {
    error = chance(80) ? ECONNREFUSED : EINPROGRESS;
    return nullptr;
  }
  auto place = std::make_unique<Place>();
  place->link = std::make_shared<Link>();
  place->link->window = chance(30) ? 64 + random_.below(1000) : 65536;
  place->backend = std::make_unique<Backend>(postgres_);
  place->answers_at = now() + static_cast<Micros>(random_.below(3000));
  LinkPtr link = place->link;
  places_.push_back(std::move(place));
  return tls_ ? tls_->to_backend(std::move(link)) : link;
}

// Few, so that they meet: two of IPv4, two of one network of IPv6, and the Unix socket.
net::ShortAddress World::some_address() {
  net::ShortAddress address;
  if (!scenario_.guarded) return tls_ ? tls_->some_address() : address;
  const uint64_t number = door_random_.below(5);
  if (number == 4) return address;
  address.kind = number < 2 ? net::ShortAddress::Kind::kIpv4 : net::ShortAddress::Kind::kIpv6;
  address.bytes[0] = 10;
  address.bytes[number < 2 ? 3 : 15] = static_cast<unsigned char>(number);
  return address;
}

LinkPtr World::come_in(std::optional<config::PoolMode> mode, Comer who) {
  std::vector<size_t> open;
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i].listening) open.push_back(i);
  }
  if (open.empty()) return nullptr;
  const size_t index = open[random_.below(open.size())];
  auto link = std::make_shared<Link>();
  link->window = chance(30) ? 32 + random_.below(500) : 65536;
  const int descriptor = network_.descriptor_of(link);
  globals_.worker_clients[index].fetch_add(1);
  net::ShortAddress peer = some_address();
  while (who == Comer::kIntruder && peer.kind == net::ShortAddress::Kind::kNone) peer = some_address();
  const bool unix_socket = peer.kind == net::ShortAddress::Kind::kNone;
  session::accept_client(*workers_[index].context, descriptor, mode, unix_socket, peer);
  if (!tls_ || who == Comer::kIntruder) return link;
  return tls_->come_in(std::move(link), unix_socket, who == Comer::kInhabitant);
}

void World::let_in(SimClient& client) {
  std::optional<config::PoolMode> mode = config::PoolMode::kTransaction;
  if (client.habits().session) {
    mode = config::PoolMode::kSession;
  } else if (scenario_.statements) {
    mode.reset();  // that of the database
  }
  if (LinkPtr link = come_in(mode)) {
    ++next_client_;
    client.start(link);
  }
}

void World::admit() {
  if (ending_) return;
  if (next_client_ < clients_.size() && chance(10)) let_in(*clients_[next_client_]);
  for (auto& one : operators_) {
    if (one->started() || !chance(3) || (!trouble_ && one->left() == 0)) continue;
    if (LinkPtr link = come_in(config::PoolMode::kTransaction)) one->start(link);
  }
  for (auto& one : strangers_) {
    if (one->started() || !chance(2)) continue;
    if (LinkPtr link = come_in(config::PoolMode::kTransaction, Comer::kStranger)) one->start(link);
  }
  if (tls_ && tls_->wants_intruder()) {
    if (LinkPtr link = come_in(config::PoolMode::kTransaction, Comer::kIntruder)) tls_->intrude(std::move(link));
  }
}

void World::send_cancel(uint32_t pid, const std::string& key) {
  std::string packet;
  wire::put32(packet, static_cast<uint32_t>(12 + key.size()));
  wire::put32(packet, wire::kCancelRequestCode);
  wire::put32(packet, pid);
  send_packet(packet + key);
}

void World::send_packet(std::string packet) {
  if (LinkPtr link = come_in(config::PoolMode::kTransaction)) cancellers_.push_back({link, std::move(packet)});
}

void World::step_cancellers() {
  for (Canceller& canceller : cancellers_) {
    if (tls_) canceller.link->to_peer.bytes.clear();  // nothing else reads what a tunnel has decrypted
    if (canceller.out.empty() || chance(50)) continue;
    const size_t part = 1 + random_.below(canceller.out.size());
    canceller.link->to_broker.bytes.append(canceller.out, 0, part);
    canceller.out.erase(0, part);
    if (canceller.out.empty() && chance(50)) canceller.link->to_broker.fin = true;
  }
  std::erase_if(cancellers_, [](const Canceller& canceller) {
    if (!canceller.out.empty() || !canceller.link->to_peer.fin) return false;
    canceller.link->peer_open = false;
    return true;
  });
}

void World::step_backend(Place& place) {
  Link& link = *place.link;
  Backend& backend = *place.backend;
  if (!backend.gone) {
    if (link.reset) {
      backend.hang_up();
    } else if (!link.to_peer.bytes.empty()) {
      const size_t part = chance(60) ? link.to_peer.bytes.size() : 1 + random_.below(link.to_peer.bytes.size());
      backend.feed(std::string_view(link.to_peer.bytes).substr(0, part));
      link.to_peer.bytes.erase(0, part);
    } else if (link.to_peer.fin && !backend.sleeping() && !backend.step()) {
      backend.hang_up();
    }
    for (int i = 0; i < 4 && backend.out.size() < 100000 && backend.step(); ++i) continue;
  }
  const size_t room = link.window > link.to_broker.bytes.size() ? link.window - link.to_broker.bytes.size() : 0;
  size_t part = std::min(room, backend.out.size());
  if (part > 0 && chance(50)) part = 1 + random_.below(part);
  link.to_broker.bytes.append(backend.out, 0, part);
  backend.out.erase(0, part);
  if (backend.gone && backend.out.empty() && link.peer_open) {
    link.to_broker.fin = true;
    link.peer_open = false;
  }
}

void World::forget_backends() {
  std::erase_if(places_, [](const auto& place) {
    return place->backend->gone && (place->backend->out.empty() || !place->link->broker_open) &&
           !place->link->broker_open;
  });
}

void World::cause_trouble() {
  if (!trouble_ || !scenario_.faults || !chance(1) || places_.empty()) return;
  make_trouble(*places_[random_.below(places_.size())]);
}

void World::make_trouble(Place& place) {
  switch (random_.below(6)) {
    case 0: place.backend->terminate("57P01", "terminating connection due to administrator command"); break;
    case 1: place.backend->terminate("", ""); break;
    case 2: place.answers_at = now() + static_cast<Micros>(random_.below(30 * kSecond)); break;
    case 3:  // between two messages only: within one it would be taken for data
      if (place.backend->gone || !place.backend->out.empty() || !place.link->to_broker.bytes.empty()) return;
      if (place.backend->ready()) place.backend->out = std::string("\x01\0\0\0\4", 5);
      break;
    default: place.link->reset = true; break;
  }
  trace("trouble: {}", place.backend->describe());
}

void World::mail(int from, int to, Mail mail) {
  mail.at = now() + static_cast<Micros>(random_.below(500));
  mail_[{from, to}].push_back(std::move(mail));
}

void World::deliver_mail() {
  for (auto& [pair, queue] : mail_) {
    while (!queue.empty() && queue.front().at <= now()) {
      const Mail mail = std::move(queue.front());
      queue.pop_front();
      mail.deliver();
      if (failed()) return;
    }
  }
}

// Most of it takes a moment, some of it longer than people wait.
bool World::aside(int worker, std::unique_ptr<auth::Work> work, session::Fleet::WorkDone done) {
  if (trouble_ && scenario_.faults && chance(5)) return false;  // as many as may wait do
  const bool hangs = trouble_ && scenario_.faults && chance(5);
  const Micros most = hangs ? 20 * kSecond : chance(20) ? 500 * kMillisecond : 2 * kMillisecond;
  asides_.push_back({worker, now() + static_cast<Micros>(random_.below(static_cast<uint64_t>(most))), std::move(work),
                     std::move(done)});
  return true;
}

// auth_query's answer, which comes late, now and then after its login has gone, and may be that nobody knows.
void World::find_secret(int worker, const std::string& user, session::SecretFinder::Done done) {
  class Lookup final : public auth::Work {
   public:
    Lookup() : Work(auth::Lane::kUsers) {}
    void run() override {}
  };
  session::SecretAnswer answer;
  const auto found = looked_up_.find(user);
  answer.kind = session::SecretAnswer::Kind::kUnknown;
  if (found != looked_up_.end()) {
    answer.kind = session::SecretAnswer::Kind::kFound;
    answer.secret = auth::parse_secret(found->second.view());
  }
  answer.stamp = steps_;
  answer.cached = chance(30);
  if (trouble_ && scenario_.faults && chance(10)) {
    answer.kind = chance(50) ? session::SecretAnswer::Kind::kFailed : session::SecretAnswer::Kind::kBusy;
  }
  const Micros most = chance(20) ? 500 * kMillisecond : 2 * kMillisecond;
  asides_.push_back({worker, now() + static_cast<Micros>(random_.below(static_cast<uint64_t>(most))),
                     std::make_unique<Lookup>(), [answer, done = std::move(done)](auth::Work&) { done(answer); }});
}

// In the order of their times, then by mail: others may be faster.
void World::do_asides() {
  for (size_t i = 0; i < asides_.size();) {
    if (asides_[i].at > now()) {
      ++i;
      continue;
    }
    Aside ready = std::move(asides_[i]);
    asides_.erase(asides_.begin() + static_cast<long>(i));
    ready.work->run();
    const std::shared_ptr<auth::Work> work = std::move(ready.work);
    mail(ready.worker, ready.worker, {0, [work, done = std::move(ready.done)] { done(*work); }});
  }
}

// ---- time

void World::turn_worker(size_t index) {
  Worker& worker = workers_[index];
  worker.engine->run_once(now());
  watch_states(index);
  if (failed()) return;
  if (now() >= worker.next_janitor) {
    worker.next_janitor = now() + session::kJanitorEvery;
    if (!ending_) {
      const bool shutdown = globals_.shutdown.load() != session::Shutdown::kNo;
      if (shutdown) worker.listening = false;
      session::janitor(*worker.context);
      worker.console->on_tick();
      worker.drained = shutdown && session::nothing_left(*worker.context);
    }
    watch_states(index);
  }
  check_waiters(index);
}

void World::turn() {
  ++steps_;
  postgres_.now = now();
  admit();
  for (size_t i = 0; i < workers_.size() && !failed(); ++i) {
    if (chance(80)) turn_worker(i);
  }
  do_asides();
  deliver_mail();
  for (auto& client : clients_) {
    if (!failed() && chance(70)) client->step();
  }
  for (auto& one : operators_) {
    if (!failed() && chance(70)) one->step();
  }
  for (auto& one : strangers_) {
    if (!failed() && chance(70)) one->step();
  }
  for (auto& place : places_) {
    if (now() >= place->answers_at && !chance(scenario_.postgres_idle_percent)) step_backend(*place);
  }
  forget_backends();
  step_cancellers();
  if (tls_ && !failed()) tls_->step();
  cause_trouble();
  network_.now += 20 + static_cast<Micros>(random_.below(steps_ % 64 == 0 ? 20000 : 300));
  if (!failed()) check();
  const bool drained = std::all_of(workers_.begin(), workers_.end(), [](const Worker& w) { return w.drained; });
  if (!failed() && !ending_ && (drained || (stop_at_once_ && at_a_rare_moment()))) end_everything();
}

// The end of the process, as in Worker::close_all.
void World::end_everything() {
  ending_ = true;
  trace("the broker ends");
  for (Worker& worker : workers_) {
    worker.listening = false;
    session::close_everything(*worker.context);
  }
}

void World::request_shutdown(session::Shutdown how) {
  if (how == session::Shutdown::kNow || globals_.shutdown.load() != session::Shutdown::kNo) {
    stop_at_once_ = true;
    return;
  }
  globals_.shutdown = how;
  if (how == session::Shutdown::kWaitForServers) globals_.paused = true;
}

bool World::is_secured(uint32_t pid) const {
  return tls_ && std::any_of(places_.begin(), places_.end(), [&](const auto& place) {
           return place->backend->pid() == pid && tls_->is_secured(place->link.get());
         });
}

bool World::everybody_gone() const {
  const bool closed =
      std::none_of(workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.listening; });
  const auto gone = [closed](const auto& one) { return one->done() || (closed && !one->started()); };
  return cancellers_.empty() && (!tls_ || tls_->intruders_gone()) &&
         std::all_of(clients_.begin(), clients_.end(), gone) &&
         std::all_of(operators_.begin(), operators_.end(), gone) &&
         std::all_of(strangers_.begin(), strangers_.end(), gone);
}

bool World::settled() const {
  for (const Worker& worker : workers_) {
    for (const auto& [key, slice] : worker.context->slices) {
      for (int state = 0; state < pool::kServerStates; ++state) {
        const auto s = static_cast<pool::ServerState>(state);
        // With short lifetimes and min_pool_size there is always one that is being opened.
        const bool rests = s == pool::ServerState::kIdle || s == pool::ServerState::kConnecting ||
                           s == pool::ServerState::kLogin || s == pool::ServerState::kSetup;
        if (!rests && !slice->pool.servers(s).empty()) return false;
      }
    }
    if (!worker.context->closing_clients.empty()) return false;
  }
  for (const auto& [pair, queue] : mail_) {
    if (!queue.empty()) return false;
  }
  return true;
}

void World::report_stuck(const char* what) {
  std::string all = what;
  for (const auto& client : clients_) {
    if (!client->done()) all += "\n  " + client->describe();
  }
  for (const auto& one : operators_) {
    if (!one->done()) all += "\n  " + one->describe();
  }
  for (const auto& one : strangers_) {
    if (!one->done()) all += "\n  a stranger of kind " + std::to_string(one->kind());
  }
  for (const Worker& worker : workers_) {
    for (const auto& [key, slice] : worker.context->slices) {
      all += fmt::format("\n  slice {} of {}: waiting {} linked {} servers", slice->database, slice->user,
                         slice->pool.waiting_count(), slice->pool.clients(pool::ClientState::kLinked).size());
      for (int state = 0; state < pool::kServerStates; ++state) {
        all += fmt::format(" {}", slice->pool.servers(static_cast<pool::ServerState>(state)).size());
      }
    }
  }
  for (const auto& place : places_) all += "\n  " + place->backend->describe();
  if (!cancellers_.empty()) all += fmt::format("\n  {} cancel requests", cancellers_.size());
  if (tls_ && !tls_->intruders_gone()) all += "\n  an intruder";
  violation(all);
}

bool World::run() {
  trouble_ = true;
  if (choices_) follow_program();
  const uint64_t trouble_steps = choices_ ? 0 : 3000;
  // Life, with trouble at first.
  Micros deadline = 0;
  while (!failed() && !everybody_gone()) {
    if (steps_ >= trouble_steps && trouble_) {
      trouble_ = false;
      postgres_.connections_max = 100;
      network_.profile.chunk_most = 65536;  // large answers in tiny pieces would take for ever
      if (choices_) {                       // and so would logins, longer than their timeouts
        network_.profile.idle_percent = std::min(network_.profile.idle_percent, 30);
        network_.profile.partial_percent = std::min(network_.profile.partial_percent, 30);
        scenario_.postgres_idle_percent = 30;
      }
      deadline = now() + 300 * kSecond;
      for (auto& client : clients_) client->finish();
      for (auto& one : operators_) one->finish();
    }
    if (!trouble_) restore(deadline - 280 * kSecond);
    turn();
    if (!trouble_) network_.now += static_cast<Micros>(random_.below(20000));
    if (deadline && now() > deadline) report_stuck("not everybody was served after the faults had stopped");
  }
  trouble_ = false;
  if (!failed() && !ending_) settle();
  if (!failed()) wind_down();
  return !failed();
}

// The last operator: whatever others have paused, disabled or removed is as it was. It comes when they have left, or
// should have; where the door is shut already, the broker is ended instead.
void World::restore(Micros latest) {
  const bool shut =
      std::none_of(workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.listening; });
  if (scenario_.operators == 0) return;
  if (operators_.size() > static_cast<size_t>(scenario_.operators)) {
    const SimOperator& last = *operators_.back();
    if (shut && !last.started()) stop_at_once_ = true;
    if (!last.done() || last.left() == 0) return;  // else it was sent away too early: another one comes
  }
  const bool others = std::any_of(operators_.begin(), operators_.end(),
                                  [](const auto& one) { return one->started() && !one->done(); });
  if (others && now() < latest) return;
  std::vector<std::string> script = {"RESUME", "RELOAD"};
  for (int i = 0; i < scenario_.databases; ++i) {
    script.push_back("RESUME d" + std::to_string(i));
    script.push_back("ENABLE d" + std::to_string(i));
  }
  operators_.push_back(
      std::make_unique<SimOperator>(*this, static_cast<int>(operators_.size()), Powers(), script, dice()));
}

// Everybody has left: the servers get clean, and those beyond the limits go.
void World::settle() {
  network_.profile.chunk_most = 65536;
  const Micros deadline = now() + 60 * kSecond;
  while (!failed() && !settled()) {
    turn();
    network_.now += static_cast<Micros>(random_.below(5000));
    if (now() > deadline) report_stuck("the servers did not become free after everybody had left");
  }
  for (const auto& place : places_) {
    if (failed()) return;
    if (place->backend->gone || !place->link->broker_open) continue;
    if (place->backend->sleeping() && place->backend->running_tag().empty()) continue;  // a connect_query
    if (place->backend->in_transaction())
      violation("a backend is left in a transaction: " + place->backend->describe());
    if (!place->backend->session_state().empty())
      violation("session state of client " + place->backend->session_state() + " was left (I5)");
  }
  const Micros until = now() + 2 * kSecond;
  while (!failed() && now() < until) {
    turn();
    network_.now += static_cast<Micros>(random_.below(20000));
  }
  if (!failed()) check_trimmed();
}

// All is closed, and nothing is left of it.
void World::wind_down() {
  if (!ending_) end_everything();
  Micros deadline = now() + 60 * kSecond;
  const auto open = [this] {
    for (const Worker& worker : workers_) {
      if (session::anything_open(*worker.context) || worker.engine->open() > 0) return true;
    }
    if (!asides_.empty()) return true;  // their clients are gone: nothing may come of them
    return std::any_of(mail_.begin(), mail_.end(), [](const auto& entry) { return !entry.second.empty(); });
  };
  while (!failed() && open()) {
    turn();
    network_.now += static_cast<Micros>(random_.below(5000));
    if (now() > deadline) report_stuck("the broker did not close everything");
  }
  if (!failed()) check_end();
}

size_t World::statements() const {
  size_t all = 0;
  for (const auto& client : clients_) all += client->statements_done();
  return all;
}

}  // namespace berth::sim
