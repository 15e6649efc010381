// The resolver: a queue of names, one thread that looks them up, and the answers under one lock. A lock is right
// here: it is taken once for a new backend connection to a named host, never for a query.
#include "net/resolver.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

namespace berth::net {
namespace {

// "connection_exception": what PostgreSQL's own clients report for a server they cannot reach.
constexpr const char* kUnreachable = "08001";

Result<Resolver::Addresses> look_up_by_system(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;  // else each address comes once for every type
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    const char* why = error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error);
    return Error{fmt::format("could not resolve host \"{}\": {}", host, why), kUnreachable};
  }
  Resolver::Addresses addresses;
  for (const addrinfo* at = found; at; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    Address address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
    addresses.push_back(address);
  }
  freeaddrinfo(found);
  if (addresses.empty()) return Error{fmt::format("host \"{}\" has no address", host), kUnreachable};
  return addresses;
}

Result<Resolver::Addresses> with_port(Result<Resolver::Addresses> answer, int port) {
  if (!answer) return answer;
  for (Address& address : answer.value()) {
    const uint16_t number = htons(static_cast<uint16_t>(port));
    if (address.storage.ss_family == AF_INET) {
      reinterpret_cast<sockaddr_in&>(address.storage).sin_port = number;
    } else {
      reinterpret_cast<sockaddr_in6&>(address.storage).sin6_port = number;
    }
  }
  return answer;
}

}  // namespace

// Everything below is guarded by `mutex`, save what is written before the thread starts. A name is either in
// `answers` (maybe expired), or in `asked`, or both; it is in `queue` as long as it is asked and not looked up yet.
struct Resolver::State {
  struct Answer {
    Result<Addresses> result;
    Micros expires = 0;
  };
  struct Asker {
    int port;
    Done done;
  };

  LookUp look_up;
  Clock clock = monotonic_now;
  mutable std::mutex mutex;
  std::condition_variable work;
  std::condition_variable ended;
  std::unordered_map<std::string, Answer> answers;
  std::unordered_map<std::string, std::vector<Asker>> asked;
  std::deque<std::string> queue;
  Micros lifetime = 15 * kSecond;
  Micros failure_lifetime = 15 * kSecond;
  uint64_t generation = 0;  // counts forget(): an answer asked for before it is not remembered
  bool stop = false;
  bool running = false;
  std::thread thread;  // started by the first lookup; the resolver's

  void run();
  void remember(const std::string& host, const Result<Addresses>& result);
  void make_place();
};

Resolver::Resolver() : Resolver(look_up_by_system, monotonic_now) {}

Resolver::Resolver(LookUp look_up, Clock clock) : state_(std::make_shared<State>()) {
  state_->look_up = std::move(look_up);
  state_->clock = clock;
}

Resolver::~Resolver() {
  State& state = *state_;
  std::unique_lock<std::mutex> lock(state.mutex);
  state.stop = true;
  state.work.notify_all();
  if (!state.thread.joinable()) return;
  // getaddrinfo cannot be interrupted, and the end of the process must not wait for a name server.
  const bool over =
      state.ended.wait_for(lock, std::chrono::microseconds(kResolveStopWait), [&] { return !state.running; });
  lock.unlock();
  if (over) {
    state.thread.join();
  } else {
    state.thread.detach();
  }
}

void Resolver::set_lifetimes(Micros answers, Micros failures) {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  state_->lifetime = answers;
  state_->failure_lifetime = failures;
}

std::optional<Result<Resolver::Addresses>> Resolver::literal(std::string_view host, int port) {
  if (host.empty()) return Error{"no host", kUnreachable};
  if (host[0] == '/' || host[0] == '@') {
    const Result<Address> path = unix_address(host, port);
    if (!path) return path.error();
    return Addresses{path.value()};
  }
  const Result<Address> ip = parse_ip(host, port);
  if (!ip) return std::nullopt;
  return Addresses{ip.value()};
}

void Resolver::resolve(const std::string& host, int port, Done done) {
  std::optional<Result<Addresses>> now;
  {
    State& state = *state_;
    const std::lock_guard<std::mutex> guard(state.mutex);
    const auto answer = state.answers.find(host);
    const auto waiting = state.asked.find(host);
    if (answer != state.answers.end() && answer->second.expires > state.clock()) {
      now = answer->second.result;
    } else if (waiting != state.asked.end()) {
      waiting->second.push_back({port, std::move(done)});
    } else if (state.queue.size() >= kResolveQueueMax) {
      now = Error{fmt::format("could not resolve host \"{}\": too many names wait to be looked up", host),
                  kUnreachable};
    } else {
      state.asked[host].push_back({port, std::move(done)});
      state.queue.push_back(host);
      if (!state.thread.joinable()) {
        state.running = true;
        state.thread = std::thread([shared = state_] { shared->run(); });
      }
      state.work.notify_one();
    }
  }
  if (now) done(with_port(std::move(*now), port));
}

// The helper thread. Done functions run under the lock: so the destructor, which takes it, knows that none runs after
// it, and whatever they point to may go.
void Resolver::State::run() {
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    work.wait(lock, [this] { return stop || !queue.empty(); });
    if (stop) break;
    const std::string host = std::move(queue.front());
    queue.pop_front();
    const uint64_t asked_in = generation;
    lock.unlock();
    const Result<Addresses> result = look_up(host);
    lock.lock();
    if (stop) break;
    if (asked_in == generation) remember(host, result);
    const auto askers = asked.extract(host);
    for (const Asker& asker : askers.mapped()) asker.done(with_port(result, asker.port));
  }
  asked.clear();
  running = false;
  ended.notify_all();
}

void Resolver::State::remember(const std::string& host, const Result<Addresses>& result) {
  const Micros for_how_long = result ? lifetime : failure_lifetime;
  answers.erase(host);
  if (for_how_long <= 0) return;
  if (answers.size() >= kResolveCacheMax) make_place();
  answers.emplace(host, Answer{result, clock() + for_how_long});
}

void Resolver::State::make_place() {
  const Micros now = clock();
  std::erase_if(answers, [now](const auto& entry) { return entry.second.expires <= now; });
  if (answers.size() < kResolveCacheMax) return;
  answers.erase(std::min_element(answers.begin(), answers.end(), [](const auto& one, const auto& other) {
    return one.second.expires < other.second.expires;
  }));
}

void Resolver::forget() {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  state_->answers.clear();
  ++state_->generation;
}

std::vector<Resolver::Known> Resolver::known() const {
  const std::lock_guard<std::mutex> guard(state_->mutex);
  std::vector<Known> all;
  for (const auto& [host, answer] : state_->answers) {
    all.push_back({host, answer.result ? answer.result.value() : Addresses{}, answer.expires});
  }
  return all;
}

}  // namespace berth::net
