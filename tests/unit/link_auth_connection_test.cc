// Goal: auth_query's connections find the address at which somebody is, say what became of them once, and leave no
// socket behind, whenever they are closed. Method: a real engine, and a server that the test plays itself.
#include "link/auth_connection.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>

#include "auth/step.h"
#include "net/epoll_engine.h"
#include "session/context.h"
#include "wire/encode.h"
#include "wire/startup.h"

namespace berth::link {
namespace {

using Kind = AuthHappened::Kind;

// A place on loopback where somebody listens, or nobody does.
class Place {
 public:
  explicit Place(bool listens) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(0, bind(socket_, reinterpret_cast<sockaddr*>(&name), sizeof name));
    if (listens) {
      EXPECT_EQ(0, listen(socket_, 10));
    }
    address = net::local_address(socket_);
  }
  ~Place() { ::close(socket_); }
  int accept() const { return ::accept4(socket_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); }
  bool waits() const {
    pollfd polled{socket_, POLLIN, 0};
    return poll(&polled, 1, 0) == 1;
  }
  net::Address address;

 private:
  const int socket_;
};

std::string fatal(std::string_view sqlstate) {
  std::string out;
  wire::put_error(out, wire::Severity::kFatal, sqlstate, "not you");
  return out;
}

class LinkAuthConnection : public testing::Test {
 protected:
  ~LinkAuthConnection() override {
    connection.close();
    for (int peer : peers_) ::close(peer);
    for (int turn = 0; engine.memory().conns > 0 && turn < 100; ++turn) {
      engine.end_lingering();
      engine.run_once(0);
    }
    EXPECT_EQ(engine.memory().conns, 0u);
  }

  AuthPlan plan(std::vector<net::Address> addresses, const char* password = "pencil") {
    return {config, "127.0.0.1", std::move(addresses), "looker", "shop", {auth::parse_secret(password), {}}};
  }
  void connect(std::vector<net::Address> addresses) { connection.connect(engine, tls.servers, plan(addresses)); }
  void run_until(const std::function<bool()>& done) {
    for (int turn = 0; !done() && turn < 2000; ++turn) engine.run_once(monotonic_now() + 5 * kMillisecond);
    EXPECT_TRUE(done());
  }
  AuthHappened next() {
    run_until([this] { return connection.has_news(); });
    return connection.take();
  }
  int peer_at(const Place& place) {
    run_until([&] { return place.waits(); });
    peers_.push_back(place.accept());
    return peers_.back();
  }
  // What the peer is told, at least so many bytes of it.
  std::string heard(int peer, size_t size) {
    std::string out;
    run_until([&] {
      char bytes[4096];
      const ssize_t got = ::read(peer, bytes, sizeof bytes);
      if (got > 0) out.append(bytes, static_cast<size_t>(got));
      return out.size() >= size;
    });
    return out;
  }
  void say(int peer, const std::string& bytes) {
    ASSERT_EQ(::write(peer, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }

  std::shared_ptr<config::Config> config = std::make_shared<config::Config>();
  session::TlsContexts tls;
  net::EpollEngine engine;
  AuthConnection connection;

 private:
  std::vector<int> peers_;
};

TEST_F(LinkAuthConnection, TheNextAddressIsTried) {
  const Place nobody(false), neither(false), somebody(true);
  connect({nobody.address, neither.address, somebody.address});
  const int peer = peer_at(somebody);
  EXPECT_EQ(wire::parse_startup(heard(peer, 8)).kind, wire::Startup::Kind::kStartup);
  EXPECT_FALSE(connection.has_news());
}

TEST_F(LinkAuthConnection, TheLastAddressSaysWhy) {
  const Place nobody(false), neither(false);
  connect({nobody.address, neither.address});
  const AuthHappened happened = next();
  EXPECT_EQ(happened.kind, Kind::kLost);
  EXPECT_EQ(happened.error, "connect to " + neither.address.text() + " failed: Connection refused");
  connection.probe();  // means nothing
  EXPECT_FALSE(connection.has_news());
  connect({});
  EXPECT_EQ(next().error, "host has no address");
}

TEST_F(LinkAuthConnection, ItsEndIsSaidOnce) {
  const Place place(true);
  connect({place.address});
  const int peer = peer_at(place);
  heard(peer, 8);
  say(peer, fatal("3D000"));
  shutdown(peer, SHUT_RDWR);
  const AuthHappened happened = next();
  EXPECT_EQ(happened.sqlstate, "3D000");
  run_until([this] { return engine.memory().conns == 0; });
  EXPECT_FALSE(connection.has_news());
}

TEST_F(LinkAuthConnection, WhoIsClosedHearsAndSaysNothingMore) {
  const Place nobody(false), somebody(true);
  connect({nobody.address, somebody.address});
  connection.close();  // in the middle of connecting
  connect({somebody.address});
  const int peer = peer_at(somebody);
  heard(peer, 8);
  std::string welcome = auth::authentication(auth::AuthCode::kOk);
  wire::put_ready(welcome, 'I');
  say(peer, welcome);
  EXPECT_EQ(next().kind, Kind::kConnected);
  connection.close();
  run_until([this] { return engine.memory().conns == 0; });
  EXPECT_FALSE(connection.has_news());
  EXPECT_EQ(heard(peer, 5), std::string("X\0\0\0\4", 5));
}

TEST_F(LinkAuthConnection, AKeyThatNobodyWaitsForIsNotDerived) {
  const Place place(true);
  connect({place.address});
  const int peer = peer_at(place);
  heard(peer, 8);
  say(peer, auth::authentication(auth::AuthCode::kSasl, std::string_view("SCRAM-SHA-256\0\0", 15)));
  const std::string first = heard(peer, 30);
  say(peer, auth::authentication(auth::AuthCode::kSaslContinue,
                                 "r=" + first.substr(first.find(",r=") + 3) + "x,s=c2FsdHlzYWx0,i=4098"));
  AuthHappened happened = next();
  ASSERT_EQ(happened.kind, Kind::kWork);
  ASSERT_TRUE(happened.work->unwanted);
  EXPECT_FALSE(*happened.work->unwanted);
  connection.close();
  EXPECT_TRUE(*happened.work->unwanted);
  happened.work->run();
  connection.resume(*happened.work);  // late
  EXPECT_FALSE(connection.has_news());
}

// allow: a server that refuses a login in clear words is asked again inside of TLS, and not a third time.
TEST_F(LinkAuthConnection, AllowAsksAgainInsideOfTls) {
  config->options.server_tls_sslmode = "allow";
  tls.put(tls.prepare(*config).value());
  const Place place(true);
  connect({place.address});
  int peer = peer_at(place);
  EXPECT_EQ(wire::parse_startup(heard(peer, 8)).kind, wire::Startup::Kind::kStartup);
  say(peer, fatal("28000"));
  peer = peer_at(place);
  EXPECT_EQ(wire::parse_startup(heard(peer, 8)).kind, wire::Startup::Kind::kSsl);
  EXPECT_FALSE(connection.has_news());
  say(peer, "N");
  heard(peer, 8);
  say(peer, fatal("28000"));
  EXPECT_EQ(next().kind, Kind::kLost);
}

// Who cannot do TLS hears no word of a login.
TEST_F(LinkAuthConnection, RequireSaysNothingInClearWords) {
  config->options.server_tls_sslmode = "require";
  tls.put(tls.prepare(*config).value());
  const Place place(true);
  connect({place.address});
  const int peer = peer_at(place);
  EXPECT_EQ(heard(peer, 8).size(), 8u);
  say(peer, "N");
  EXPECT_NE(next().error.find("does not offer TLS"), std::string::npos);
  char more;
  run_until([this] { return engine.memory().conns == 0; });
  EXPECT_EQ(::read(peer, &more, 1), 0) << "but its end";
}

}  // namespace
}  // namespace berth::link
