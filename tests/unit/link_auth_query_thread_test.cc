// Goal: every login that asks is answered once, also when more databases are asked than are kept at once. Method: the
// real thread, and a server that refuses every connection, or says nothing.
#include "link/auth_query_thread.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <vector>

namespace berth::link {
namespace {

constexpr int kLogins = 3000;

// A port that is taken. Nobody listens at it, or somebody does who says nothing.
class DeafPort {
 public:
  explicit DeafPort(bool listens) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(0, bind(socket_, reinterpret_cast<sockaddr*>(&address), size));
    EXPECT_EQ(0, getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size));
    if (listens) {
      EXPECT_EQ(0, listen(socket_, 1000));
    }
    number = ntohs(address.sin_port);
  }
  ~DeafPort() { ::close(socket_); }
  int number = 0;

 private:
  const int socket_;
};

// Logins to databases whose names are made up, and their answers.
class Logins {
 public:
  explicit Logins(const DeafPort& port) : config_(std::make_shared<config::Config>()), answers(kLogins) {
    config::DatabaseEntry& entry = config_->databases.emplace_back();
    entry.name = "*";
    entry.is_fallback = true;
    entry.hosts = {"127.0.0.1"};
    entry.port = port.number;
    config_->options.auth_user = "looker";
    config_->options.client_login_timeout = kSecond;
    config_->index();
    finder_.start(config_);
  }
  ~Logins() { finder_.stop(); }

  void ask(int number) {
    finder_.find({config_, "d" + std::to_string(number), false, "bob"},
                 [=, this](const session::SecretAnswer& answer) {
                   const std::lock_guard<std::mutex> guard(mutex_);
                   answers[static_cast<size_t>(number)]++;
                   kinds[answer.kind]++;
                   answered_++;
                   changed_.notify_all();
                 });
  }
  // Nothing comes any more after it.
  void wait_for(int count) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, std::chrono::seconds(20), [&] { return answered_ == count; });
    }
    finder_.stop();
  }

 private:
  std::shared_ptr<config::Config> config_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int answered_ = 0;
  session::Globals globals_;
  net::Resolver resolver_;
  worker::Helpers helpers_;
  AuthQueryThread finder_{globals_, resolver_, helpers_, 1};

 public:
  std::vector<int> answers;  // by login
  std::map<session::SecretAnswer::Kind, int> kinds;
};

TEST(AuthQueryThread, EverybodyIsAnsweredOnceWhenDatabasesAreDisplaced) {
  const DeafPort port(false);
  Logins logins(port);
  for (int i = 0; i < kLogins; ++i) {
    logins.ask(i);
    if (i % 40 == 0) usleep(200);  // so that questions come while others fail
  }
  logins.wait_for(kLogins);
  EXPECT_EQ(logins.answers, std::vector<int>(kLogins, 1));
}

// The first ones wait for the server, the next ones for those, and the rest is told that there are too many.
TEST(AuthQueryThread, ACrowdWaitsForDatabasesThatSayNothing) {
  const DeafPort port(true);
  Logins logins(port);
  for (int i = 0; i < 200; ++i) logins.ask(i);
  logins.wait_for(200);
  std::vector<int> once(kLogins, 0);
  std::fill_n(once.begin(), 200, 1);
  EXPECT_EQ(logins.answers, once);
  EXPECT_GE(logins.kinds[session::SecretAnswer::Kind::kFailed], static_cast<int>(kAuthUnreachedMax));
  EXPECT_GE(logins.kinds[session::SecretAnswer::Kind::kCrowded], 1);
  EXPECT_EQ(logins.kinds.size(), 2u);
}

}  // namespace
}  // namespace berth::link
