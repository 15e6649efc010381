// The pool's view of clients and servers: a state and a hook. One state is one list; only enter() and move()
// change it, and assert that the table allows the step. docs/states.md draws both tables.
#pragma once

#include <cstdint>

#include "base/assert.h"
#include "base/intrusive_list.h"
#include "base/time.h"

namespace berth::pool {

enum class ClientState : uint8_t {
  kStartup,    // connected; the startup packet has not been read
  kAuth,       // the login exchange runs
  kLoginWait,  // proved; waits for a first server to learn what to greet with
  kIdle,       // logged in, without a server
  kWaiting,    // wants a server; stands in the queue
  kLinked,     // has a server
  kConsole,    // talks to the console
  kClosing,    // its connection is being closed
};
inline constexpr int kClientStates = 8;

enum class ServerState : uint8_t {
  kConnecting,  // the socket is being opened
  kLogin,       // startup and authentication run
  kSetup,       // connect_query runs
  kIdle,        // free
  kLinked,      // serves a client
  kCleaning,    // a client has left it in some state; rolled back or reset before it is free
  kChecking,    // was idle for long; proves that it is alive
  kTravelling,  // on its way to another worker
  kClosing,     // its connection is being closed
};
inline constexpr int kServerStates = 9;

// Bit n of row s: may go from s to n.
constexpr bool may_move(ClientState from, ClientState to) {
  using S = ClientState;
  if (to == S::kClosing) return from != S::kClosing;
  switch (from) {
    case S::kStartup: return to == S::kAuth;
    case S::kAuth: return to == S::kLoginWait || to == S::kConsole;
    case S::kLoginWait: return to == S::kIdle;
    case S::kIdle: return to == S::kWaiting || to == S::kLinked;
    case S::kWaiting: return to == S::kLinked || to == S::kIdle;
    case S::kLinked: return to == S::kIdle;
    case S::kConsole:
    case S::kClosing: return false;
  }
  return false;
}

constexpr bool may_move(ServerState from, ServerState to) {
  using S = ServerState;
  if (to == S::kClosing) return from != S::kClosing;
  switch (from) {
    case S::kConnecting: return to == S::kLogin;
    case S::kLogin: return to == S::kIdle || to == S::kSetup;
    case S::kSetup: return to == S::kIdle;
    case S::kIdle: return to == S::kLinked || to == S::kChecking || to == S::kTravelling;
    case S::kLinked: return to == S::kIdle || to == S::kCleaning;
    case S::kCleaning: return to == S::kIdle;
    case S::kChecking: return to == S::kIdle;
    case S::kTravelling: return to == S::kIdle;
    case S::kClosing: return false;
  }
  return false;
}

struct ClientTag;
struct ServerTag;

struct ClientNode : ListHook<ClientTag> {
  ClientState state = ClientState::kStartup;
  bool session_mode = false;  // holds its server until it leaves
  Micros wait_since = 0;      // of kWaiting and kLoginWait

  // The step alone; whoever calls it moves the client from list to list.
  void enter(ClientState to);
};

struct ServerNode : ListHook<ServerTag> {
  ServerState state = ServerState::kConnecting;
  bool held_by_session = false;  // counted in SharedPool::session_held
  bool in_reserve = false;       // opened beyond pool_size
  uint32_t generation = 0;       // of the pool at its opening; RECONNECT raises the pool's
  Micros state_since = 0;
  Micros connected_at = 0;
  Micros expires_at = 0;  // server_lifetime with jitter; 0: never
};

using ClientList = IntrusiveList<ClientNode, ClientTag>;
using ServerList = IntrusiveList<ServerNode, ServerTag>;

}  // namespace berth::pool
