// session::Fleet for simulated workers: mail between them takes a random time but keeps its order between each pair,
// as the mailboxes do; address lookups take a while and may fail; what helper threads do is done at some later time.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "session/context.h"

namespace berth::sim {

class World;

class SimFleet final : public session::Fleet {
 public:
  SimFleet(World& world, int worker) : world_(world), worker_(worker) {}
  void send_server(int to, session::Server* server, int descriptor, pool::SharedPool* shared) override;
  void ask_server(int to, pool::SharedPool* shared) override;
  void ask_room(int to, const session::AddressKey& of, int workers_left) override;
  void welcome_known(pool::SharedPool* shared) override;
  void route_cancel(uint32_t pid, std::string key) override;
  void resolve(const std::string& host, int port, Resolved done) override;
  std::vector<net::Resolver::Known> known_names() override { return {}; }
  std::array<auth::LaneLoad, auth::kLanes> lane_loads() override { return {}; }
  bool aside(std::unique_ptr<auth::Work> work, WorkDone done) override;
  void find_secret(session::SecretQuestion question, session::SecretFinder::Done done) override;
  void secret_refuted(const session::SecretQuestion&, uint64_t) override {}

 private:
  World& world_;
  const int worker_;
};

struct Mail {
  Micros at = 0;  // not before
  std::function<void()> deliver;
  pool::SharedPool* server_of = nullptr;  // a server travels in it
};

}  // namespace berth::sim
