// Options of TCP sockets, both sides.
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

// For TCP sockets, here and below; errors are of no consequence: the socket works without.
// No delay for small packets. What is accepted inherits it, as keep_alive, from the listener as it was in the
// handshake of TCP.
void send_at_once(int fd);
void keep_alive(int fd, bool on);
// Of a listener: the kernel keeps a connection to itself until the client has said something, or kDeferSeconds and
// what is left of the pause between two answers of the handshake are over (a minute and some seconds in all).
constexpr int kDeferSeconds = 45;  // as PgBouncer
void defer_accept(int fd, bool on);
// The rest. It is for each socket: a listener could not be given the system's defaults back.
void tune_tcp_socket(int fd, const TcpOptions& options);

}  // namespace berth::net
