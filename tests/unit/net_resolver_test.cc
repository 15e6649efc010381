// Goal: a name is looked up once for all who ask, remembered as long as it may be and no longer, and a slow name
// server delays neither askers nor the end. Method: a look-up function that the test holds back and a clock that it
// sets; once the system's own with "localhost".
#include "net/resolver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace berth::net {
namespace {

std::atomic<Micros> test_time{1000};
Micros test_clock() {
  return test_time.load();
}

// Answers that wait for the test: each look-up blocks until it is allowed.
class Names {
 public:
  Result<Resolver::Addresses> look_up(const std::string& host) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++asked_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return allowed_ > 0; });
    --allowed_;
    if (host.substr(0, 3) == "bad") return Error{"no such name", "08001"};
    return Resolver::Addresses{parse_ip(address_, 0).value(), parse_ip("::1", 0).value()};
  }
  void allow(int count) {
    const std::lock_guard<std::mutex> guard(mutex_);
    allowed_ += count;
    changed_.notify_all();
  }
  void change(std::string address) {
    const std::lock_guard<std::mutex> guard(mutex_);
    address_ = std::move(address);
  }
  void wait_asked(int count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return asked_ >= count; });
  }
  int asked() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return asked_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int asked_ = 0;
  int allowed_ = 0;
  std::string address_ = "10.0.0.1";
};

// Where answers arrive.
class Inbox {
 public:
  Resolver::Done slot() {
    return [this](Result<Resolver::Addresses> result) {
      const std::lock_guard<std::mutex> guard(mutex_);
      texts_.push_back(result ? result.value().at(0).text() : "error " + result.error().sqlstate);
      changed_.notify_all();
    };
  }
  std::vector<std::string> wait(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return texts_.size() >= count; });
    return std::exchange(texts_, {});
  }
  size_t size() {
    const std::lock_guard<std::mutex> guard(mutex_);
    return texts_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
};

using Texts = std::vector<std::string>;

class ResolverTest : public testing::Test {
 protected:
  // Shared with the look-ups: one may end after the test that tests just that.
  std::shared_ptr<Names> names_ = std::make_shared<Names>();
  Inbox inbox_;
  Resolver resolver_{[names = names_](const std::string& host) { return names->look_up(host); }, test_clock};
};

TEST_F(ResolverTest, OneLookUpForAllWhoAskEachWithItsPort) {
  resolver_.resolve("db", 1, inbox_.slot());
  names_->wait_asked(1);
  resolver_.resolve("db", 2, inbox_.slot());
  resolver_.resolve("db", 3, inbox_.slot());
  EXPECT_EQ(0u, inbox_.size());
  names_->allow(1);
  EXPECT_EQ(Texts({"10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"}), inbox_.wait(3));
  resolver_.resolve("db", 4, inbox_.slot());  // known: at once
  EXPECT_EQ(Texts({"10.0.0.1:4"}), inbox_.wait(1));
  EXPECT_EQ(1, names_->asked());
}

TEST_F(ResolverTest, AnswersExpireAndChange) {
  resolver_.set_lifetimes(10 * kSecond, 2 * kSecond);
  names_->allow(10);
  resolver_.resolve("db", 1, inbox_.slot());
  resolver_.resolve("bad", 1, inbox_.slot());
  EXPECT_EQ(Texts({"10.0.0.1:1", "error 08001"}), inbox_.wait(2));
  names_->change("10.0.0.2");
  test_time += 2 * kSecond - 1;
  resolver_.resolve("bad", 1, inbox_.slot());
  EXPECT_EQ(Texts({"error 08001"}), inbox_.wait(1));
  EXPECT_EQ(2, names_->asked());
  test_time += 1;
  resolver_.resolve("bad", 1, inbox_.slot());
  inbox_.wait(1);
  EXPECT_EQ(3, names_->asked());
  resolver_.resolve("db", 1, inbox_.slot());
  EXPECT_EQ(Texts({"10.0.0.1:1"}), inbox_.wait(1));
  test_time += 8 * kSecond;
  resolver_.resolve("db", 1, inbox_.slot());
  EXPECT_EQ(Texts({"10.0.0.2:1"}), inbox_.wait(1));
  EXPECT_EQ(4, names_->asked());
}

TEST_F(ResolverTest, LifetimeZeroRemembersNothing) {
  resolver_.set_lifetimes(0, 0);
  names_->allow(2);
  for (int i = 0; i < 2; ++i) {
    resolver_.resolve("db", 1, inbox_.slot());
    inbox_.wait(1);
  }
  EXPECT_EQ(2, names_->asked());
  EXPECT_TRUE(resolver_.known().empty());
}

// An answer that was asked for before forget() serves its askers, and is not remembered.
TEST_F(ResolverTest, ForgetAlsoForgetsWhatIsUnderWay) {
  resolver_.resolve("db", 1, inbox_.slot());
  names_->wait_asked(1);
  resolver_.forget();
  names_->change("10.0.0.2");
  names_->allow(2);
  inbox_.wait(1);
  EXPECT_TRUE(resolver_.known().empty());
  resolver_.resolve("db", 1, inbox_.slot());
  inbox_.wait(1);
  EXPECT_EQ(2, names_->asked());
  ASSERT_EQ(1u, resolver_.known().size());
  EXPECT_EQ("db", resolver_.known()[0].host);
  EXPECT_EQ(2u, resolver_.known()[0].addresses.size());
}

TEST_F(ResolverTest, QueueAndMemoryAreBounded) {
  resolver_.resolve("first", 1, inbox_.slot());
  names_->wait_asked(1);
  for (size_t i = 0; i < kResolveQueueMax; ++i) resolver_.resolve("name" + std::to_string(i), 1, inbox_.slot());
  EXPECT_EQ(0u, inbox_.size());
  resolver_.resolve("one too many", 1, inbox_.slot());
  EXPECT_EQ(Texts({"error 08001"}), inbox_.wait(1));
  resolver_.resolve("name0", 1, inbox_.slot());  // shares a place
  EXPECT_EQ(0u, inbox_.size());
  names_->allow(1 << 20);
  inbox_.wait(kResolveQueueMax + 2);
  for (size_t i = 0; i < kResolveCacheMax + 10; ++i) {
    resolver_.resolve("more" + std::to_string(i), 1, inbox_.slot());
    inbox_.wait(1);
  }
  EXPECT_EQ(kResolveCacheMax, resolver_.known().size());
}

// The end comes although the name server does not answer, and nobody is called after it.
TEST(ResolverEnd, DoesNotWaitForAnAnswer) {
  auto names = std::make_shared<Names>();
  Inbox inbox;
  {
    Resolver resolver([names](const std::string& host) { return names->look_up(host); }, test_clock);
    resolver.resolve("slow", 1, inbox.slot());
    resolver.resolve("behind", 1, inbox.slot());
    names->wait_asked(1);
  }
  EXPECT_EQ(0u, inbox.size());
  names->allow(2);
}

TEST(ResolverEnd, IdleAndUnused) {
  { Resolver unused; }
  auto names = std::make_shared<Names>();
  Inbox inbox;
  names->allow(1);
  Resolver resolver([names](const std::string& host) { return names->look_up(host); }, test_clock);
  resolver.resolve("db", 1, inbox.slot());
  EXPECT_EQ(Texts({"10.0.0.1:1"}), inbox.wait(1));
}

TEST(ResolverSystem, Localhost) {
  Resolver resolver;
  Inbox inbox;
  resolver.resolve("localhost", 5432, inbox.slot());
  const Texts got = inbox.wait(1);
  EXPECT_TRUE(got[0] == "127.0.0.1:5432" || got[0] == "[::1]:5432") << got[0];
}

TEST(ResolverSystem, Literals) {
  EXPECT_EQ("10.0.0.1:5432", Resolver::literal("10.0.0.1", 5432)->value().at(0).text());
  EXPECT_EQ("[::1]:5432", Resolver::literal("::1", 5432)->value().at(0).text());
  EXPECT_EQ("unix:/tmp/.s.PGSQL.5432", Resolver::literal("/tmp", 5432)->value().at(0).text());
  EXPECT_EQ("unix:@pg/.s.PGSQL.5432", Resolver::literal("@pg", 5432)->value().at(0).text());
  EXPECT_FALSE(Resolver::literal("db.example", 5432).has_value());
  EXPECT_FALSE(Resolver::literal(std::string(200, '/'), 5432)->ok());
  EXPECT_FALSE(Resolver::literal("", 5432)->ok());
}

}  // namespace
}  // namespace berth::net
