// A TLS server that does nothing else: what OpenSSL itself costs, for a handshake and for a connection that is
// silent.
//
//   tls_bare PORT CERTIFICATE KEY [CIPHERSUITES]
//
// CIPHERSUITES of TLS 1.3, the first of which the client knows is spoken; without them it is as the client likes.
// One thread. After each handshake it sends one byte, so that the client knows, and then waits until the client goes.
// Buffers are released between messages, as a server with many silent clients wants it.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

int listen_at(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) < 0 || listen(fd, 4096) < 0) {
    std::perror("listen");
    std::exit(1);
  }
  return fd;
}

void forget(SSL* connection) {
  int fd = SSL_get_fd(connection);
  SSL_free(connection);
  close(fd);
}

// The handshake, which blocks: the clients of the bench are prompt.
void take(int listener, SSL_CTX* context, int loop) {
  int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  SSL* connection = SSL_new(context);
  SSL_set_fd(connection, fd);
  if (SSL_accept(connection) != 1 || SSL_write(connection, "Z", 1) != 1) {
    forget(connection);
    return;
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = connection;
  epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: tls_bare PORT CERTIFICATE KEY [CIPHERSUITES]\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  if (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1) {
    std::fprintf(stderr, "tls_bare: the certificate or its key cannot be used\n");
    return 1;
  }
  if (argc == 5) {
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_set_ciphersuites(context, argv[4]) != 1) {
      std::fprintf(stderr, "tls_bare: no such cipher suites: %s\n", argv[4]);
      return 1;
    }
  }
  int listener = listen_at(std::atoi(argv[1]));
  int loop = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    epoll_event ready[64];
    int count = epoll_wait(loop, ready, 64, -1);
    for (int i = 0; i < count; i++) {
      auto* connection = static_cast<SSL*>(ready[i].data.ptr);
      char byte;
      if (connection == nullptr) {
        take(listener, context, loop);
      } else if (SSL_read(connection, &byte, 1) <= 0) {
        forget(connection);
      }
    }
  }
}
