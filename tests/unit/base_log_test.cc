// The log: its format, that lines stay whole and are on disk at once, rotation, and a disk that is full. Each test
// writes to a file of its own and reads it back.
#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <regex.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace berth {
namespace {

// POSIX's regular expressions: with sanitizers GCC 12 refuses to compile std::regex (false alarms in its headers).
bool matches(const std::string& text, const std::string& pattern) {
  regex_t compiled;
  if (regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) return false;
  const bool found = regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  regfree(&compiled);
  return found;
}

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth_log_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    target_.file = directory_ + "/broker.log";
    target_.to_stderr = false;
    ASSERT_EQ(log_configure(target_), "");
  }
  void TearDown() override {
    EXPECT_EQ(log_configure(LogTarget{}), "");
    for (const char* file : {"/broker.log", "/broker.log.1"}) unlink((directory_ + file).c_str());
    rmdir(directory_.c_str());
  }
  static std::string content(const std::string& path) {
    std::ifstream file(path);
    std::stringstream out;
    out << file.rdbuf();
    return out.str();
  }
  static std::vector<std::string> lines(const std::string& path) {
    std::vector<std::string> out;
    std::istringstream text(content(path));
    for (std::string line; std::getline(text, line);) out.push_back(line);
    return out;
  }
  std::string directory_;
  LogTarget target_;
};

// A link of our own is an operator's wish, one of somebody else's a trap.
TEST_F(LogTest, LinksOfOthersAreNotFollowed) {
  const std::string link = directory_ + "/broker.log.1";
  ASSERT_EQ(symlink(target_.file.c_str(), link.c_str()), 0);
  LogTarget through = target_;
  through.file = link;
  EXPECT_EQ(log_configure(through), "");
  log_line(LogLevel::kLog, "through the link");
  EXPECT_NE(content(target_.file).find("through the link"), std::string::npos);
  if (lchown(link.c_str(), 12345, 12345) == 0) {  // as root may
    EXPECT_NE(log_configure(through).find("cannot open the log file"), std::string::npos);
  }
}

TEST_F(LogTest, LinesHaveTheFormOfPgBouncers) {
  LOG_INFO("listening on {}:{}", "127.0.0.1", 6432);
  LOG_WARNING("w");
  LOG_ERROR("e");
  log_line(LogLevel::kFatal, "f");
  const auto written = lines(target_.file);
  ASSERT_EQ(written.size(), 4u);
  const std::string head = "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} [A-Za-z0-9+-]+ \\[" +
                           std::to_string(getpid()) + "\\] ";
  EXPECT_TRUE(matches(written[0], head + "LOG listening on 127\\.0\\.0\\.1:6432$")) << written[0];
  EXPECT_TRUE(matches(written[1], head + "WARNING w$")) << written[1];
  EXPECT_TRUE(matches(written[2], head + "ERROR e$")) << written[2];
  EXPECT_TRUE(matches(written[3], head + "FATAL f$")) << written[3];
}

TEST_F(LogTest, VerboseShowsMore) {
  const auto count_at = [&](int verbose) {
    target_.verbose = verbose;
    EXPECT_EQ(log_configure(target_), "");
    const size_t before = lines(target_.file).size();
    LOG_DEBUG("d");
    LOG_NOISE("n");
    return lines(target_.file).size() - before;
  };
  EXPECT_EQ(count_at(0), 0u);
  EXPECT_EQ(count_at(1), 1u);
  EXPECT_EQ(count_at(2), 2u);
  EXPECT_NE(content(target_.file).find("] NOISE n\n"), std::string::npos);
}

TEST_F(LogTest, NobodyForgesALine) {
  LOG_INFO("user=\"{}\" tab\t", std::string("x\n2026 LOG forged\r\0\x7f", 20));
  const auto written = lines(target_.file);
  ASSERT_EQ(written.size(), 1u);
  EXPECT_NE(written[0].find("x\\n2026 LOG forged\\x0d\\x00\\x7f\" tab\t"), std::string::npos) << written[0];
}

TEST_F(LogTest, TextsOfOursMayHaveLines) {
  log_lines(LogLevel::kError, "a.ini:1: x\na.ini:2: y\n");
  const auto written = lines(target_.file);
  ASSERT_EQ(written.size(), 2u);
  EXPECT_NE(written[0].find("] ERROR a.ini:1: x"), std::string::npos);
  EXPECT_NE(written[1].find("] ERROR a.ini:2: y"), std::string::npos);
}

TEST_F(LogTest, ReopenFollowsARotation) {
  LOG_INFO("before");
  const std::string old = target_.file + ".1";
  ASSERT_EQ(rename(target_.file.c_str(), old.c_str()), 0);
  LOG_INFO("between");
  ASSERT_EQ(log_reopen(), "");
  LOG_INFO("after");
  ASSERT_EQ(lines(old).size(), 2u);
  ASSERT_EQ(lines(target_.file).size(), 1u);
  EXPECT_NE(content(target_.file).find("after"), std::string::npos);
}

TEST_F(LogTest, AFileThatCannotBeOpenedKeepsTheOldOne) {
  LogTarget other = target_;
  other.file = directory_ + "/absent/broker.log";
  other.verbose = 2;
  const std::string why = log_configure(other);
  EXPECT_NE(why.find("absent/broker.log"), std::string::npos);
  EXPECT_NE(why.find("No such file"), std::string::npos);
  EXPECT_FALSE(log_wants(LogLevel::kNoise));
  LOG_INFO("still here");
  EXPECT_NE(content(target_.file).find("still here"), std::string::npos);
}

TEST_F(LogTest, LinesOfManyThreadsStayWhole) {
  constexpr int kThreads = 4, kLines = 500;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < kLines; ++i) LOG_INFO("{}", std::string(200, static_cast<char>('a' + t)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto written = lines(target_.file);
  ASSERT_EQ(written.size(), static_cast<size_t>(kThreads * kLines));
  for (const std::string& line : written) {
    const size_t at = line.find("] LOG ");
    ASSERT_NE(at, std::string::npos) << line;
    const std::string text = line.substr(at + 6);
    ASSERT_EQ(text, std::string(200, text[0]));
  }
}

// /dev/full fails each write as a full disk does.
TEST_F(LogTest, AFullDiskLosesLinesAndNothingElse) {
  target_.file = "/dev/full";
  ASSERT_EQ(log_configure(target_), "");
  for (int i = 0; i < 3; ++i) LOG_INFO("lost");
  target_.file = directory_ + "/broker.log";
  ASSERT_EQ(log_configure(target_), "");
  LOG_INFO("kept");
  EXPECT_EQ(lines(target_.file).size(), 1u);
}

// A pipe that is full refuses lines for a while: afterwards the log says how many are missing.
TEST_F(LogTest, LostLinesAreCountedInTheLog) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
  const int saved = dup(STDERR_FILENO);
  ASSERT_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
  LogTarget target;
  ASSERT_EQ(log_configure(target), "");
  const std::string filler(4000, 'x');
  for (int i = 0; i < 100; ++i) LOG_INFO("{}", filler);  // a pipe holds 64 KiB
  std::string got(1 << 20, 0);
  ASSERT_GT(read(ends[0], got.data(), got.size()), 0);
  LOG_INFO("again");
  const ssize_t size = read(ends[0], got.data(), got.size());
  ASSERT_EQ(log_configure(target_), "");
  dup2(saved, STDERR_FILENO);
  for (const int fd : {saved, ends[0], ends[1]}) close(fd);
  ASSERT_GT(size, 0);
  got.resize(static_cast<size_t>(size));
  EXPECT_TRUE(matches(got, "\\] WARNING [0-9]+ lines of the log were lost: ")) << got;
  EXPECT_NE(got.find("] LOG again\n"), std::string::npos);
}

TEST_F(LogTest, EveryLineIsInTheFileWhenTheCallReturns) {
  for (int i = 1; i <= 20; ++i) {
    LOG_INFO("line {}", i);
    ASSERT_EQ(lines(target_.file).size(), static_cast<size_t>(i));
  }
}

}  // namespace
}  // namespace berth
