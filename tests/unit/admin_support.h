// A console on a bench: the production console, session and login code of a few workers on one thread, an engine that
// keeps what is written and hands over what the test says, and a dispatcher whose visits happen when the test wants.
#pragma once

#include <fmt/format.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "admin/console.h"
#include "config/show.h"
#include "session/client.h"
#include "session/context.h"
#include "session/server.h"
#include "wire/encode.h"
#include "worker/task.h"

namespace berth::net {
// The test engine's record of a connection.
struct Conn {
  Handler* handler = nullptr;
  std::string written, unread;
  uint8_t paused = 0;
  bool closed = false;
};
}  // namespace berth::net

namespace berth::admin {

class TestEngine final : public net::Engine {
 public:
  void listen(int, int, net::AcceptHandler*) override {}
  void unlisten(int) override {}
  net::Conn* attach(int, net::Handler* handler) override {
    conns_.push_back(std::make_unique<net::Conn>());
    conns_.back()->handler = handler;
    return conns_.back().get();
  }
  net::Conn* connect(const net::Address&, net::Handler* handler) override { return attach(-1, handler); }
  size_t write(net::Conn* conn, std::span<const iovec> spans) override {
    for (const iovec& span : spans) conn->written.append(static_cast<const char*>(span.iov_base), span.iov_len);
    return unsent_now;
  }
  size_t unsent(const net::Conn*) const override { return unsent_now; }
  void pause(net::Conn* conn, net::PauseReason reason) override { conn->paused |= reason; }
  void resume(net::Conn* conn, net::PauseReason reason) override { conn->paused &= static_cast<uint8_t>(~reason); }
  uint8_t paused(const net::Conn* conn) const override { return conn->paused; }
  void close(net::Conn* conn) override { conn->closed = true; }
  void detach(net::Conn*) override { ASSERT(false); }
  int descriptor(const net::Conn*) const override { return -1; }
  void run_once(Micros) override {}
  void wake() override {}
  Micros now() const override { return time; }

  // Hands over bytes as an engine does: what is not consumed comes again, together with what follows.
  void deliver(net::Conn* conn, std::string_view bytes) {
    conn->unread += bytes;
    while (!conn->unread.empty() && !conn->paused && !conn->closed) {
      const net::Taken taken = conn->handler->on_bytes(conn->unread);
      conn->unread.erase(0, taken.consumed);
      if (taken.consumed == 0) break;
    }
  }
  // The records of closed connections go, and their handlers free themselves.
  void reap() {
    for (size_t i = 0; i < conns_.size(); ++i) {
      if (!conns_[i] || !conns_[i]->closed) continue;
      conns_[i]->handler->on_closed();
      conns_[i].reset();
    }
  }

  Micros time = 1000 * kSecond;
  size_t unsent_now = 0;

 private:
  std::vector<std::unique_ptr<net::Conn>> conns_;
};

class TestFleet final : public session::Fleet {
 public:
  void send_server(int, session::Server*, int, pool::SharedPool*) override {}
  void ask_server(int, pool::SharedPool*) override {}
  void ask_room(int, const session::AddressKey&, int) override {}
  void welcome_known(pool::SharedPool*) override {}
  void route_cancel(uint32_t, std::string) override {}
  void resolve(const std::string&, int, Resolved done) override { asked.push_back(std::move(done)); }
  std::vector<net::Resolver::Known> known_names() override { return known; }
  bool aside(std::unique_ptr<auth::Work> work, WorkDone done) override {
    asides.emplace_back(std::move(work), std::move(done));
    return true;
  }
  void run_aside() {
    for (auto& [work, done] : std::exchange(asides, {})) {
      work->run();
      done(*work);
    }
  }
  std::array<auth::LaneLoad, auth::kLanes> lane_loads() override { return loads; }
  void find_secret(session::SecretQuestion, session::SecretFinder::Done) override {}
  void secret_refuted(const session::SecretQuestion&, uint64_t) override {}
  std::vector<net::Resolver::Known> known;
  std::array<auth::LaneLoad, auth::kLanes> loads;
  std::vector<Resolved> asked;
  std::vector<std::pair<std::unique_ptr<auth::Work>, WorkDone>> asides;  // what waits for run_aside()
};

// Visits wait in a queue until run(); with `at_once` they happen inside the call.
class TestDispatcher final : public worker::Dispatcher {
 public:
  void visit_all(int home, std::function<void(Context&)> visit, std::function<void(Context&)> done) override {
    queue_.push_back([this, home, visit, done] {
      for (Context* context : contexts) visit(*context);
      done(*contexts[static_cast<size_t>(home)]);
    });
    if (at_once) run();
  }
  void reload(int home, std::function<void(Context&, std::string)> done) override {
    done(*contexts[static_cast<size_t>(home)], reload_error);
  }
  void request_shutdown(session::Shutdown how) override { shutdown = how; }
  void set_option(int home, std::string key, std::string value,
                  std::function<void(Context&, std::string)> done) override {
    const auto next = config::set_option(*contexts[0]->config, key, value);
    const std::string error = next ? std::string() : next.error().text;
    visit_all(
        home,
        [next](Context& context) {
          if (next) session::reconfigure(context, next.value());
        },
        [done = std::move(done), error](Context& context) { done(context, error); });
  }
  void run() {
    while (!queue_.empty()) {
      const auto work = std::move(queue_.front());
      queue_.pop_front();
      work();
    }
  }

  std::vector<Context*> contexts;
  bool at_once = true;
  std::string reload_error;
  session::Shutdown shutdown = session::Shutdown::kNo;

 private:
  std::deque<std::function<void()>> queue_;
};

// One message of an answer.
struct Answer {
  char tag;
  std::string body;
};

class Bench {
 public:
  explicit Bench(int workers = 2) {
    auto config = std::make_shared<config::Config>();
    config->options.auth_type = config::AuthType::kTrust;
    config->options.admin_users = "boss";
    config->options.stats_users = "reader";
    config->options.log_pooler_errors = config->options.log_connections = config->options.log_disconnections = false;
    for (const char* user : {"boss", "reader", "nobody", "app"}) config->secrets[user] = "";
    config::DatabaseEntry shop;
    shop.name = shop.dbname = "shop";
    config->databases.push_back(shop);
    config->index();
    for (int worker = 0; worker < workers; ++worker) {
      contexts.push_back(std::make_unique<Context>(engine, globals, fleet, worker, workers, 7));
      contexts.back()->config = config;
      dispatcher.contexts.push_back(contexts.back().get());
      consoles.push_back(std::make_unique<ConsoleImpl>(*contexts.back(), dispatcher));
    }
    for (auto& context : contexts) {
      session::find_slice(*context, "shop", "app", "");
    }
  }
  ~Bench() {
    for (auto& context : contexts) {
      while (!context->console_clients.empty())
        static_cast<Client*>(context->console_clients.front())->close(session::ClientEnd::kShutdown);
      while (!context->startup_clients.empty())
        static_cast<Client*>(context->startup_clients.front())->close(session::ClientEnd::kShutdown);
      for (auto& [key, slice] : context->slices) {
        while (auto* node = slice->pool.clients(pool::ClientState::kLoginWait).front())
          static_cast<Client*>(node)->close(session::ClientEnd::kShutdown);
        while (auto* node = slice->pool.servers(pool::ServerState::kConnecting).front()) {
          static_cast<session::Server*>(node)->close(session::ServerEnd::kShutdown);
        }
      }
    }
    engine.reap();
  }

  // A client that has sent its startup packet; to the console it is logged in then (auth_type trust).
  Client* connect(std::string_view user, std::string_view database = "pgbouncer", int worker = 0) {
    Client* client = session::accept_client(*contexts[static_cast<size_t>(worker)], -1, std::nullopt, false);
    std::string packet;
    wire::put_startup(packet, wire::kProtocol30, {{"user", user}, {"database", database}});
    engine.deliver(client->conn, packet);
    return client;
  }
  // Sends a simple query and returns what has been answered so far.
  std::vector<Answer> query(Client* client, std::string_view sql) {
    std::string message;
    wire::put_query(message, sql);
    return send(client, message);
  }
  std::vector<Answer> send(Client* client, std::string_view bytes) {
    net::Conn* conn = client->conn;
    conn->written.clear();
    engine.deliver(conn, bytes);
    return answers(conn);
  }
  // What was written since the last look, as messages; must be whole ones.
  static std::vector<Answer> answers(net::Conn* conn) {
    std::vector<Answer> out;
    std::string_view rest = conn->written;
    while (!rest.empty()) {
      ASSERT(rest.size() >= wire::kHeaderSize);
      const wire::Head head = wire::read_head(rest.data(), UINT32_MAX);
      ASSERT(head.valid && head.size <= rest.size());
      out.push_back({head.tag, std::string(rest.substr(wire::kHeaderSize, head.size - wire::kHeaderSize))});
      rest.remove_prefix(head.size);
    }
    conn->written.clear();
    return out;
  }
  void tick() {
    engine.time += 100 * kMillisecond;
    for (auto& console : consoles) console->on_tick();
  }

  session::Globals globals;
  TestEngine engine;
  TestFleet fleet;
  TestDispatcher dispatcher;
  std::vector<std::unique_ptr<Context>> contexts;
  std::vector<std::unique_ptr<ConsoleImpl>> consoles;
};

// The message types in order, "TDDCZ".
inline std::string tags(const std::vector<Answer>& answers) {
  std::string out;
  for (const Answer& answer : answers) out += answer.tag;
  return out;
}

// One field of the first ErrorResponse or NoticeResponse; empty: there is none.
inline std::string field(const std::vector<Answer>& answers, char code) {
  for (const Answer& answer : answers) {
    if (answer.tag != 'E' && answer.tag != 'N') continue;
    std::string_view rest = answer.body;
    while (!rest.empty() && rest[0] != '\0') {
      const char of = rest[0];
      rest.remove_prefix(1);
      std::string_view value;
      if (!wire::take_cstring(rest, value)) break;
      if (of == code) return std::string(value);
    }
  }
  return {};
}

// The cells of all DataRows, NULL as "(null)".
inline std::vector<std::vector<std::string>> rows(const std::vector<Answer>& answers) {
  std::vector<std::vector<std::string>> out;
  for (const Answer& answer : answers) {
    if (answer.tag != 'D') continue;
    std::vector<std::string> row;
    std::string_view rest = std::string_view(answer.body).substr(2);
    while (!rest.empty()) {
      const uint32_t size = wire::read32(rest.data());
      rest.remove_prefix(4);
      if (size == UINT32_MAX) {
        row.emplace_back("(null)");
        continue;
      }
      row.emplace_back(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace berth::admin
