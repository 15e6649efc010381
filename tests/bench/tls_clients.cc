// Clients that log in, over TLS or not, for the bench of what that costs.
//
//   tls_clients PORT USER DATABASE
//
// Obeys lines on its standard input and answers each with one line:
//   login KIND N   N logins, one after the other by each of four threads; KIND: plain, full (a whole handshake each
//   time), resumed (by
//                  the session of the login before), bare (a handshake without PostgreSQL's protocol:
//                  tests/bench/tls_bare.cc)
//                                       -> done N RESUMED, where RESUMED says how many sessions were taken up again
//   idle KIND N    opens N more clients, which ask one query and then stay silent   -> done TOTAL 0
// A failure ends the program; what failed is its last line.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 4;
constexpr uint32_t kSslRequest = 80877103;

int port;
std::string user, database;

[[noreturn]] void fail(const std::string& why) {
  std::cout << "failed " << why << std::endl;
  std::_Exit(1);
}

std::string be32(uint32_t v) {
  v = htonl(v);
  return std::string(reinterpret_cast<const char*>(&v), 4);
}

// One connection, with TLS if `connection` is set.
struct Link {
  int fd = -1;
  SSL* connection = nullptr;

  void write(const std::string& bytes) const {
    auto size = static_cast<int>(bytes.size());
    long done =
        connection != nullptr ? SSL_write(connection, bytes.data(), size) : send(fd, bytes.data(), bytes.size(), 0);
    if (done != size) fail("the connection takes nothing");
  }

  int read(char* into, int room) const {
    long n = connection != nullptr ? SSL_read(connection, into, room) : recv(fd, into, static_cast<size_t>(room), 0);
    if (n <= 0) fail("the connection was closed");
    return static_cast<int>(n);
  }

  void leave() const {
    if (connection != nullptr) {
      SSL_shutdown(connection);  // as libpq does; and without it the session could not be taken up again
      SSL_free(connection);
    }
    close(fd);
  }
};

Link connect_to() {
  Link link;
  link.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(link.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(link.fd, reinterpret_cast<sockaddr*>(&at), sizeof at) < 0)
    fail(std::string("connect: ") + std::strerror(errno));
  return link;
}

// Reads messages up to ReadyForQuery.
void until_ready(const Link& link) {
  std::string answer;
  char buffer[4096];
  for (size_t at = 0;;) {
    while (answer.size() >= at + 5) {
      uint32_t length;
      std::memcpy(&length, &answer[at + 1], 4);
      length = ntohl(length);
      if (answer.size() < at + 1 + length) break;
      if (answer[at] == 'E') fail("the broker says: " + std::string(&answer[at + 5]));
      if (answer[at] == 'Z') return;
      at += 1 + length;
    }
    answer.append(buffer, static_cast<size_t>(link.read(buffer, sizeof buffer)));
  }
}

// What a thread keeps from one login to the next. The callback gets it by the context.
struct Memory {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_SESSION* session = nullptr;

  Memory() {
    SSL_CTX_set_app_data(context, this);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, [](SSL* connection, SSL_SESSION* made) {
      auto* memory = static_cast<Memory*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(connection)));
      if (memory->session != nullptr) SSL_SESSION_free(memory->session);
      memory->session = made;
      return 1;
    });
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
};

Link log_in(const std::string& kind, Memory& memory, std::atomic<int>& resumed) {
  Link link = connect_to();
  if (kind != "plain") {
    if (kind != "bare") {
      char answer;
      link.write(be32(8) + be32(kSslRequest));
      if (link.read(&answer, 1) != 1 || answer != 'S') fail("no TLS is offered");
    }
    SSL* connection = SSL_new(memory.context);
    SSL_set_fd(connection, link.fd);
    if (kind == "resumed" && memory.session != nullptr) SSL_set_session(connection, memory.session);
    if (SSL_connect(connection) != 1) fail("the handshake");
    if (SSL_session_reused(connection) == 1) resumed++;
    link.connection = connection;
  }
  if (kind == "bare") {
    char ready;
    link.read(&ready, 1);
    return link;
  }
  std::string startup = be32(196608);
  for (const std::string& word : {std::string("user"), user, std::string("database"), database})
    startup += word + '\0';
  startup += '\0';
  link.write(be32(static_cast<uint32_t>(startup.size() + 4)) + startup);
  until_ready(link);
  return link;
}

int log_in_often(const std::string& kind, int count) {
  std::atomic<int> resumed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([&kind, &resumed, count] {
      Memory memory;
      for (int i = 0; i < count / kThreads; i++) {
        Link link = log_in(kind, memory, resumed);
        if (kind != "bare") link.write("X" + be32(4));
        link.leave();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return resumed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: tls_clients PORT USER DATABASE\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  port = std::atoi(argv[1]);
  user = argv[2];
  database = argv[3];
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);

  Memory memory;
  std::atomic<int> resumed = 0;
  std::vector<Link> silent;
  std::string what, kind;
  int count = 0;
  while (std::cin >> what >> kind >> count) {
    if (what == "login") {
      int taken_up = log_in_often(kind, count);
      std::cout << "done " << count / kThreads * kThreads << ' ' << taken_up << std::endl;
      continue;
    }
    for (int i = 0; i < count; i++) {
      silent.push_back(log_in(kind, memory, resumed));
      if (kind == "bare") continue;
      std::string query = std::string("SELECT 1") + '\0';
      silent.back().write("Q" + be32(static_cast<uint32_t>(query.size() + 4)) + query);
      until_ready(silent.back());
    }
    std::cout << "done " << silent.size() << " 0" << std::endl;
  }
  return 0;
}
