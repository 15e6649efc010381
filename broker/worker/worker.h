// One worker: a thread with its engine, its sessions and its slice of every pool. It owns all that its Context holds;
// others only send it envelopes.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "net/epoll_engine.h"
#include "net/resolver.h"
#include "session/context.h"
#include "worker/helpers.h"
#include "worker/mailbox.h"
#include "worker/task.h"

namespace berth::worker {

// A listening socket of the process; every worker accepts on it.
struct Listener {
  int descriptor = -1;
  std::optional<config::PoolMode> mode;  // fixed by the port; else pool_mode decides
  bool unix_socket = false;
};

// Kinds of Envelope.
enum class Mail : uint32_t {
  kAccepted,  // number: descriptor, value: index of the listener
  kServer,    // object: Server*, number: descriptor, value: SharedPool*
  kAsk,       // value: SharedPool*
  kWelcome,   // value: SharedPool*
  kTask,      // object: Task*
};

// What all workers are given.
struct Fleet {
  explicit Fleet(int workers_) : workers(workers_), mailboxes(workers_) {}
  const int workers;
  session::Globals globals;
  Mailboxes mailboxes;
  net::Resolver resolver;
  session::SecretFinder* secrets = nullptr;               // written before the workers start
  std::vector<Listener> listeners;                        // written before the workers start
  std::array<net::Engine*, pool::kWorkersMax> engines{};  // likewise; null again when a worker ends

  // Tasks from threads without a mailbox (the resolver's, the helpers'). Any thread; rare.
  void post_from_outside(int to, std::unique_ptr<Task> task);
  std::vector<std::unique_ptr<Task>> take_from_outside(int to);
  std::mutex outside_mutex;
  std::vector<std::pair<int, std::unique_ptr<Task>>> outside;  // guarded by outside_mutex
  std::atomic<bool> any_outside{false};  // written under the lock; spares the others taking it each turn
  Helpers helpers;                       // last, so that it ends first: its answers go through the list above
};

class Worker final : public session::Fleet, public net::AcceptHandler {
 public:
  Worker(worker::Fleet& fleet, int index, std::shared_ptr<const config::Config> config, uint64_t seed);
  ~Worker();

  void start();  // the thread
  void stop();   // any thread: closes everything and ends the thread
  void join();

  Context& context() { return context_; }

  // For the watchdog: when the loop last turned (monotonic), and what it is doing. Written by the worker only;
  // relaxed, since the number itself is all that the watchdog needs.
  std::atomic<Micros> turned_at{0};
  std::atomic<const char*> doing{"starting"};
  // Nothing is left that a graceful shutdown waits for. Written by the worker, read by main.
  std::atomic<bool> drained{false};
  std::function<void(Context&)> on_tick;  // set before start(): the console's clock

  // ---- session::Fleet
  void send_server(int to, session::Server* server, int descriptor, pool::SharedPool* shared) override;
  void ask_server(int to, pool::SharedPool* shared) override;
  void ask_room(int to, const session::AddressKey& of, int workers_left) override;
  void welcome_known(pool::SharedPool* shared) override;
  void route_cancel(uint32_t pid, std::string key) override;
  void resolve(const std::string& host, int port, Resolved done) override;
  std::vector<net::Resolver::Known> known_names() override { return fleet_.resolver.known(); }
  bool aside(std::unique_ptr<auth::Work> work, WorkDone done) override;
  std::array<auth::LaneLoad, auth::kLanes> lane_loads() override { return fleet_.helpers.loads(); }
  void find_secret(session::SecretQuestion question, session::SecretFinder::Done done) override;
  void secret_refuted(const session::SecretQuestion& question, uint64_t stamp) override;
  // ---- net::AcceptHandler
  void on_accepted(int fd, int listener, const net::Address& peer) override;
  void on_accept_failed(int error, int listener) override;

 private:
  void run();
  void receive();
  void tick();
  void close_all();
  void take_client(int fd, size_t listener, const net::Address& peer);

  worker::Fleet& fleet_;
  const int index_;
  net::EpollEngine engine_;
  Context context_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  bool listening_ = false;
  Micros next_tick_ = 0;
  Micros accept_told_ = 0;
};

// Names the worker that runs on the calling thread: what it sends goes through that worker's mailboxes.
void set_own_index(int index);

// Puts a task into a worker's mailbox. `from` is the sending thread's index (the main thread's is `workers`).
void send_task(Fleet& fleet, int from, int to, std::unique_ptr<Task> task);

}  // namespace berth::worker
