// Listening sockets on the loopback and in a directory of their own: who gets what, what is never taken from others.
#include "net/listen.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "net/address.h"
#include "net/socket_options.h"

namespace berth::net {
namespace {

class ListenTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth_listen_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    unlink(path(6432).c_str());
    rmdir(directory_.c_str());
  }
  std::string path(int port) const { return directory_ + "/.s.PGSQL." + std::to_string(port); }
  ListenPlace in_directory() const {
    ListenPlace place;
    place.unix_directory = directory_;
    return place;
  }
  static ListenPlace on(std::vector<std::string> hosts) {
    ListenPlace place;
    place.hosts = std::move(hosts);
    return place;
  }
  // Whether a client gets through to the socket.
  static bool answers(const Address& address) {
    const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0;
    close(fd);
    return connected;
  }
  std::string directory_;
};

// What a client's connection has from its first moment, even if nobody has accepted it when the settings change.
TEST_F(ListenTest, OptionsThatAreInherited) {
  for (const bool keepalive : {false, true}) {
    ListenPlace place = on({"127.0.0.1"});
    place.keepalive = keepalive;
    auto listening = listen_on(place, 0);
    ASSERT_TRUE(listening.ok()) << listening.error().text;
    const int listener = listening.value().sockets[0].fd;
    const Address address = local_address(listener);
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address.storage), address.size), 0);
    keep_alive(listener, !keepalive);
    const int accepted = accept(listener, nullptr, nullptr);
    const auto option = [accepted](int level, int name) {
      int value = -1;
      socklen_t size = sizeof value;
      EXPECT_EQ(getsockopt(accepted, level, name, &value, &size), 0);
      return value != 0;
    };
    EXPECT_TRUE(option(IPPROTO_TCP, TCP_NODELAY));
    EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), keepalive);
    close(accepted);
    close(client);
    close_listeners(listening.value().sockets);
  }
}

TEST_F(ListenTest, DeferAccept) {
  ListenPlace place = on({"127.0.0.1"});
  place.defer_accept = true;
  auto listening = listen_on(place, 0);
  ASSERT_TRUE(listening.ok()) << listening.error().text;
  const int listener = listening.value().sockets[0].fd;
  int seconds = 0;
  socklen_t size = sizeof seconds;
  ASSERT_EQ(getsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &size), 0);
  EXPECT_GE(seconds, kDeferSeconds);
  defer_accept(listener, false);
  ASSERT_EQ(getsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &size), 0);
  EXPECT_EQ(seconds, 0);
  close_listeners(listening.value().sockets);
}

TEST_F(ListenTest, TcpAndUnix) {
  auto tcp = listen_on(on({"127.0.0.1"}), 0);
  ASSERT_TRUE(tcp.ok()) << tcp.error().text;
  ASSERT_EQ(tcp.value().sockets.size(), 1u);
  const ListenSocket& socket = tcp.value().sockets[0];
  const Address address = local_address(socket.fd);
  EXPECT_EQ(socket.text, address.text());
  EXPECT_FALSE(socket.is_unix);
  EXPECT_TRUE(answers(address));
  EXPECT_NE(fcntl(socket.fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(socket.fd, F_GETFD) & FD_CLOEXEC, 0);

  auto local = listen_on(in_directory(), 6432);
  ASSERT_TRUE(local.ok()) << local.error().text;
  ASSERT_EQ(local.value().sockets.size(), 1u);
  EXPECT_EQ(local.value().sockets[0].text, "unix:" + path(6432));
  EXPECT_TRUE(local.value().sockets[0].is_unix);
  EXPECT_TRUE(answers(unix_address(directory_, 6432).value()));

  close_listeners(tcp.value().sockets);
  close_listeners(local.value().sockets);
  EXPECT_FALSE(answers(address));
  EXPECT_NE(access(path(6432).c_str(), F_OK), 0);
}

TEST_F(ListenTest, APortThatIsInUseIsNamed) {
  auto first = listen_on(on({"127.0.0.1"}), 0);
  ASSERT_TRUE(first.ok());
  const int port = local_address(first.value().sockets[0].fd).port();
  const auto second = listen_on(on({"127.0.0.1"}), port);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().text,
            "cannot listen on 127.0.0.1:" + std::to_string(port) + ": address already in use by another process");
  close_listeners(first.value().sockets);
  auto third = listen_on(on({"127.0.0.1"}), port);
  EXPECT_TRUE(third.ok()) << "free again at once: " << third.error().text;
  close_listeners(third.value().sockets);
}

TEST_F(ListenTest, AllMistakesAreNamedAndNothingStaysOpen) {
  ListenPlace place = in_directory();
  place.hosts = {"192.0.2.1", "no-such-name.invalid"};
  const auto sockets = listen_on(place, 6432);
  ASSERT_FALSE(sockets.ok());
  EXPECT_EQ(sockets.error().text.find("cannot listen on 192.0.2.1:6432: this machine does not have the address\n"
                                      "cannot listen on no-such-name.invalid: "),
            0u)
      << sockets.error().text;
  EXPECT_NE(access(path(6432).c_str(), F_OK), 0);
}

TEST_F(ListenTest, StarListensOnAllAddresses) {
  auto any = listen_on(on({"127.0.0.1"}), 0);
  ASSERT_TRUE(any.ok());
  const int port = local_address(any.value().sockets[0].fd).port();
  close_listeners(any.value().sockets);
  auto sockets = listen_on(on({"*"}), port);
  ASSERT_TRUE(sockets.ok()) << sockets.error().text;
  EXPECT_TRUE(answers(parse_ip("127.0.0.1", port).value()));
  const bool has_ipv6 = sockets.value().sockets.size() == 2;
  EXPECT_EQ(answers(parse_ip("::1", port).value()), has_ipv6);
  EXPECT_TRUE(sockets.value().notes.empty());
  close_listeners(sockets.value().sockets);
}

TEST_F(ListenTest, NamesAreResolved) {
  auto sockets = listen_on(on({"localhost"}), 0);
  ASSERT_TRUE(sockets.ok()) << sockets.error().text;
  EXPECT_TRUE(answers(local_address(sockets.value().sockets[0].fd)));
  close_listeners(sockets.value().sockets);
}

TEST_F(ListenTest, AStaleSocketIsReplaced) {
  auto first = listen_on(in_directory(), 6432);
  ASSERT_TRUE(first.ok());
  close(first.value().sockets[0].fd);  // as after a crash: the file stays
  auto second = listen_on(in_directory(), 6432);
  ASSERT_TRUE(second.ok()) << second.error().text;
  EXPECT_TRUE(answers(unix_address(directory_, 6432).value()));
  close_listeners(second.value().sockets);
}

TEST_F(ListenTest, ALiveSocketIsNeverTaken) {
  ListenPlace place = in_directory();
  place.backlog = 0;
  auto first = listen_on(place, 6432);
  ASSERT_TRUE(first.ok());
  const std::string expected =
      "cannot listen on unix:" + path(6432) + ": address already in use: another process listens on the socket";
  auto second = listen_on(place, 6432);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().text, expected);
  // Now its queue is full, by the attempt above: it answers nobody, and is still alive.
  second = listen_on(place, 6432);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().text, expected);
  EXPECT_EQ(access(path(6432).c_str(), F_OK), 0);
  close_listeners(first.value().sockets);
}

TEST_F(ListenTest, AFileThatIsNoSocketIsNeverTaken) {
  std::ofstream(path(6432)) << "precious";
  const auto sockets = listen_on(in_directory(), 6432);
  ASSERT_FALSE(sockets.ok());
  EXPECT_EQ(sockets.error().text, "cannot listen on unix:" + path(6432) + ": there is a file that is no socket");
  EXPECT_EQ(access(path(6432).c_str(), F_OK), 0);
}

TEST_F(ListenTest, TheFileOfASuccessorStays) {
  auto first = listen_on(in_directory(), 6432);
  ASSERT_TRUE(first.ok());
  unlink(path(6432).c_str());
  auto second = listen_on(in_directory(), 6432);
  ASSERT_TRUE(second.ok());
  close_listeners(first.value().sockets);
  EXPECT_TRUE(answers(unix_address(directory_, 6432).value()));
  close_listeners(second.value().sockets);
}

TEST_F(ListenTest, ModeAndGroup) {
  ListenPlace place = in_directory();
  place.unix_mode = 0640;
  place.unix_group = std::to_string(getegid());
  auto sockets = listen_on(place, 6432);
  ASSERT_TRUE(sockets.ok()) << sockets.error().text;
  struct stat status;
  ASSERT_EQ(lstat(path(6432).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
  EXPECT_EQ(status.st_gid, getegid());
  close_listeners(sockets.value().sockets);

  place.unix_group = "no such group";
  sockets = listen_on(place, 6432);
  ASSERT_FALSE(sockets.ok());
  EXPECT_NE(sockets.error().text.find("unix_socket_group \"no such group\" does not exist"), std::string::npos);
  EXPECT_NE(access(path(6432).c_str(), F_OK), 0) << "what was bound is removed again";
}

TEST_F(ListenTest, TheUmaskIsAsBefore) {
  const mode_t before = umask(0027);
  auto sockets = listen_on(in_directory(), 6432);
  EXPECT_EQ(umask(before), 0027u);
  ASSERT_TRUE(sockets.ok());
  close_listeners(sockets.value().sockets);
}

TEST_F(ListenTest, AbstractSockets) {
  ListenPlace place;
  place.unix_directory = "@berth_test_" + std::to_string(getpid());
  auto sockets = listen_on(place, 6432);
  ASSERT_TRUE(sockets.ok()) << sockets.error().text;
  EXPECT_TRUE(answers(unix_address(place.unix_directory, 6432).value()));
  EXPECT_EQ(sockets.value().sockets[0].unix_path, "");
  const auto second = listen_on(place, 6432);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().text.find("address already in use by another process"), std::string::npos);
  close_listeners(sockets.value().sockets);
}

TEST_F(ListenTest, APathThatIsTooLong) {
  ListenPlace place;
  place.unix_directory = "/tmp/" + std::string(100, 'x');
  const auto sockets = listen_on(place, 6432);
  ASSERT_FALSE(sockets.ok());
  EXPECT_NE(sockets.error().text.find("too long"), std::string::npos);
}

}  // namespace
}  // namespace berth::net
