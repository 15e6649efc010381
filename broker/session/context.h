// What sessions stand on: the process's shared state (Globals), one worker's state (Context), one pool on one worker
// (Slice), and the interfaces through which a session reaches what lies to the right of its layer.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "auth/exchange.h"
#include "auth/work.h"
#include "base/log_budget.h"
#include "base/random.h"
#include "base/result.h"
#include "config/config.h"
#include "net/address.h"
#include "net/engine.h"
#include "net/resolver.h"
#include "net/socket_options.h"
#include "pool/pool.h"
#include "pool/statements.h"
#include "session/door.h"
#include "session/learned.h"
#include "session/link_board.h"
#include "session/outbox.h"
#include "session/secret_finder.h"
#include "session/throttle.h"
#include "session/tls_contexts.h"
#include "stats/counters.h"
#include "stats/disconnects.h"
#include "stats/errors.h"
#include "stats/histogram.h"

namespace berth::session {

using stats::ClientEnd;
using stats::ServerEnd;

class Client;
class Server;
class CancelConnection;
struct Context;

// The fleet of workers, as a session sees it. Implemented in worker/.
class Fleet {
 public:
  // Gives a detached server to another worker, which calls arrive() with the same arguments.
  virtual void send_server(int to, Server* server, int descriptor, pool::SharedPool* shared) = 0;
  // Asks a worker to lend an idle server of this pool: it calls lend_asked() there.
  virtual void ask_server(int to, pool::SharedPool* shared) = 0;
  // Asks a worker to disconnect one of its clients that have not logged in, of this address if it counts: it calls
  // room_asked() there.
  virtual void ask_room(int to, const AddressKey& of, int workers_left) = 0;
  // Tells the others that a pool's greeting is known now.
  virtual void welcome_known(pool::SharedPool* shared) = 0;
  // Finds the client of a cancel request, on whichever worker it lives.
  virtual void route_cancel(uint32_t pid, std::string key) = 0;
  // Address lookup for a server's host; the callback comes later, on this worker.
  using Resolved = std::function<void(Result<std::vector<net::Address>>)>;
  virtual void resolve(const std::string& host, int port, Resolved done) = 0;
  virtual std::vector<net::Resolver::Known> known_names() = 0;  // what it remembers, for the console
  // What a worker must not wait for: it is done on a helper thread, then `done` comes on this worker, never inside
  // this call. False: too much waits already, and nothing will come.
  using WorkDone = std::function<void(auth::Work&)>;
  virtual bool aside(std::unique_ptr<auth::Work> work, WorkDone done) = 0;
  virtual std::array<auth::LaneLoad, auth::kLanes>
  lane_loads() = 0;  // how busy the helper threads are, for the console
  // What auth_query knows of a user (secret_finder.h); `done` comes later, on this worker.
  virtual void find_secret(SecretQuestion question, SecretFinder::Done done) = 0;
  virtual void secret_refuted(const SecretQuestion& question, uint64_t stamp) = 0;

 protected:
  ~Fleet() = default;
};

// The console behind the database name `pgbouncer`. Implemented in admin/.
class Console {
 public:
  virtual void on_login(Client* client) = 0;
  // Whole messages, as many as there are.
  virtual net::Taken on_bytes(Client* client, std::string_view bytes) = 0;
  virtual void on_closed(Client* client) = 0;
  // A cancel request with a console client's key: ends a waiting PAUSE.
  virtual void on_cancel(Client* client) = 0;

 protected:
  ~Console() = default;
};

enum class Shutdown : int { kNo, kWaitForServers, kWaitForClients, kNow };

// One per process. Any thread may read the atomics; the maps have their lock and are touched at logins and by the
// console.
struct Globals {
  pool::SharedRegistry registry;
  pool::Gate clients;  // max_client_conn
  Door door;
  Throttle throttle;
  std::atomic<uint64_t> next_serial{1};  // of clients and servers: `id` in SHOW
  std::atomic<Shutdown> shutdown{Shutdown::kNo};
  std::atomic<bool> paused{false};      // PAUSE of all
  std::atomic<Micros> paused_until{0};  // as SharedDatabase's
  std::array<std::atomic<int>, pool::kWorkersMax>
      worker_clients{};  // whoever accepts adds, the owner takes; accept reads all
  Identity identity;     // written before the workers start
  LinkBoard links;
  TlsContexts tls;
  SecretBoard secrets;
  LearnedUsers learned;
};

// The greeting of clients that ask for the same: what they asked for and what the server has give their settings and
// the ParameterStatus messages, once for many logins.
struct Greeting {
  pool::Params asked, welcome;
  pool::Params params;
  std::string statuses;
};

// One pool on one worker.
struct Slice {
  Slice(pool::SharedPool* shared, int worker, int workers, uint64_t seed) : pool(shared, worker, workers, seed) {}
  pool::Pool pool;
  stats::Counters counters;
  // Large beside the rest of a slice, and most slices of many databases have few queries and no errors.
  std::unique_ptr<stats::Latency> latency;  // null: nothing has been recorded yet
  std::unique_ptr<stats::Errors> errors;    // likewise
  stats::Latency& recorded() {
    if (!latency) [[unlikely]]
      latency = std::make_unique<stats::Latency>();
    return *latency;
  }
  void count_error(stats::ErrorSource source, std::string_view sqlstate) {
    if (!errors) errors = std::make_unique<stats::Errors>();
    errors->count(source, sqlstate);
  }
  std::string database;     // the name that clients use
  std::string user;         // of the servers
  std::string replication;  // value of the startup parameter, of a pool of replication connections; else empty
  const config::DatabaseEntry* entry = nullptr;  // null once a reload has removed it: then no new servers
  config::PoolMode mode = config::PoolMode::kSession;
  size_t next_host = 0;                // of the list, as an index that only grows
  std::vector<size_t> next_addresses;  // likewise, of each host
  std::string last_error;              // of the last failed connect, for those who wait; empty: none
  std::string last_error_sqlstate;
  bool last_error_permanent = false;
  bool server_insists_on_tls = false;  // server_tls_sslmode allow: it has refused a login in clear words
  std::array<Greeting, 4> greetings;   // applications log in again and again with the same startup packet
  size_t next_greeting = 0;
  bool running = false;  // run_slice is at work
};

// One per worker; only its thread touches it.
struct Context {
  Context(net::Engine& engine_, Globals& globals_, Fleet& fleet_, int worker_, int workers_, uint64_t seed)
      : engine(engine_),
        globals(globals_),
        fleet(fleet_),
        worker(worker_),
        workers(workers_),
        random(seed),
        tls_servers_seen(globals_.tls.servers_changed.load()) {}

  net::Engine& engine;
  Globals& globals;
  Fleet& fleet;
  Console* console = nullptr;
  bool (*console_peer)(int descriptor) = nullptr;  // is the peer of a Unix socket the broker's own user?
  const int worker;
  const int workers;
  Random random;
  std::shared_ptr<const config::Config> config;
  auth::MockProfile found_profile{auth::SecretKind::kScram,
                                  0};  // what users of auth_query look like: it said so last
  auth::MockProfile mock_profile;      // what unknown users look like: computed from auth_file at each reload
  pool::StatementWindow statements;
  Outbox to_client, to_server;  // one turn's gathering; empty between calls
  std::map<pool::PoolKey, std::unique_ptr<Slice>> slices;
  pool::ClientList startup_clients, console_clients, closing_clients;
  std::vector<Client*> client_by_index;  // pid -> client: see client_pid()
  std::vector<uint32_t> free_indexes;
  std::vector<CancelConnection*> cancels;
  std::unordered_map<uint64_t, Server*> asking;  // by serial: those that wait for an answer from another thread
  stats::Disconnects disconnects;
  stats::Errors errors;       // told to clients that had no pool yet, or whose pool has been forgotten
  stats::Counters forgotten;  // of pools that have been forgotten: sums over all pools do not fall

  uint32_t tls_servers_seen;  // of TlsContexts::servers_changed: older servers have been given up
  LogBudget refusals;         // lines of the log about those who have not logged in
  Micros refusals_told_at = 0;
  bool stopping = false;  // no slice opens or fills any more

  Micros now() const { return engine.now(); }
  const config::Options& options() const { return config->options; }
};

// The slice of (database, user), made at need.
Slice* find_slice(Context& context, std::string_view database, std::string_view user, std::string_view replication);
// Frees the slices of databases from the entry `*`, or of none any more, that no worker has used for
// autodb_idle_timeout; the last worker frees the pool itself.
void forget_slices(Context& context);
// Reads limits and mode again: after a reload.
void configure_slice(Context& context, Slice& slice);

// Carries out a slice's decisions until there are none; tick_slice also those that time brings.
void run_slice(Context& context, Slice& slice);
void tick_slice(Context& context, Slice& slice);
// What the last connect said cannot heal: whoever waits, and has no open server to wait for, is told. So many
// of the servers that count as open are not.
void tell_waiting(Context& context, Slice& slice, int closing);

net::TcpOptions tcp_options(const config::Options& options);

// The client of a login that was parked, for whoever brings what it waits for (Client::park_login); null: it has left
// or was closed meanwhile.
Client* find_parked(Context& context, uint32_t pid, uint64_t serial);
// Likewise a server that asked for an address or a key; it asks no more.
Server* take_asking(Context& context, uint64_t serial);
// A new client connection; `descriptor` becomes the engine's. `fixed_mode` is that of the port, if the port has one,
// `peer` the other end of a TCP connection.
Client* accept_client(Context& context, int descriptor, std::optional<config::PoolMode> fixed_mode, bool unix_socket,
                      const net::ShortAddress& peer = {});
// Of this worker's clients that have not logged in, and came at least `age` ago, the one that has kept us waiting
// longest is disconnected; with `of`, the one among those from there. False: there is none.
bool make_room(Context& context, const AddressKey* of, Micros age);
// Another worker needs room. So many workers are asked one after the other until one of them has made it.
void room_asked(Context& context, const AddressKey& of, int workers_left);
// A server came from another worker.
void arrive(Context& context, Server* server, int descriptor, pool::SharedPool* shared);
// Another worker asks for a server of this pool.
void lend_asked(Context& context, pool::SharedPool* shared);
// Cancels what the client with this key does, if this worker has it. False: not here, or the wrong key.
bool cancel_client(Context& context, uint32_t pid, std::string_view key);
// Greets clients that waited for a pool's first server.
void welcome_waiting(Context& context, pool::SharedPool* shared);

// Timeouts, lifetimes, filling of pools: every kJanitorEvery.
void janitor(Context& context);
// Puts a new configuration in place (also the first one).
void reconfigure(Context& context, std::shared_ptr<const config::Config> next);

// What a graceful shutdown waits for has come: no server is in use (SIGINT), all clients have left (SIGTERM).
bool nothing_left(const Context& context);
// Tells and closes every session; run the engine until anything_open() is false.
void close_everything(Context& context);
bool anything_open(const Context& context);

}  // namespace berth::session
