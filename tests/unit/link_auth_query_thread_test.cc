// Goal: every login that asks is answered once, also when more databases are asked than are kept at once. Method: the
// real thread, and a server that refuses every connection.
#include "link/auth_query_thread.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace berth::link {
namespace {

constexpr int kLogins = 3000;

// A port that is taken, and at which nobody listens.
class DeafPort {
 public:
  DeafPort() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(0, bind(socket_, reinterpret_cast<sockaddr*>(&address), size));
    EXPECT_EQ(0, getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size));
    number = ntohs(address.sin_port);
  }
  ~DeafPort() { ::close(socket_); }
  int number = 0;

 private:
  const int socket_;
};

TEST(AuthQueryThread, EverybodyIsAnsweredOnceWhenDatabasesAreDisplaced) {
  const DeafPort port;
  auto config = std::make_shared<config::Config>();
  config::DatabaseEntry& entry = config->databases.emplace_back();
  entry.name = "*";
  entry.is_fallback = true;
  entry.hosts = {"127.0.0.1"};
  entry.port = port.number;
  config->options.auth_user = "looker";
  config->index();

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> answers(kLogins);
  int answered = 0;
  session::Globals globals;
  net::Resolver resolver;
  AuthQueryThread finder(globals, resolver, 1);
  finder.start(config);
  for (int i = 0; i < kLogins; ++i) {
    finder.find({config, "d" + std::to_string(i), false, "bob"}, [&, i](const session::SecretAnswer&) {
      const std::lock_guard<std::mutex> guard(mutex);
      answers[static_cast<size_t>(i)]++;
      answered++;
      changed.notify_all();
    });
    if (i % 40 == 0) usleep(200);  // so that questions come while others fail
  }
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(20), [&] { return answered == kLogins; });
  }
  finder.stop();
  EXPECT_EQ(answers, std::vector<int>(kLogins, 1));
}

}  // namespace
}  // namespace berth::link
