// Holds many client connections that do nothing: the bench measures what each of them costs a broker.
//
// Every client logs in (trust) and runs one transaction with a named prepared statement, then stays silent. The
// program obeys lines on its standard input and answers each with one line:
//   open N    opens N more clients             -> opened TOTAL, or: failed TOTAL WHY
//   close     closes all of them               -> closed 0
// End of input closes everything. `where` is a port of 127.0.0.1 or the path of a Unix socket.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

namespace {

constexpr int kAnswerTimeoutSeconds = 60;

std::string where, user, database;
std::string failure;

std::string be32(uint32_t v) {
  v = htonl(v);
  return std::string(reinterpret_cast<const char*>(&v), 4);
}

std::string message(char tag, const std::string& body) {
  return tag + be32(static_cast<uint32_t>(body.size() + 4)) + body;
}

std::string z(const char* text) {
  return std::string(text, std::strlen(text) + 1);
}

int fail(int fd, const std::string& why) {
  failure = why;
  if (fd >= 0) close(fd);
  return -1;
}

int connect_once() {
  bool local = where[0] == '/';
  int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(fd, std::string("socket: ") + std::strerror(errno));
  timeval timeout{kAnswerTimeoutSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  std::strncpy(path.sun_path, where.c_str(), sizeof path.sun_path - 1);
  sockaddr_in tcp{};
  tcp.sin_family = AF_INET;
  tcp.sin_port = htons(static_cast<uint16_t>(std::atoi(where.c_str())));
  tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int done = local ? connect(fd, reinterpret_cast<sockaddr*>(&path), sizeof path)
                   : connect(fd, reinterpret_cast<sockaddr*>(&tcp), sizeof tcp);
  if (done < 0) return fail(fd, std::string("connect: ") + std::strerror(errno));
  return fd;
}

// Sends the request and reads up to ReadyForQuery; false, with the reason in `failure`, on an error or a closed
// socket.
bool ask(int fd, const std::string& request) {
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
    failure = std::string("send: ") + std::strerror(errno);
    return false;
  }
  std::string answer;
  char buffer[4096];
  for (size_t at = 0;;) {
    while (answer.size() >= at + 5) {
      uint32_t length;
      std::memcpy(&length, &answer[at + 1], 4);
      length = ntohl(length);
      if (answer.size() < at + 1 + length) break;
      if (answer[at] == 'E') {
        failure = "the broker says: " + answer.substr(at + 5, length - 4);
        for (char& c : failure) c = c == '\0' || c == '\n' ? ' ' : c;
        return false;
      }
      if (answer[at] == 'Z') return true;
      at += 1 + length;
    }
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
      failure = n == 0 ? "the broker closed the connection" : std::string("recv: ") + std::strerror(errno);
      return false;
    }
    answer.append(buffer, static_cast<size_t>(n));
  }
}

int open_client() {
  int fd = connect_once();
  if (fd < 0) return -1;
  std::string startup = be32(196608) + z("user") + z(user.c_str()) + z("database") + z(database.c_str()) + z("");
  bool alive = ask(fd, be32(static_cast<uint32_t>(startup.size() + 4)) + startup);
  std::string two_zero_counts(4, '\0');
  // Parse and Sync are apart from the rest, as libpq's PQprepare sends them.
  alive = alive && ask(fd, message('P', z("idle_1") + z("SELECT abalance FROM pgbench_accounts WHERE aid = 1") +
                                            std::string(2, '\0')) +
                               message('S', ""));
  alive = alive && ask(fd, message('B', z("") + z("idle_1") + two_zero_counts + std::string(2, '\0')) +
                               message('E', z("") + be32(0)) + message('S', ""));
  if (!alive) {
    close(fd);
    return -1;
  }
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: idle_clients PORT|SOCKET USER DATABASE\n");
    return 2;
  }
  where = argv[1];
  user = argv[2];
  database = argv[3];
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);

  std::vector<int> clients;
  std::string word;
  while (std::cin >> word) {
    int wanted = 0;
    if (word == "open" && std::cin >> wanted) {
      failure.clear();
      for (int fd = 0; wanted > 0 && (fd = open_client()) >= 0; wanted--) clients.push_back(fd);
      std::cout << (failure.empty() ? "opened " : "failed ") << clients.size() << ' ' << failure << std::endl;
    } else {
      for (int fd : clients) close(fd);
      clients.clear();
      std::cout << "closed 0" << std::endl;
    }
  }
  return 0;
}
