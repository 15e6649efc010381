// A model of what stands around the pools: clients and servers without sockets, workers without threads, mail between
// them. It carries decisions out as the sessions do and, after every step, compares the pools with what it knows by
// itself. Steps are listed by enabled() and done by step(), so that a test can try all orders or throw dice.
#pragma once

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "pool/pool.h"

namespace berth::pool {

struct PoolWorld {
  struct Shape {
    std::vector<bool> session;  // one client each: in session mode?
    int workers = 1;            // client n is on worker n % workers
    Limits limits;
    int servers_most = 4;  // ever alive at once; only a bound for the lists of steps
    // Which steps there are beside wanting and being done.
    bool failures = true;  // of connecting
    bool deaths = true;    // of servers
    bool leaving = true;   // clients that go in any state
    bool time = false;
    bool commands = false;  // PAUSE, RESUME, RECONNECT
  };
  enum class Do { kWant, kDone, kLeave, kReady, kFail, kFull, kClean, kDie, kGone, kMail, kTime, kPause, kReconnect };
  struct Step {
    Do what;
    size_t which;
  };

  struct Server;
  struct Client : ClientNode {
    size_t id = 0;
    bool in = true;
    uint64_t turn = 0;  // the order of waiting, counted by the world
    Server* server = nullptr;
  };
  struct Server : ServerNode {
    size_t worker = 0;
    bool alive = false;
    bool in_mail = false;
    Client* client = nullptr;
  };
  struct Mail {
    size_t to;
    Server* server;  // null: an ask
  };

  explicit PoolWorld(const Shape& shape) : shape(shape), clients(shape.session.size()) {
    shared = registry.pool("db", "user");
    for (int worker = 0; worker < shape.workers; ++worker) {
      pools.push_back(std::make_unique<Pool>(shared, worker, shape.workers, 1));
      pools.back()->set_limits(shape.limits);
    }
    servers.resize(static_cast<size_t>(shape.servers_most));
    for (size_t id = 0; id < clients.size(); ++id) {
      clients[id].id = id;
      clients[id].session_mode = shape.session[id];
      pool_of(clients[id]).add_client(&clients[id], ClientState::kIdle);
    }
  }

  Pool& pool_of(const Client& client) { return *pools[client.id % pools.size()]; }
  Pool& pool_of(const Server& server) { return *pools[server.worker]; }

  std::vector<Step> enabled() const {
    std::vector<Step> out;
    for (const Client& client : clients) {
      const size_t id = client.id;
      if (!client.in || client.state == ClientState::kIdle) out.push_back({Do::kWant, id});
      if (client.in && client.state == ClientState::kLinked) out.push_back({Do::kDone, id});
      if (shape.leaving && client.in) out.push_back({Do::kLeave, id});
    }
    for (size_t id = 0; id < servers.size(); ++id) {
      const Server& server = servers[id];
      if (!server.alive || server.in_mail) continue;
      if (server.state == ServerState::kLogin) {
        out.push_back({Do::kReady, id});
        if (shape.failures) out.push_back({Do::kFail, id});
        if (shape.failures) out.push_back({Do::kFull, id});
      } else if (server.state == ServerState::kCleaning || server.state == ServerState::kChecking) {
        out.push_back({Do::kClean, id});
      } else if (server.state == ServerState::kClosing) {
        out.push_back({Do::kGone, id});
      }
      if (shape.deaths && server.state != ServerState::kClosing && server.state != ServerState::kLogin) {
        out.push_back({Do::kDie, id});
      }
    }
    if (!mails.empty()) out.push_back({Do::kMail, 0});
    if (shape.time) {
      out.push_back({Do::kTime, 0});
      out.push_back({Do::kTime, 1});
    }
    if (shape.commands) {
      out.push_back({Do::kPause, 0});
      out.push_back({Do::kReconnect, 0});
    }
    return out;
  }

  void step(const Step& step) {
    now += 2 * kMillisecond;  // longer than a worker waits before it asks again
    switch (step.what) {
      case Do::kWant: want(clients[step.which]); break;
      case Do::kDone: done(clients[step.which]); break;
      case Do::kLeave: leave(clients[step.which]); break;
      case Do::kReady:
        pool_of(servers[step.which]).opened(now);
        free_again(servers[step.which]);
        break;
      case Do::kFail:
      case Do::kFull:
        if (step.what == Do::kFail) pool_of(servers[step.which]).open_failed(now);
        if (step.what == Do::kFull) pool_of(servers[step.which]).overloaded(now);
        bury(servers[step.which]);
        break;
      case Do::kClean: free_again(servers[step.which]); break;
      case Do::kDie: die(servers[step.which]); break;
      case Do::kGone: bury(servers[step.which]); break;
      case Do::kMail: deliver(); break;
      case Do::kTime:
        now += step.which == 0 ? 20 * kMillisecond : 40 * kSecond;
        tick_all();
        break;
      case Do::kPause:
        paused = !paused;
        for (const auto& pool : pools) pool->set_paused(paused);
        tick_all();
        break;
      case Do::kReconnect: pools[0]->reconnect(); break;
    }
    check();
  }

  // As time goes on and mail arrives, nobody is forgotten: who waits has a server on its way, or one at work that
  // will be free, and not one that rests somewhere.
  void settle() {
    if (paused) step({Do::kPause, 0});
    for (int turn = 0; turn < 4; ++turn) {
      now += kOverloadMost + kSecond;
      for (int round = 0; round < 6; ++round) {
        tick_all();
        while (!mails.empty()) deliver();
      }
    }
    check();
    size_t at_work = 0, idle = 0;
    for (const Server& server : servers) {
      if (!server.alive) continue;
      (server.state == ServerState::kIdle ? idle : at_work) += 1;
    }
    for (const Client& client : clients) {
      if (!client.in || client.state != ClientState::kWaiting || (client.session_mode && !session_may_take()))
        continue;
      if (idle > 0 && !at_work) complain("client ", client.id, " waits while a server rests");
      if (idle + at_work == 0) complain("client ", client.id, " waits and nothing is done");
      if (idle > 0 && shape.limits.check_delay > 1000 * kSecond) complain("client ", client.id, " is passed over");
    }
  }

  // ---- steps

  void want(Client& client) {
    if (!client.in) {
      client.in = true;
      pool_of(client).add_client(&client, ClientState::kIdle);
    }
    client.turn = ++turns;
    if (ServerNode* idle = pool_of(client).take_idle(&client, now)) {
      for (const Client& other : clients) {
        if (&pool_of(other) == &pool_of(client) && waits(other)) complain("overtaken: client ", other.id);
      }
      return link(client, *static_cast<Server*>(idle));
    }
    pool_of(client).move(&client, ClientState::kWaiting, now);
    run(pool_of(client));
  }

  void done(Client& client) {
    Server& server = *client.server;
    unlink(client);
    pool_of(client).move(&client, ClientState::kIdle, now);
    if (pool_of(server).stale(&server)) {
      pool_of(server).move(&server, ServerState::kClosing, now);
      return run(pool_of(client));
    }
    if (!client.session_mode) return free_again(server);
    pool_of(server).move(&server, ServerState::kCleaning, now);
    run(pool_of(server));
  }

  void leave(Client& client) {
    Server* server = client.server;
    if (server) {
      unlink(client);
      pool_of(client).move(&client, ClientState::kIdle, now);
      pool_of(*server).move(server, ServerState::kCleaning, now);
    }
    pool_of(client).remove_client(&client);
    client.in = false;
    run(pool_of(client));
  }

  void free_again(Server& server) {
    pool_of(server).checkin(&server, now);
    run(pool_of(server));
  }

  void die(Server& server) {
    if (Client* client = server.client) {
      unlink(*client);
      pool_of(*client).move(client, ClientState::kIdle, now);
      pool_of(*client).remove_client(client);
      client->in = false;
    }
    pool_of(server).move(&server, ServerState::kClosing, now);
    run(pool_of(server));
  }

  void bury(Server& server) {
    pool_of(server).remove_server(&server);
    server.alive = false;
    run(pool_of(server));
  }

  void deliver() {
    const Mail mail = mails.front();
    mails.erase(mails.begin());
    if (mail.server) {
      Server& server = *mail.server;
      shared->slices[mail.to].inbound.fetch_sub(1);
      server.in_mail = false;
      server.worker = mail.to;
      pools[mail.to]->add_server(&server, ServerState::kTravelling, now);
      pools[mail.to]->checkin(&server, now);
    }
    run(*pools[mail.to]);
  }

  void tick_all() {
    for (const auto& pool : pools) run(*pool, true);
  }

  // ---- decisions

  void run(Pool& pool, bool ticking = false) {
    for (int most = 0;; ++most) {
      const Decision decision = ticking ? pool.tick(now) : pool.next(now);
      if (decision.kind == Decision::Kind::kNone) return;
      carry_out(pool, decision);
      if (most > 100) return complain("decisions without an end");
    }
  }

  void carry_out(Pool& pool, const Decision& decision) {
    auto* server = static_cast<Server*>(decision.server);
    if (server && (server->state != ServerState::kIdle || &pool_of(*server) != &pool))
      complain("not its own idle server");
    switch (decision.kind) {
      case Decision::Kind::kNone: return;
      case Decision::Kind::kAssign: {
        auto& client = *static_cast<Client*>(decision.client);
        for (const Client& other : clients) {
          if (&pool_of(other) == &pool && waits(other) && other.turn < client.turn)
            complain("overtaken: client ", other.id);
        }
        if (!waits(client)) complain("not entitled: client ", client.id);
        return link(client, *server);
      }
      case Decision::Kind::kCheck: return pool.move(server, ServerState::kChecking, now);
      case Decision::Kind::kOpen: return open(pool);
      case Decision::Kind::kLend:
        pool.move(server, ServerState::kTravelling, now);
        pool.depart(server);
        server->in_mail = true;
        return mails.push_back({static_cast<size_t>(decision.to), server});
      case Decision::Kind::kAsk: return mails.push_back({static_cast<size_t>(decision.to), nullptr});
      case Decision::Kind::kClose:
        if (decision.why == CloseReason::kNone) complain("closed without a reason");
        return pool.move(server, ServerState::kClosing, now);
    }
  }

  void open(Pool& pool) {
    if (shared->servers.used > shape.limits.pool_size) {
      bool long_waiting = false;
      for (const Client& client : clients) {
        long_waiting =
            long_waiting || (waits(client) && now - client.wait_since >= shape.limits.reserve_pool_timeout);
      }
      if (!long_waiting) complain("the reserve is opened and nobody has waited long");
      if (!pool.opening_reserve()) complain("a server beyond pool_size is not of the reserve");
    }
    for (Server& server : servers) {
      if (server.alive) continue;
      server.alive = true;
      server.worker = static_cast<size_t>(&pool == pools[0].get() ? 0 : 1);
      server.generation = pool.generation();
      server.in_reserve = pool.opening_reserve();
      pool.add_server(&server, ServerState::kConnecting, now);
      return pool.move(&server, ServerState::kLogin, now);
    }
    complain("more servers than there may be");
  }

  void link(Client& client, Server& server) {
    if (paused) complain("assigned during PAUSE");
    if (pool_of(server).stale(&server)) complain("a stale server was assigned");
    pool_of(client).link(&client, &server, now);
    client.server = &server;
    server.client = &client;
  }

  static void unlink(Client& client) {
    client.server->client = nullptr;
    client.server = nullptr;
  }

  // ---- what must hold

  bool session_may_take() const {
    if (shape.limits.transaction_reserve <= 0) return true;
    int64_t held = 0;
    for (const Server& server : servers) held += server.alive && server.client && server.client->session_mode;
    return held < std::max<int64_t>(1, shape.limits.pool_size - shape.limits.transaction_reserve);
  }
  bool waits(const Client& client) const {
    return client.in && client.state == ClientState::kWaiting && (!client.session_mode || session_may_take());
  }

  void check() {
    int64_t alive = 0, session_held = 0;
    for (const Server& server : servers) {
      alive += server.alive;
      session_held += server.alive && server.client && server.client->session_mode;
      if (server.alive && !server.in_mail) check_on_one_list(server);
      if (server.client && server.state != ServerState::kLinked) complain("a linked server in another state");
    }
    for (const Client& client : clients) check_on_one_list(client);
    for (const Gate* gate : {&shared->servers, &shared->of_database->servers, &shared->of_user->servers}) {
      if (gate->used != alive) complain("a gate counts ", gate->used.load(), " of ", alive);
      if (gate->limit > 0 && gate->used > gate->limit + shape.limits.reserve_pool_size) complain("over a limit");
    }
    if (shared->session_held != session_held) complain("session clients hold ", session_held);
    for (const auto& pool : pools) check_pool(*pool);
    check_between_workers();
  }

  // Nobody waits while a server rests at another worker and nothing is on its way: not even until the next tick.
  void check_between_workers() {
    if (paused || !mails.empty()) return;
    size_t idle = 0;
    for (const auto& pool : pools) idle += pool->servers(ServerState::kIdle).size();
    for (size_t worker = 0; worker < pools.size() && idle > 0; ++worker) {
      size_t waiting = 0, coming = 0;
      for (const Client& client : clients) waiting += client.id % pools.size() == worker && waits(client);
      for (const ServerState state : {ServerState::kLogin, ServerState::kChecking}) {
        coming += pools[worker]->servers(state).size();
      }
      if (waiting > coming) complain("worker ", worker, " waits while a server rests elsewhere");
    }
  }

  void check_pool(const Pool& pool) {
    const ClientList* queues[] = {&pool.clients(ClientState::kWaiting), &pool.session_waiting()};
    for (const ClientList* queue : queues) {
      for (const ClientNode* node = queue->front(); node && queue->next(node); node = queue->next(node)) {
        const auto* client = static_cast<const Client*>(node);
        if (client->turn > static_cast<const Client*>(queue->next(node))->turn) complain("waiters are not in order");
      }
    }
    if (paused || pool.servers(ServerState::kIdle).empty()) return;
    for (const Client& client : clients) {
      if (pools[client.id % pools.size()].get() == &pool && waits(client))
        complain("a server idles, ", client.id, " waits");
    }
  }

  void check_on_one_list(const Server& server) {
    int found = 0;
    for (const auto& pool : pools) {
      for (int state = 0; state < kServerStates; ++state) {
        const ServerList& list = pool->servers(static_cast<ServerState>(state));
        for (const ServerNode* node = list.front(); node; node = list.next(node)) {
          if (node != &server) continue;
          ++found;
          if (static_cast<int>(server.state) != state || &pool_of(server) != pool.get()) complain("on a wrong list");
        }
      }
    }
    if (found != 1) complain("a server on ", found, " lists");
  }

  void check_on_one_list(const Client& client) {
    int found = 0;
    for (const auto& pool : pools) {
      for (int state = 0; state <= kClientStates; ++state) {
        const ClientList& list =
            state < kClientStates ? pool->clients(static_cast<ClientState>(state)) : pool->session_waiting();
        const ClientState means = state < kClientStates ? static_cast<ClientState>(state) : ClientState::kWaiting;
        for (const ClientNode* node = list.front(); node; node = list.next(node)) {
          if (node != &client) continue;
          ++found;
          if (client.state != means || &pool_of(client) != pool.get())
            complain("on a wrong list: client ", client.id);
        }
      }
    }
    if (found != (client.in ? 1 : 0)) complain("client ", client.id, " on ", found, " lists");
  }

  template <typename... Parts>
  void complain(const Parts&... parts) {
    if (!complaint.empty()) return;  // the first one is the cause
    std::ostringstream text;
    (text << ... << parts);
    complaint = text.str();
  }

  Shape shape;
  SharedRegistry registry;
  SharedPool* shared = nullptr;
  std::vector<std::unique_ptr<Pool>> pools;
  std::vector<Client> clients;
  std::vector<Server> servers;
  std::vector<Mail> mails;
  Micros now = 1000 * kSecond;
  uint64_t turns = 0;
  bool paused = false;
  std::string complaint;  // empty: all is well
};

// What a run did, to be read by people: "want 0, ready 1, ...".
inline std::string text_of(const std::vector<PoolWorld::Step>& steps) {
  static constexpr const char* kNames[] = {"want", "done", "leave", "ready", "fail",  "full",     "clean",
                                           "die",  "gone", "mail",  "time",  "pause", "reconnect"};
  std::string out;
  for (const PoolWorld::Step& step : steps) {
    out += std::string(kNames[static_cast<int>(step.what)]) + " " + std::to_string(step.which) + ", ";
  }
  return out;
}

}  // namespace berth::pool
