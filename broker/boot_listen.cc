// The listening sockets: the settings' ports and places, opened by net/listen.h.
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/log.h"
#include "boot.h"
#include "net/listen.h"
#include "net/socket_options.h"

namespace berth {

namespace {

// What listen_on() gave, kept for the end: which files are to be removed. Main's thread only.
std::vector<net::ListenSocket>& opened_sockets() {
  static std::vector<net::ListenSocket> sockets;
  return sockets;
}

struct Port {
  int64_t number;
  std::optional<config::PoolMode> mode;  // that the port fixes
};

net::ListenPlace place_of(const config::Options& options) {
  net::ListenPlace place;
  place.hosts = config::split_list(options.listen_addr);
  place.unix_directory = options.unix_socket_dir;
  place.unix_mode = static_cast<int>(options.unix_socket_mode);
  place.unix_group = options.unix_socket_group;
  place.backlog = static_cast<int>(options.listen_backlog);
  place.keepalive = options.tcp_keepalive;
  place.defer_accept = options.tcp_defer_accept;
  return place;
}

}  // namespace

Result<std::vector<worker::Listener>> open_listeners(const config::Config& config) {
  const config::Options& options = config.options;
  const net::ListenPlace place = place_of(options);
  std::vector<worker::Listener> out;
  std::string mistakes;
  for (const Port& port :
       {Port{options.listen_port, std::nullopt}, Port{options.transaction_port, config::PoolMode::kTransaction},
        Port{options.session_port, config::PoolMode::kSession}}) {
    if (port.number == 0) continue;
    Result<net::ListenSockets> opened = net::listen_on(place, static_cast<int>(port.number));
    if (!opened) {
      mistakes += (mistakes.empty() ? "" : "\n") + opened.error().text;
      continue;
    }
    for (const std::string& note : opened.value().notes) LOG_WARNING("{}", note);
    for (net::ListenSocket& socket : opened.value().sockets) {
      out.push_back({socket.fd, port.mode, socket.is_unix});
      opened_sockets().push_back(std::move(socket));
    }
  }
  if (mistakes.empty()) return out;
  close_listeners(out);
  return Error{mistakes, {}};
}

void tune_listeners(const std::vector<worker::Listener>& listeners, const config::Options& options) {
  for (const worker::Listener& listener : listeners) {
    if (listener.unix_socket) continue;
    net::defer_accept(listener.descriptor, options.tcp_defer_accept);
    net::keep_alive(listener.descriptor, options.tcp_keepalive);
  }
}

void close_listeners(std::vector<worker::Listener>& listeners) {
  net::close_listeners(opened_sockets());
  listeners.clear();
}

}  // namespace berth
