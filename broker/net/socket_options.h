// Options of TCP sockets, both sides: no delay for small packets, keepalive and limits as configured.
#pragma once

namespace berth::net {

struct TcpOptions {
  bool keepalive = true;
  int keepalive_idle = 0;      // seconds; 0: the system's default, here and below
  int keepalive_interval = 0;  // seconds
  int keepalive_count = 0;
  int user_timeout = 0;  // milliseconds that sent data may stay unacknowledged
  int buffer = 0;        // bytes of each socket buffer
};

// Errors are of no consequence: the socket works without. Nothing happens on a Unix socket.
void tune_tcp_socket(int fd, const TcpOptions& options);

}  // namespace berth::net
