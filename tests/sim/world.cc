#include "sim/world.h"

#include <cerrno>

#include "session/client.h"
#include "session/server.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::sim {

Coverage& coverage() {
  static Coverage all;
  return all;
}

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

World::World(uint64_t seed) : seed_(seed), random_(seed), network_(random_.next()) {
  tracing_ = getenv("SIM_TRACE") != nullptr;
  statements_before_ = pool::statements_known();
  draw_scenario();
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
    workers_.push_back(std::move(worker));
  }
  for (Worker& worker : workers_) session::reconfigure(*worker.context, config_);
  for (int i = 0; i < scenario_.clients; ++i) {
    Habits habits = scenario_.habits;
    habits.session = chance(scenario_.session_percent);
    if (chance(50)) habits.cancel_percent = 0;  // whoever never cancels must never be cancelled
    clients_.push_back(std::make_unique<SimClient>(*this, i, habits, random_.next()));
  }
}

World::~World() {
  for (Worker& worker : workers_) worker.context.reset();
}

void World::draw_scenario() {
  Scenario& s = scenario_;
  s.workers = 1 + static_cast<int>(random_.below(3));
  s.clients = 2 + static_cast<int>(random_.below(9));
  s.databases = chance(70) ? 1 : 2;
  s.users = chance(70) ? 1 : 2;
  s.faults = chance(30);
  s.waits_end = chance(15);
  s.crowded = chance(15);
  s.reloads = chance(20);
  s.password = chance(20);
  s.session_percent = chance(60) ? 0 : (chance(50) ? 30 : 100);
  Habits& h = s.habits;
  h.batches = 2 + static_cast<int>(random_.below(14));
  h.pipeline = 1 + static_cast<int>(random_.below(4));
  h.leave_percent = chance(50) ? 0 : static_cast<int>(random_.below(15));
  h.cancel_percent = chance(60) ? 0 : 3;
  h.slow_percent = chance(60) ? 0 : static_cast<int>(random_.below(90));
  for (bool* habit : {&h.simple, &h.extended, &h.named, &h.errors, &h.blocks, &h.copy, &h.settings, &h.commands,
                      &h.functions, &h.sleeps, &h.flush}) {
    *habit = chance(75);
  }
  if (!h.extended) h.simple = true;
  h.large = chance(20);
  NetProfile& net = network_.profile;
  net.chunk_most = chance(30) ? 8 : (chance(50) ? 200 : 65536);
  net.idle_percent = static_cast<int>(random_.below(60));
  net.partial_percent = chance(50) ? 0 : static_cast<int>(random_.below(60));
}

void World::make_config() {
  config_ = std::make_shared<config::Config>();
  config::Options& options = config_->options;
  options.auth_type = config::AuthType::kTrust;
  options.log_connections = options.log_disconnections = options.log_pooler_errors = options.log_stats = false;
  options.max_client_conn = 1000;
  options.default_pool_size = 1 + static_cast<int64_t>(random_.below(4));
  options.reserve_pool_size = chance(20) ? 1 : 0;
  options.reserve_pool_timeout = 200 * kMillisecond;
  options.max_db_connections = chance(20) ? 1 + static_cast<int64_t>(random_.below(4)) : 0;
  options.max_prepared_statements = chance(20) ? 2 : 200;
  options.query_wait_timeout = scenario_.waits_end ? 500 * kMillisecond : 0;
  options.query_wait_notify = chance(50) ? 100 * kMillisecond : 0;
  options.server_check_delay = chance(30) ? 5 * kMillisecond : 30 * kSecond;
  options.server_idle_timeout = chance(20) ? 50 * kMillisecond : 600 * kSecond;
  options.server_lifetime = chance(20) ? 200 * kMillisecond : 3600 * kSecond;
  options.server_login_retry = 2 * kSecond;
  options.server_round_robin = chance(30);
  options.server_reset_query_always = chance(10);
  options.transaction_port = 6543;
  options.session_port = 5432;
  if (chance(30)) options.min_pool_size = 1 + static_cast<int64_t>(random_.below(3));
  for (int i = 0; i < scenario_.databases; ++i) {
    config::DatabaseEntry entry;
    entry.name = entry.dbname = "d" + std::to_string(i);
    entry.hosts = {"/sim"};
    if (scenario_.password) entry.password = "secret";
    if (chance(10)) entry.connect_query = "set application_name to 'setup'";
    config_->databases.push_back(entry);
  }
  for (int i = 0; i < scenario_.users; ++i) config_->secrets["u" + std::to_string(i)] = "secret";
  if (scenario_.password) postgres_.password = "secret";
  if (scenario_.crowded) postgres_.connections_max = 1 + random_.below(3);
  config_->index();
}

void World::violation(const std::string& what) {
  if (!why_.empty()) return;
  why_ = what;
  trace("VIOLATION {}", what);
}

void World::trace_line(const std::string& line) {
  fmt::print(stderr, "{:>6} {:>9} {}\n", steps_, network_.now, line);
}

// ---- connections

LinkPtr World::dial(const net::Address& address, int& error) {
  ASSERT(address.is_unix());
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
  return link;
}

void World::admit_clients() {
  if (next_client_ >= clients_.size() || !chance(10)) return;
  SimClient& client = *clients_[next_client_++];
  const size_t index = random_.below(workers_.size());
  auto link = std::make_shared<Link>();
  link->window = chance(30) ? 32 + random_.below(500) : 65536;
  const int descriptor = network_.descriptor_of(link);
  globals_.worker_clients[index].fetch_add(1);
  const auto mode = client.habits().session ? config::PoolMode::kSession : config::PoolMode::kTransaction;
  session::accept_client(*workers_[index].context, descriptor, mode, true);
  client.start(link);
}

void World::send_cancel(uint32_t pid, const std::string& key) {
  Canceller canceller;
  canceller.link = std::make_shared<Link>();
  wire::put32(canceller.out, static_cast<uint32_t>(12 + key.size()));
  wire::put32(canceller.out, wire::kCancelRequestCode);
  wire::put32(canceller.out, pid);
  canceller.out += key;
  const size_t index = random_.below(workers_.size());
  const int descriptor = network_.descriptor_of(canceller.link);
  globals_.worker_clients[index].fetch_add(1);
  session::accept_client(*workers_[index].context, descriptor, config::PoolMode::kTransaction, true);
  cancellers_.push_back(std::move(canceller));
}

void World::step_cancellers() {
  for (Canceller& canceller : cancellers_) {
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

void World::step_backends() {
  for (auto& place : places_) {
    if (now() < place->answers_at || chance(30)) continue;
    Link& link = *place->link;
    Backend& backend = *place->backend;
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
  std::erase_if(places_, [](const auto& place) {
    return place->backend->gone && (place->backend->out.empty() || !place->link->broker_open) &&
           !place->link->broker_open;
  });
}

void World::cause_trouble() {
  if (!trouble_ || !scenario_.faults || !chance(1) || places_.empty()) return;
  Place& place = *places_[random_.below(places_.size())];
  switch (random_.below(3)) {
    case 0: place.backend->terminate("57P01", "terminating connection due to administrator command"); break;
    case 1: place.backend->terminate("", ""); break;
    default: place.link->reset = true; break;
  }
  trace("trouble: {}", place.backend->describe());
}

bool World::may_lose(std::string_view text) const {
  if (ending_ && text == "pgberth is shutting down") return true;
  if (scenario_.faults) {
    for (const char* known :
         {"server conn crashed?", "terminating connection due to administrator command", "torn"}) {
      if (text == known) return true;
    }
  }
  if (scenario_.waits_end && text == "query_wait_timeout") return true;  // at its login
  // A start parameter or SET that PostgreSQL refuses on another server.
  return false;
}

bool World::is_refusal(std::string_view) const {
  return false;
}

bool World::resolving_fails() {
  return trouble_ && scenario_.faults && chance(5);
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

// ---- time

void World::turn_worker(size_t index) {
  Worker& worker = workers_[index];
  worker.engine->run_once(now());
  watch_states(index);
  if (failed()) return;
  if (now() >= worker.next_janitor) {
    worker.next_janitor = now() + session::kJanitorEvery;
    if (!ending_) session::janitor(*worker.context);
    watch_states(index);
  }
  check_waiters(index);
}

void World::turn() {
  ++steps_;
  postgres_.now = now();
  admit_clients();
  for (size_t i = 0; i < workers_.size() && !failed(); ++i) {
    if (chance(80)) turn_worker(i);
  }
  deliver_mail();
  for (auto& client : clients_) {
    if (!failed() && chance(70)) client->step();
  }
  step_backends();
  step_cancellers();
  cause_trouble();
  network_.now += 20 + static_cast<Micros>(random_.below(steps_ % 64 == 0 ? 20000 : 300));
  if (!failed()) check();
}

bool World::everybody_gone() const {
  for (const auto& client : clients_) {
    if (!client->done()) return false;
  }
  return cancellers_.empty();
}

bool World::settled() const {
  for (const Worker& worker : workers_) {
    for (const auto& [key, slice] : worker.context->slices) {
      for (int state = 0; state < pool::kServerStates; ++state) {
        const auto s = static_cast<pool::ServerState>(state);
        if (s != pool::ServerState::kIdle && !slice->pool.servers(s).empty()) return false;
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
  violation(all);
}

bool World::run() {
  trouble_ = true;
  const uint64_t trouble_steps = 3000;
  // Life, with trouble at first.
  Micros deadline = 0;
  while (!failed() && !(next_client_ == clients_.size() && everybody_gone())) {
    if (steps_ >= trouble_steps && trouble_) {
      trouble_ = false;
      postgres_.connections_max = 100;
      network_.profile.chunk_most = 65536;  // large answers in tiny pieces would take for ever
      deadline = now() + 300 * kSecond;
      for (auto& client : clients_) client->finish();
    }
    turn();
    if (!trouble_) network_.now += static_cast<Micros>(random_.below(20000));
    if (deadline && now() > deadline) report_stuck("not everybody was served after the faults had stopped");
  }
  trouble_ = false;
  if (!failed()) wind_down();
  return !failed();
}

// Everybody has left: the servers get clean, then all is closed.
void World::wind_down() {
  Micros deadline = now() + 60 * kSecond;
  while (!failed() && !settled()) {
    turn();
    network_.now += static_cast<Micros>(random_.below(5000));
    if (now() > deadline) report_stuck("the servers did not become free after everybody had left");
  }
  if (failed()) return;
  for (const auto& place : places_) {
    if (place->backend->gone || !place->link->broker_open) continue;
    if (place->backend->in_transaction())
      violation("a backend is left in a transaction: " + place->backend->describe());
    if (!place->backend->session_state().empty())
      violation("session state of client " + place->backend->session_state() + " was left (I5)");
  }
  ending_ = true;
  for (Worker& worker : workers_) session::close_everything(*worker.context);
  deadline = now() + 60 * kSecond;
  const auto open = [this] {
    for (const Worker& worker : workers_) {
      if (session::anything_open(*worker.context) || worker.engine->open() > 0) return true;
    }
    return false;
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
