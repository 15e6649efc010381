// How the console names what the pools know: PgBouncer's words for the states of servers and clients.
#pragma once

#include <string_view>

#include "session/client.h"
#include "session/server.h"

namespace berth::admin {

enum class ServerShown : int { kActive, kIdle, kUsed, kTested, kNew, kBeingCanceled };
inline constexpr int kServerShown = 6;

// `used`: idle for so long that it is checked before it serves again.
ServerShown shown_state(const session::Server& server, Micros now);
std::string_view text_of(ServerShown state);
// What a client or server calls itself; empty: nothing.
std::string_view application_of(const pool::Params& params);
// active, idle or waiting.
std::string_view text_of(const session::Client& client);

// Every server of a slice that is not being closed. `f` must not move one.
template <typename F>
void each_server(const session::Slice& slice, F&& f) {
  using S = pool::ServerState;
  for (S state :
       {S::kLinked, S::kIdle, S::kCleaning, S::kChecking, S::kSetup, S::kLogin, S::kConnecting, S::kTravelling}) {
    const pool::ServerList& list = slice.pool.servers(state);
    for (const pool::ServerNode* node = list.front(); node; node = list.next(node))
      f(static_cast<const session::Server&>(*node));
  }
}

// Every client of a slice.
template <typename F>
void each_client(const session::Slice& slice, F&& f) {
  using C = pool::ClientState;
  const pool::Pool& pool = slice.pool;
  for (const pool::ClientList* list : {&pool.clients(C::kLinked), &pool.clients(C::kIdle), &pool.clients(C::kWaiting),
                                       &pool.session_waiting(), &pool.clients(C::kLoginWait)}) {
    for (const pool::ClientNode* node = list->front(); node; node = list->next(node))
      f(static_cast<const session::Client&>(*node));
  }
}

}  // namespace berth::admin
