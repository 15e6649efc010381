#include "sim/sim_fleet.h"

#include "session/client.h"
#include "session/server.h"
#include "sim/world.h"

namespace berth::sim {

void SimFleet::send_server(int to, session::Server* server, int descriptor, pool::SharedPool* shared) {
  world_.mail(worker_, to,
              {0, [=, this] { session::arrive(world_.context(to), server, descriptor, shared); }, shared});
}

void SimFleet::ask_server(int to, pool::SharedPool* shared) {
  world_.mail(worker_, to, {0, [=, this] { session::lend_asked(world_.context(to), shared); }});
}

void SimFleet::ask_room(int to, const session::AddressKey& of, int workers_left) {
  world_.mail(worker_, to, {0, [=, this] { session::room_asked(world_.context(to), of, workers_left); }});
}

void SimFleet::welcome_known(pool::SharedPool* shared) {
  for (int to = 0; to < world_.workers(); ++to) {
    if (to != worker_)
      world_.mail(worker_, to, {0, [=, this] { session::welcome_waiting(world_.context(to), shared); }});
  }
}

void SimFleet::route_cancel(uint32_t pid, std::string key) {
  const int owner = session::worker_of_pid(pid);
  if (owner < 0 || owner >= world_.workers()) return;
  if (owner == worker_) {
    session::cancel_client(world_.context(owner), pid, key);
    return;
  }
  world_.mail(worker_, owner, {0, [=, this] { session::cancel_client(world_.context(owner), pid, key); }});
}

void SimFleet::resolve(const std::string& host, int port, Resolved done) {
  world_.mail(worker_, worker_,
              {0, [=, this] {
                 if (world_.resolving_fails()) return done(Error{"no such host", ""});
                 done(std::vector<net::Address>{
                     (world_.tls() ? net::parse_ip("10.0.0.9", port) : net::unix_address(host, port)).value()});
               }});
}

bool SimFleet::aside(std::unique_ptr<auth::Work> work, WorkDone done) {
  return world_.aside(worker_, std::move(work), std::move(done));
}

void SimFleet::find_secret(session::SecretQuestion question, session::SecretFinder::Done done) {
  world_.find_secret(worker_, question.user, std::move(done));
}

}  // namespace berth::sim
