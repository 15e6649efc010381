// A raw relay: the floor that any PostgreSQL connection broker on epoll can be compared with.
//
// One process, one thread, level-triggered epoll. It follows message boundaries only to find ReadyForQuery, and gives
// the server back when that says 'I'. It has no authentication, no limits, no timeouts, no statistics and no answer
// to a misbehaving peer: a program for the bench, never for use. What it does per transaction is what every broker
// has to do: read from the client, write to the server, read from the server, write to the client.
//
// One thing is more than bytes: pgbench -M prepared parses its named statement once per client. The relay keeps the
// text of such a Parse, answers it by itself, and has each server parse it once. In the steady state that costs one
// comparison per transaction.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kEventsPerTurn = 256;
constexpr size_t kReadSize = 16384;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "relay: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

enum class Kind : uint8_t { kListener, kClient, kServer };

// One socket. `peer` links a client with the server that runs its transaction.
struct Socket {
  Socket(Kind what, int file) : kind(what), fd(file) {}

  Kind kind;
  int fd;
  Socket* peer = nullptr;
  bool started = false;     // client: its startup packet has been answered
  bool waiting = false;     // client: stands in the queue for a server
  bool gone = false;        // client: has left while its server still runs
  std::string held;         // client: bytes that wait for a server
  std::string unsent;       // what the socket did not take
  size_t parsed = 0;        // server: how many of the relay's statements it knows
  uint32_t skip = 0;        // server: bytes left of the current message
  uint8_t head_length = 0;  // server: bytes of a message head that came without the rest
  char head[6] = {};
};

int epoll_fd = -1;
std::vector<Socket*> idle_servers;  // most recently used last
std::deque<Socket*> waiters;
std::vector<std::string> statements;  // Parse messages, each with a Sync behind it
std::set<std::string> statement_names;
std::vector<Socket*> dead;  // freed at the end of the turn: an event of this turn may still point to them
std::string welcome;        // AuthenticationOk, parameters, cancel key, ReadyForQuery
char buffer[kReadSize];

uint32_t load32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return ntohl(v);
}

std::string be32(uint32_t v) {
  v = htonl(v);
  return std::string(reinterpret_cast<const char*>(&v), 4);
}

void watch(Socket* s, uint32_t events, int op) {
  epoll_event e{};
  e.events = events;
  e.data.ptr = s;
  if (epoll_ctl(epoll_fd, op, s->fd, &e) < 0) die("epoll_ctl");
}

// Sends what the socket takes now; the rest waits for EPOLLOUT.
void send_bytes(Socket* s, std::string_view bytes) {
  if (s->unsent.empty()) {
    ssize_t n = send(s->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(bytes.size())) return;
    if (n < 0 && errno != EAGAIN) return;  // the close follows as an event of its own
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    watch(s, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }
  s->unsent.append(bytes);
}

void drain(Socket* s) {
  ssize_t n = send(s->fd, s->unsent.data(), s->unsent.size(), MSG_NOSIGNAL);
  if (n > 0) s->unsent.erase(0, static_cast<size_t>(n));
  if (s->unsent.empty()) watch(s, EPOLLIN, EPOLL_CTL_MOD);
}

// Servers are non-blocking, so a blocking exchange (at start, and once per statement) toggles the flag around it.
std::string ask_blocking(int fd, std::string_view request) {
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) die("send");
  std::string answer;
  char part[4096];  // not `buffer`: the caller's request may lie there
  for (size_t at = 0;;) {
    while (answer.size() >= at + 5 && answer.size() >= at + 1 + load32(&answer[at + 1])) {
      char tag = answer[at];
      if (tag == 'E') {
        errno = EPROTO;
        std::fprintf(stderr, "relay: the server says %.*s\n", static_cast<int>(load32(&answer[at + 1])),
                     &answer[at + 5]);
        die("server");
      }
      at += 1 + load32(&answer[at + 1]);
      if (tag == 'Z') {
        fcntl(fd, F_SETFL, flags);
        return answer;
      }
    }
    ssize_t n = recv(fd, part, sizeof part, 0);
    if (n <= 0) die("server closed the connection");
    answer.append(part, static_cast<size_t>(n));
  }
}

void open_server(const std::string& path, const std::string& user, const std::string& database) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) die("socket path too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) die("connect to the server");
  std::string body = be32(196608);
  for (const std::string& word : {std::string("user"), user, std::string("database"), database}) {
    body.append(word).push_back('\0');
  }
  body.push_back('\0');
  std::string answer = ask_blocking(fd, be32(static_cast<uint32_t>(body.size() + 4)) + body);
  if (welcome.empty()) welcome = answer;
  auto* s = new Socket(Kind::kServer, fd);
  watch(s, EPOLLIN, EPOLL_CTL_ADD);
  idle_servers.push_back(s);
}

void checkout(Socket* client, std::string_view request) {
  Socket* server = idle_servers.back();
  idle_servers.pop_back();
  for (; server->parsed < statements.size(); server->parsed++) ask_blocking(server->fd, statements[server->parsed]);
  client->peer = server;
  server->peer = client;
  send_bytes(server, request);
}

// The server's owner has left or its transaction is over: the next waiter gets it, else it becomes idle.
void checkin(Socket* server) {
  Socket* client = server->peer;
  server->peer = nullptr;
  client->peer = nullptr;
  if (client->gone) dead.push_back(client);
  idle_servers.push_back(server);
  while (!waiters.empty()) {
    Socket* next = waiters.front();
    waiters.pop_front();
    next->waiting = false;
    if (next->gone) {
      dead.push_back(next);
      continue;
    }
    checkout(next, next->held);
    next->held.clear();
    return;
  }
}

void close_client(Socket* client) {
  close(client->fd);
  client->gone = true;
  if (client->peer == nullptr && !client->waiting) dead.push_back(client);
}

// Answers SSLRequest and GSSENCRequest with N, any startup packet with what the first server said at its own start.
void on_startup(Socket* client, std::string_view bytes) {
  if (bytes.size() == 8 && load32(bytes.data()) == 8) {
    send_bytes(client, "N");
    return;
  }
  client->started = true;
  send_bytes(client, welcome);
}

// True if the bytes were the Parse of a named statement (with its Sync), which the relay answers by itself.
bool keep_statement(Socket* client, std::string_view bytes) {
  if (bytes.size() < 6 || bytes[5] == '\0') return false;
  std::string name(bytes.data() + 5);
  if (statement_names.insert(name).second) statements.emplace_back(bytes);
  send_bytes(client, std::string_view("1\0\0\0\4Z\0\0\0\5I", 11));
  return true;
}

void on_client(Socket* client) {
  ssize_t n = recv(client->fd, buffer, sizeof buffer, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return close_client(client);
  std::string_view bytes(buffer, static_cast<size_t>(n));
  if (client->peer != nullptr) return send_bytes(client->peer, bytes);
  if (!client->started) return on_startup(client, bytes);
  if (bytes[0] == 'X') return close_client(client);
  if (bytes[0] == 'P' && keep_statement(client, bytes)) return;
  if (!client->waiting && !idle_servers.empty()) return checkout(client, bytes);
  client->held.append(bytes);
  if (!client->waiting) waiters.push_back(client);
  client->waiting = true;
}

// Follows the message boundaries; true if the bytes end with a ReadyForQuery outside a transaction.
bool ends_idle(Socket* server, const char* p, const char* end) {
  bool idle = false;
  while (p < end) {
    if (server->skip > 0) {
      size_t n = std::min<size_t>(server->skip, static_cast<size_t>(end - p));
      server->skip -= static_cast<uint32_t>(n);
      p += n;
      continue;
    }
    // The head is five bytes, and for ReadyForQuery the status byte too.
    if (server->head_length == 0 && end - p >= 6) {
      idle = p[0] == 'Z' && p[5] == 'I';
      server->skip = load32(p + 1) + 1 - 5;
      p += 5;
      continue;
    }
    server->head[server->head_length++] = *p++;
    if (server->head_length < 5) continue;
    if (server->head[0] == 'Z' && server->head_length < 6) continue;
    idle = server->head[0] == 'Z' && server->head[5] == 'I';
    server->skip = load32(server->head + 1) + 1 - server->head_length;
    server->head_length = 0;
  }
  return idle && server->skip == 0 && server->head_length == 0;
}

void on_server(Socket* server) {
  ssize_t n = recv(server->fd, buffer, sizeof buffer, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) die("a server connection ended");
  bool idle = ends_idle(server, buffer, buffer + n);
  Socket* client = server->peer;
  if (client == nullptr) return;
  if (!client->gone) send_bytes(client, std::string_view(buffer, static_cast<size_t>(n)));
  if (idle) checkin(server);
}

void on_listener(Socket* listener) {
  for (int i = 0; i < kEventsPerTurn; i++) {
    int fd = accept4(listener->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // fails on a Unix socket, which has no delay
    watch(new Socket(Kind::kClient, fd), EPOLLIN, EPOLL_CTL_ADD);
  }
}

void listen_at(const std::string& where) {
  int fd = -1;
  if (where[0] == '/') {
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (where.size() >= sizeof address.sun_path) die("socket path too long");
    std::memcpy(address.sun_path, where.c_str(), where.size() + 1);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) die("bind");
  } else {
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(where)));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) die("bind");
  }
  if (listen(fd, SOMAXCONN) < 0) die("listen");
  watch(new Socket(Kind::kListener, fd), EPOLLIN, EPOLL_CTL_ADD);
}

void turn() {
  epoll_event events[kEventsPerTurn];
  int n = epoll_wait(epoll_fd, events, kEventsPerTurn, -1);
  if (n < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < n; i++) {
    auto* s = static_cast<Socket*>(events[i].data.ptr);
    if (s->gone) continue;
    if (s->kind == Kind::kListener) {
      on_listener(s);
      continue;
    }
    if (events[i].events & EPOLLOUT) drain(s);
    if ((events[i].events & ~static_cast<uint32_t>(EPOLLOUT)) == 0) continue;
    if (s->kind == Kind::kClient) {
      on_client(s);
    } else {
      on_server(s);
    }
  }
  for (Socket* s : dead) delete s;
  dead.clear();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr,
                 "usage: relay PORT SOCKET SERVER_SOCKET USER DATABASE BACKENDS\n"
                 "  listens on 127.0.0.1:PORT and on the Unix socket SOCKET\n");
    return 2;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < std::atoi(argv[6]); i++) open_server(argv[3], argv[4], argv[5]);
  listen_at(argv[1]);
  listen_at(argv[2]);
  while (true) turn();
}
