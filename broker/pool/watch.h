// A seam for the simulation, which builds the sources that include this once more with BERTH_WATCHED and counts what
// happens in which state (tests/sim/coverage.cc). In every other build these are empty.
#pragma once

#include <string_view>

#include "pool/node.h"

namespace berth::pool {

#ifdef BERTH_WATCHED
void watch_step(ClientState from, ClientState to);
void watch_step(ServerState from, ServerState to);
// Something other than a call of the engine has come to a client or server in this state.
void watch_event(ClientState state, std::string_view what);
void watch_event(ServerState state, std::string_view what);
#else
static inline void watch_step(ClientState, ClientState) {}
static inline void watch_step(ServerState, ServerState) {}
static inline void watch_event(ClientState, std::string_view) {}
static inline void watch_event(ServerState, std::string_view) {}
#endif

}  // namespace berth::pool
