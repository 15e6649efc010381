// Goal: a server's ring of owners says who held it, in order, however many there were. Method: dice against a list.
#include "session/owners.h"

#include <gtest/gtest.h>

#include <deque>

#include "unit/seeds.h"

namespace berth::session {
namespace {

struct Seen {
  uint64_t client;
  Micros linked_at, released_at;
  int64_t queries;
  bool operator==(const Seen&) const = default;
};

std::deque<Seen> seen(const Owners& owners) {
  std::deque<Seen> out;
  owners.each([&](const Owner& owner) {
    out.push_back({owner.client, owner.linked_at, owner.released_at, owner.queries});
  });
  return out;
}

TEST(OwnersTest, NobodyYet) {
  EXPECT_TRUE(seen(Owners()).empty());
}

TEST(OwnersTest, AClientThatComesBackGoesOnWithItsEntry) {
  Owners owners;
  owners.link(7, {}, {}, 100);
  owners.count_query();
  EXPECT_EQ(seen(owners), (std::deque<Seen>{{7, 100, 0, 1}}));  // linked now
  owners.release(110);
  owners.link(7, {}, {}, 120);
  owners.count_query();
  EXPECT_EQ(seen(owners), (std::deque<Seen>{{7, 100, 0, 2}}));
  owners.release(130);
  owners.link(8, {}, {}, 140);
  owners.release(150);
  owners.link(7, {}, {}, 160);  // another was there in between
  EXPECT_EQ(seen(owners), (std::deque<Seen>{{7, 100, 130, 2}, {8, 140, 150, 0}, {7, 160, 0, 0}}));
}

TEST(OwnersTest, ItsSettingsAndAddressOutliveTheClient) {
  Owners owners;
  {
    const pool::Params params = pool::make_params({{"application_name", "billing"}});
    owners.link(1, net::shorten(net::parse_ip("10.1.2.3", 4711).value()), params, 1);
    owners.release(2);
    const pool::Params renamed = pool::with_value(params, "application_name", "billing 2");
    owners.link(1, net::shorten(net::parse_ip("10.1.2.3", 4711).value()), renamed, 3);
  }
  owners.each([](const Owner& owner) {
    EXPECT_EQ(*owner.params->find("application_name"), "billing 2");
    EXPECT_EQ(owner.peer.host(), "10.1.2.3");
    EXPECT_EQ(owner.peer.port, 4711);
  });
}

TEST(OwnersTest, TheLastOnesInOrder) {
  SEEDED(dice);
  Owners owners;
  std::deque<Seen> model;
  for (Micros now = 1; now < 5000; now += 2) {
    const uint64_t client = 1 + dice.below(now % 7 == 0 ? 2 : 30);
    owners.link(client, {}, {}, now);
    if (model.empty() || model.back().client != client) model.push_back({client, now, 0, 0});
    if (model.size() > kOwnersKept) model.pop_front();
    for (uint64_t i = dice.below(3); i > 0; --i) {
      owners.count_query();
      model.back().queries++;
    }
    owners.release(now + 1);
    model.back().released_at = now + 1;
    ASSERT_EQ(seen(owners), model);
  }
  EXPECT_EQ(model.size(), kOwnersKept);
}

TEST(ShortAddressTest, SaysWhatTheLongOneSays) {
  for (const char* text : {"10.0.0.1", "255.1.2.3", "::1", "2001:db8::ff00:42:8329"}) {
    const net::Address address = net::parse_ip(text, 65432).value();
    const net::ShortAddress brief = net::shorten(address);
    EXPECT_EQ(brief.host(), address.host());
    EXPECT_EQ(brief.port, 65432);
  }
  const net::ShortAddress path = net::shorten(net::unix_address("/tmp/sockets", 6432).value());
  EXPECT_EQ(path.host(), "unix");
  EXPECT_EQ(path.port, 6432);
  EXPECT_EQ(net::shorten(net::Address()).host(), "");
}

}  // namespace
}  // namespace berth::session
