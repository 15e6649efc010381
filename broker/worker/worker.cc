#include "worker/worker.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "net/epoll_conn.h"
#include "net/socket_options.h"
#include "session/client.h"
#include "session/server.h"

namespace berth::worker {

using session::Shutdown;

constexpr int kRoomForAccept = 16;  // descriptors that are freed when accept(2) finds none

// Every idle client costs this much, and what its statements take.
static_assert(sizeof(session::Client) + sizeof(net::EpollConn) <= session::kIdleClientMax);

Worker::Worker(worker::Fleet& fleet, int index, std::shared_ptr<const config::Config> config, uint64_t seed)
    : fleet_(fleet), index_(index), context_(engine_, fleet.globals, *this, index, fleet.workers, seed) {
  context_.config = std::move(config);
  fleet.mailboxes.attach(index, &engine_);
  fleet.engines[static_cast<size_t>(index)] = &engine_;
}

Worker::~Worker() {
  ASSERT(!thread_.joinable());
  const std::lock_guard<std::mutex> guard(fleet_.outside_mutex);
  fleet_.engines[static_cast<size_t>(index_)] = nullptr;
}

void Worker::start() {
  thread_ = std::thread([this] { run(); });
}

void Worker::stop() {
  stop_.store(true, std::memory_order_release);
  engine_.wake();
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  set_own_index(index_);
  session::reconfigure(context_, context_.config);
  for (size_t i = 0; i < fleet_.listeners.size(); ++i) {
    engine_.listen(fleet_.listeners[i].descriptor, static_cast<int>(i), this);
  }
  listening_ = true;
  while (!stop_.load(std::memory_order_acquire)) {
    turned_at.store(context_.now(), std::memory_order_relaxed);
    doing.store("sessions", std::memory_order_relaxed);
    engine_.run_once(next_tick_);
    doing.store("mail", std::memory_order_relaxed);
    receive();
    if (context_.now() >= next_tick_) {
      doing.store("janitor", std::memory_order_relaxed);
      tick();
    }
  }
  close_all();
}

void Worker::receive() {
  fleet_.mailboxes.drain(index_, [this](const Envelope& mail) {
    switch (static_cast<Mail>(mail.kind)) {
      case Mail::kAccepted: {
        const int fd = static_cast<int>(mail.number);
        return take_client(fd, mail.value, net::peer_address(fd));
      }
      case Mail::kServer:
        return session::arrive(context_, static_cast<session::Server*>(mail.object), static_cast<int>(mail.number),
                               reinterpret_cast<pool::SharedPool*>(mail.value));
      case Mail::kAsk: return session::lend_asked(context_, reinterpret_cast<pool::SharedPool*>(mail.value));
      case Mail::kWelcome: return session::welcome_waiting(context_, reinterpret_cast<pool::SharedPool*>(mail.value));
      case Mail::kTask: return static_cast<Task*>(mail.object)->run(context_);
    }
  });
  fleet_.mailboxes.flush_outbox(index_);
  for (std::unique_ptr<Task>& task : fleet_.take_from_outside(index_)) task.release()->run(context_);
}

void Worker::tick() {
  next_tick_ = context_.now() + session::kJanitorEvery;
  const Shutdown shutdown = context_.globals.shutdown.load(std::memory_order_relaxed);
  if (shutdown != Shutdown::kNo && listening_) {
    for (const Listener& listener : fleet_.listeners) engine_.unlisten(listener.descriptor);
    listening_ = false;
  }
  session::janitor(context_);
  if (on_tick) on_tick(context_);
  if (shutdown != Shutdown::kNo) drained.store(session::nothing_left(context_), std::memory_order_relaxed);
}

// The end: everybody is told, then everything is closed, and what the kernel still takes is sent.
void Worker::close_all() {
  if (listening_) {
    for (const Listener& listener : fleet_.listeners) engine_.unlisten(listener.descriptor);
  }
  session::close_everything(context_);
  const Micros until = context_.now() + kSecond;
  while (context_.now() < until && session::anything_open(context_)) {
    engine_.run_once(context_.now() + 10 * kMillisecond);
  }
  if (!session::anything_open(context_)) return;
  engine_.end_lingering();  // of peers that do not read
  engine_.run_once(context_.now());
}

// ---- what sessions ask of the fleet

void Worker::send_server(int to, session::Server* server, int descriptor, pool::SharedPool* shared) {
  fleet_.mailboxes.send(index_, to,
                        {static_cast<uint32_t>(Mail::kServer), static_cast<uint32_t>(descriptor), server,
                         reinterpret_cast<uint64_t>(shared)});
}

void Worker::ask_server(int to, pool::SharedPool* shared) {
  fleet_.mailboxes.send(index_, to,
                        {static_cast<uint32_t>(Mail::kAsk), 0, nullptr, reinterpret_cast<uint64_t>(shared)});
}

void Worker::welcome_known(pool::SharedPool* shared) {
  for (int to = 0; to < fleet_.workers; ++to) {
    if (to == index_) continue;
    fleet_.mailboxes.send(index_, to,
                          {static_cast<uint32_t>(Mail::kWelcome), 0, nullptr, reinterpret_cast<uint64_t>(shared)});
  }
}

namespace {
class CancelTask final : public Task {
 public:
  CancelTask(uint32_t pid, std::string key) : pid_(pid), key_(std::move(key)) {}
  void run(Context& context) override {
    session::cancel_client(context, pid_, key_);
    delete this;
  }

 private:
  uint32_t pid_;
  std::string key_;
};
}  // namespace

namespace {
class RoomTask final : public Task {
 public:
  RoomTask(const session::AddressKey& of, int workers_left) : of_(of), workers_left_(workers_left) {}
  void run(Context& context) override {
    session::room_asked(context, of_, workers_left_);
    delete this;
  }

 private:
  const session::AddressKey of_;
  const int workers_left_;
};
}  // namespace

void Worker::ask_room(int to, const session::AddressKey& of, int workers_left) {
  send_task(fleet_, index_, to, std::make_unique<RoomTask>(of, workers_left));
}

void Fleet::post_from_outside(int to, std::unique_ptr<Task> task) {
  const std::lock_guard<std::mutex> guard(outside_mutex);
  net::Engine* engine = engines[static_cast<size_t>(to)];
  if (!engine) return;  // the process ends, and that worker has gone
  outside.emplace_back(to, std::move(task));
  any_outside.store(true, std::memory_order_release);
  engine->wake();
}

std::vector<std::unique_ptr<Task>> Fleet::take_from_outside(int to) {
  std::vector<std::unique_ptr<Task>> mine;
  if (!any_outside.load(std::memory_order_acquire)) return mine;
  const std::lock_guard<std::mutex> guard(outside_mutex);
  for (auto& [whose, task] : outside) {
    if (whose == to && task) mine.push_back(std::move(task));
  }
  std::erase_if(outside, [](const auto& entry) { return !entry.second; });
  any_outside.store(!outside.empty(), std::memory_order_release);
  return mine;
}

void send_task(Fleet& fleet, int from, int to, std::unique_ptr<Task> task) {
  if (from == to) return fleet.post_from_outside(to, std::move(task));  // to itself: after this turn
  fleet.mailboxes.send(from, to, {static_cast<uint32_t>(Mail::kTask), 0, task.release(), 0});
}

void Worker::route_cancel(uint32_t pid, std::string key) {
  const int owner = session::worker_of_pid(pid);
  if (owner < 0 || owner >= fleet_.workers) return;
  if (owner == index_) {
    session::cancel_client(context_, pid, key);
    return;
  }
  send_task(fleet_, index_, owner, std::make_unique<CancelTask>(pid, std::move(key)));
}

namespace {
class ResolvedTask final : public Task {
 public:
  ResolvedTask(session::Fleet::Resolved done, Result<std::vector<net::Address>> found)
      : done_(std::move(done)), found_(std::move(found)) {}
  void run(Context&) override {
    done_(std::move(found_));
    delete this;
  }

 private:
  session::Fleet::Resolved done_;
  Result<std::vector<net::Address>> found_;
};
}  // namespace

void Worker::resolve(const std::string& host, int port, Resolved done) {
  if (auto literal = net::Resolver::literal(host, port)) return done(std::move(*literal));
  // The helper thread has no mailbox of its own: the answer goes through a locked list: lookups are rare.
  fleet_.resolver.resolve(
      host, port, [&fleet = fleet_, index = index_, done = std::move(done)](Result<std::vector<net::Address>> found) {
        fleet.post_from_outside(index, std::make_unique<ResolvedTask>(done, std::move(found)));
      });
}

namespace {
class WorkTask final : public Task {
 public:
  WorkTask(session::Fleet::WorkDone done, std::unique_ptr<auth::Work> work)
      : done_(std::move(done)), work_(std::move(work)) {}
  void run(Context&) override {
    done_(*work_);
    delete this;
  }

 private:
  session::Fleet::WorkDone done_;
  std::unique_ptr<auth::Work> work_;
};
}  // namespace

bool Worker::aside(std::unique_ptr<auth::Work> work, WorkDone done) {
  return fleet_.helpers.take(
      std::move(work), [&fleet = fleet_, index = index_, done = std::move(done)](std::unique_ptr<auth::Work> ready) {
        fleet.post_from_outside(index, std::make_unique<WorkTask>(done, std::move(ready)));
      });
}

namespace {
class SecretTask final : public Task {
 public:
  SecretTask(session::SecretFinder::Done done, const session::SecretAnswer& answer)
      : done_(std::move(done)), answer_(answer) {}
  void run(Context&) override {
    done_(answer_);
    delete this;
  }

 private:
  session::SecretFinder::Done done_;
  session::SecretAnswer answer_;
};
}  // namespace

void Worker::find_secret(session::SecretQuestion question, session::SecretFinder::Done done) {
  fleet_.secrets->find(std::move(question), [&fleet = fleet_, index = index_,
                                             done = std::move(done)](const session::SecretAnswer& answer) {
    fleet.post_from_outside(index, std::make_unique<SecretTask>(done, answer));
  });
}

void Worker::secret_refuted(const session::SecretQuestion& question, uint64_t stamp) {
  fleet_.secrets->refuted(question, stamp);
}

// ---- new clients

void Worker::on_accepted(int fd, int listener, const net::Address& peer) {
  // To the worker with the fewest clients; this one if it is among them.
  int best = index_;
  auto& counts = context_.globals.worker_clients;
  for (int worker = 0; worker < fleet_.workers; ++worker) {
    if (counts[static_cast<size_t>(worker)].load(std::memory_order_relaxed) <
        counts[static_cast<size_t>(best)].load(std::memory_order_relaxed)) {
      best = worker;
    }
  }
  counts[static_cast<size_t>(best)].fetch_add(1, std::memory_order_relaxed);
  if (best == index_) return take_client(fd, static_cast<size_t>(listener), peer);
  fleet_.mailboxes.send(
      index_, best,
      {static_cast<uint32_t>(Mail::kAccepted), static_cast<uint32_t>(fd), nullptr, static_cast<uint64_t>(listener)});
}

void Worker::take_client(int fd, size_t listener, const net::Address& peer) {
  const Listener& from = fleet_.listeners[listener];
  if (!from.unix_socket) net::tune_tcp_socket(fd, session::tcp_options(context_.options()));
  session::accept_client(context_, fd, from.mode, from.unix_socket,
                         from.unix_socket ? net::ShortAddress{} : net::shorten(peer));
}

void Worker::on_accept_failed(int error, int) {
  // Whoever only holds a descriptor without logging in gives it to those who wait.
  for (int i = 0; i < kRoomForAccept && session::make_room(context_, nullptr, 0); ++i) continue;
  if (context_.now() < accept_told_ + 10 * kSecond) return;  // it goes on every kAcceptPause: the log need not
  accept_told_ = context_.now();
  LOG_ERROR("accept failed: {}: new clients wait (raise the limit of open files, or lower max_client_conn)",
            strerror(error));
}

}  // namespace berth::worker
