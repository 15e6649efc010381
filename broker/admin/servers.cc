#include "admin/servers.h"

#include "net/address.h"

namespace berth::admin {

ServerShown shown_state(const session::Server& server, Micros now) {
  using S = pool::ServerState;
  switch (server.state) {
    case S::kConnecting:
    case S::kLogin:
    case S::kSetup: return ServerShown::kNew;
    case S::kLinked: return ServerShown::kActive;
    case S::kChecking: return ServerShown::kTested;
    case S::kCleaning: return server.cancels.empty() ? ServerShown::kTested : ServerShown::kBeingCanceled;
    case S::kIdle:
      return now - server.state_since > server.slice->pool.limits().check_delay ? ServerShown::kUsed
                                                                                : ServerShown::kIdle;
    case S::kTravelling:
    case S::kClosing: break;
  }
  return ServerShown::kIdle;
}

std::string_view text_of(ServerShown state) {
  switch (state) {
    case ServerShown::kActive: return "active";
    case ServerShown::kIdle: return "idle";
    case ServerShown::kUsed: return "used";
    case ServerShown::kTested: return "tested";
    case ServerShown::kNew: return "new";
    case ServerShown::kBeingCanceled: return "being_canceled";
  }
  return "";
}

std::string_view application_of(const pool::Params& params) {
  const std::string* name = params ? params->find("application_name") : nullptr;
  return name ? std::string_view(*name) : std::string_view();
}

std::string_view text_of(const session::Client& client) {
  using C = pool::ClientState;
  switch (client.state) {
    case C::kLinked:
    case C::kConsole: return "active";
    case C::kIdle: return "idle";
    case C::kWaiting:
    case C::kLoginWait: return "waiting";
    case C::kStartup:
    case C::kAuth:
    case C::kClosing: break;
  }
  return "login";
}

}  // namespace berth::admin
