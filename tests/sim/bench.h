// A world without dice, for scenarios in explicit steps: one worker, one PostgreSQL, a network that hands over
// everything at once, and a clock that only the test moves.
#pragma once

#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "session/client.h"
#include "session/limits.h"
#include "session/server.h"
#include "sim/fake_postgres.h"
#include "sim/sim_engine.h"
#include "wire/encode.h"

namespace berth::sim {

class Bench : public session::Fleet {
 public:
  explicit Bench(int workers = 1) : context(engine, globals, *this, 0, workers, 1) {
    LogTarget quiet;
    quiet.to_stderr = false;
    log_configure(quiet);
    network.profile = {.chunk_most = 65536, .idle_percent = 0, .partial_percent = 0, .connect_most = 0};
    network.dial = [this](const net::Address& address, int& error) -> LinkPtr {
      dialled.push_back(address.text());
      if (deaf.contains(address.text())) error = EINPROGRESS;
      if (closed.contains(address.text())) error = ECONNREFUSED;
      if (error) return nullptr;
      places.push_back({std::make_shared<Link>(), std::make_unique<Backend>(postgres)});
      return places.back().link;
    };
    config::DatabaseEntry entry;
    entry.name = entry.dbname = "d0";
    entry.hosts = {"/sim"};
    config.databases.push_back(entry);
    config.secrets["u0"] = "secret";
    config.options.auth_type = config::AuthType::kTrust;
    config.options.log_connections = config.options.log_disconnections = config.options.log_pooler_errors = false;
  }

  // Everything ends, and within a few turns nothing is left.
  ~Bench() {
    session::close_everything(context);
    for (int i = 0; i < 1000 && (session::anything_open(context) || engine.open() > 0 || !mail_.empty()); ++i) turn();
    ASSERT(!session::anything_open(context) && engine.open() == 0);
  }

  // Puts `config` in place: the first time, and as a reload does.
  void apply() {
    auto next = std::make_shared<config::Config>(config);
    next->index();
    session::reconfigure(context, next);
  }

  // Somebody who has sent their first packet and a query.
  LinkPtr client() {
    std::string query;
    wire::put_query(query, "select c1.1");
    return client(query);
  }
  // Somebody who has sent their first packet and these bytes.
  LinkPtr client(std::string_view then) {
    auto link = std::make_shared<Link>();
    globals.worker_clients[0].fetch_add(1);
    const bool unix_socket = peer.kind == net::ShortAddress::Kind::kNone;
    session::accept_client(context, network.descriptor_of(link), config::PoolMode::kTransaction, unix_socket, peer);
    std::string body;
    for (const char* text : {"user", "u0", "database", database.c_str()}) wire::put_cstring(body, text);
    body += '\0';
    wire::put32(link->to_broker.bytes, static_cast<uint32_t>(body.size() + 8));
    wire::put32(link->to_broker.bytes, wire::kProtocol30);
    link->to_broker.bytes += body;
    link->to_broker.bytes += then;
    return link;
  }

  // One turn of the worker, then one of PostgreSQL.
  void turn(Micros later = kMillisecond) {
    network.now += later;
    postgres.now = network.now;
    engine.run_once(network.now);
    std::vector<std::function<void()>> mail;
    mail.swap(mail_);
    for (auto& deliver : mail) deliver();
    if (network.now >= next_janitor_) {
      next_janitor_ = network.now + session::kJanitorEvery;
      session::janitor(context);
    }
    for (Place& place : places) {
      place.backend->feed(place.link->to_peer.bytes);
      place.link->to_peer.bytes.clear();
      while (place.backend->step()) continue;
      place.link->to_broker.bytes += place.backend->out;
      place.backend->out.clear();
      if (place.link->to_peer.fin) place.backend->hang_up();
      place.link->to_broker.fin |= place.backend->gone;
    }
  }
  void turns(Micros time) {
    for (const Micros until = network.now + time; network.now < until;) turn(20 * kMillisecond);
  }

  const pool::Pool& pool() const { return context.slices.begin()->second->pool; }

  // There is no other worker: what goes to one comes back.
  void send_server(int to, session::Server* server, int descriptor, pool::SharedPool* shared) override {
    mail_.push_back([=, this] {
      shared->slices[static_cast<size_t>(to)].inbound.fetch_sub(1);
      shared->slices[0].inbound.fetch_add(1);
      session::arrive(context, server, descriptor, shared);
    });
  }
  void ask_server(int, pool::SharedPool*) override { ASSERT(false); }
  void ask_room(int, const session::AddressKey&, int) override { ASSERT(false); }
  void welcome_known(pool::SharedPool*) override {}
  void route_cancel(uint32_t, std::string) override {}
  std::vector<net::Resolver::Known> known_names() override { return {}; }
  std::array<auth::LaneLoad, auth::kLanes> lane_loads() override { return {}; }
  void resolve(const std::string& host, int port, Resolved done) override {
    std::vector<net::Address> found{net::unix_address(host, port).value()};
    if (host_addresses > 1) found.clear();
    for (int i = 1; i <= host_addresses && host_addresses > 1; ++i) {
      found.push_back(net::unix_address(host + "." + std::to_string(i), port).value());
    }
    mail_.push_back([=] { done(found); });
  }
  // Done when the test says so: run_aside().
  bool aside(std::unique_ptr<auth::Work> work, WorkDone done) override {
    asides.emplace_back(std::move(work), std::move(done));
    return !aside_full;
  }
  // Answered when the test does.
  void find_secret(session::SecretQuestion question, session::SecretFinder::Done done) override {
    questions.emplace_back(std::move(question), std::move(done));
  }
  void secret_refuted(const session::SecretQuestion&, uint64_t stamp) override { refuted.push_back(stamp); }
  void run_aside() {
    for (auto& [work, done] : std::exchange(asides, {})) {
      work->run();
      done(*work);
    }
  }

  struct Place {
    LinkPtr link;
    std::unique_ptr<Backend> backend;
  };
  Network network{1};
  Cluster postgres;
  std::vector<std::pair<std::unique_ptr<auth::Work>, WorkDone>> asides;  // what waits for run_aside()
  bool aside_full = false;
  std::vector<std::pair<session::SecretQuestion, session::SecretFinder::Done>> questions;  // of auth_query
  std::vector<uint64_t> refuted;                                                           // stamps
  std::vector<std::string> dialled;    // addresses, as the broker has tried them
  std::set<std::string> deaf, closed;  // they say nothing; they refuse
  int host_addresses = 1;              // of each host
  std::vector<Place> places;           // one for each connection that the broker has opened
  net::ShortAddress peer;              // where clients come from; without one, by a Unix socket
  std::string database = "d0";         // what they ask for
  config::Config config;
  session::Globals globals;
  SimEngine engine{network, nullptr};
  session::Context context;

 private:
  std::vector<std::function<void()>> mail_;
  Micros next_janitor_ = 0;
};

}  // namespace berth::sim
