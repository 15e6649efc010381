// Clients that log in, over TLS or not, for the bench of what that costs.
//
//   tls_clients PORT USER DATABASE [PASSWORD]
//
// Obeys lines on its standard input and answers each with one line:
//   login KIND N   N logins, one after the other by each of four threads; KIND: plain, full (a whole handshake each
//                  time), resumed (by the session of the login before), bare and bare-resumed (a handshake without
//                  PostgreSQL's protocol: tests/bench/tls_bare.cc), scram (without TLS, by SCRAM-SHA-256; the
//                  password is salted once, so that the clients leave the machine to the broker)
//                                       -> done N RESUMED, where RESUMED says how many sessions were taken up again
//   idle KIND N    opens N more clients, which ask one query and then stay silent   -> done TOTAL 0
// A failure ends the program; what failed is its last line.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
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
std::string user, database, password;

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

// A broker's messages, one after the other.
struct Messages {
  const Link& link;
  std::string held;
  size_t at = 0;

  // The next one's type; its content is in `body`. An error ends the program.
  char next(std::string& body) {
    for (;;) {
      if (held.size() >= at + 5) {
        uint32_t length;
        std::memcpy(&length, &held[at + 1], 4);
        length = ntohl(length);
        if (held.size() >= at + 1 + length) {
          char type = held[at];
          if (type == 'E') fail("the broker says: " + held.substr(at + 5, length - 4));
          body.assign(held, at + 5, length - 4);
          at += 1 + length;
          return type;
        }
      }
      char buffer[4096];
      held.append(buffer, static_cast<size_t>(link.read(buffer, sizeof buffer)));
    }
  }
};

void until_ready(Messages& messages) {
  for (std::string body; messages.next(body) != 'Z';) continue;
}

// ---- SCRAM (RFC 5802), the client's side

std::string base64(const std::string& bytes) {
  std::string out(4 * (bytes.size() / 3 + 1) + 1, '\0');
  int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                             reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

std::string unbase64(const std::string& text) {
  std::string out(text.size(), '\0');
  int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                             reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) fail("no base64: " + text);
  for (size_t end = text.size(); end > 0 && text[end - 1] == '='; end--) size--;  // which it takes for zeros
  out.resize(static_cast<size_t>(size));
  return out;
}

std::string hmac(const std::string& key, const std::string& text) {
  std::string out(32, '\0');
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr);
  return out;
}

// The salted password: what costs thousands of rounds, and is the same for every login.
const std::string& salted(const std::string& salt, int rounds) {
  static const std::string out = [&salt, rounds] {
    std::string made(32, '\0');
    PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                      reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()), rounds,
                      EVP_sha256(), 32, reinterpret_cast<unsigned char*>(made.data()));
    return made;
  }();
  return out;
}

std::string message(char type, const std::string& body) {
  return type + be32(static_cast<uint32_t>(body.size() + 4)) + body;
}

void prove(const Link& link, Messages& messages) {
  std::string body;
  if (messages.next(body) != 'R' || body.substr(0, 4) != be32(10)) fail("SCRAM is not asked for");
  unsigned char noise[18];
  RAND_bytes(noise, sizeof noise);
  const std::string bare = "n=,r=" + base64(std::string(reinterpret_cast<char*>(noise), sizeof noise));
  const std::string first = "n,," + bare;
  link.write(message('p', std::string("SCRAM-SHA-256") + '\0' + be32(static_cast<uint32_t>(first.size())) + first));
  if (messages.next(body) != 'R' || body.substr(0, 4) != be32(11)) fail("SCRAM does not go on");
  const std::string challenge = body.substr(4);
  const size_t s = challenge.find(",s="), i = challenge.find(",i=");
  if (s == std::string::npos || i == std::string::npos) fail("no challenge: " + challenge);
  const std::string& key = salted(unbase64(challenge.substr(s + 3, i - s - 3)), std::atoi(&challenge[i + 3]));
  const std::string last = "c=biws," + challenge.substr(0, s);
  const std::string all = bare + "," + challenge + "," + last;
  std::string proof = hmac(key, "Client Key");
  std::string stored(32, '\0');
  EVP_Digest(proof.data(), proof.size(), reinterpret_cast<unsigned char*>(stored.data()), nullptr, EVP_sha256(),
             nullptr);
  const std::string signature = hmac(stored, all);
  for (size_t k = 0; k < proof.size(); k++) proof[k] = static_cast<char>(proof[k] ^ signature[k]);
  link.write(message('p', last + ",p=" + base64(proof)));
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

bool is_bare(const std::string& kind) {
  return kind.starts_with("bare");
}

Link log_in(const std::string& kind, Memory& memory, std::atomic<int>& resumed) {
  Link link = connect_to();
  if (kind != "plain" && kind != "scram") {
    if (!is_bare(kind)) {
      char answer;
      link.write(be32(8) + be32(kSslRequest));
      if (link.read(&answer, 1) != 1 || answer != 'S') fail("no TLS is offered");
    }
    SSL* connection = SSL_new(memory.context);
    SSL_set_fd(connection, link.fd);
    if (kind.ends_with("resumed") && memory.session != nullptr) SSL_set_session(connection, memory.session);
    if (SSL_connect(connection) != 1) fail("the handshake");
    if (SSL_session_reused(connection) == 1) resumed++;
    link.connection = connection;
  }
  if (is_bare(kind)) {
    char ready;
    link.read(&ready, 1);
    return link;
  }
  std::string startup = be32(196608);
  for (const std::string& word : {std::string("user"), user, std::string("database"), database})
    startup += word + '\0';
  startup += '\0';
  link.write(be32(static_cast<uint32_t>(startup.size() + 4)) + startup);
  Messages messages{link, {}};
  if (kind == "scram") prove(link, messages);
  until_ready(messages);
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
        if (!is_bare(kind)) link.write(message('X', ""));
        link.leave();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return resumed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: tls_clients PORT USER DATABASE [PASSWORD]\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  port = std::atoi(argv[1]);
  user = argv[2];
  database = argv[3];
  if (argc == 5) password = argv[4];
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
      if (is_bare(kind)) continue;
      std::string query = std::string("SELECT 1") + '\0';
      silent.back().write(message('Q', query));
      Messages messages{silent.back(), {}};
      until_ready(messages);
    }
    std::cout << "done " << silent.size() << " 0" << std::endl;
  }
  return 0;
}
