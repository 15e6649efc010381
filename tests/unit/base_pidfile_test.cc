// The pidfile: one holder at a time, stale files taken over, other files left alone.
#include "base/pidfile.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace berth {
namespace {

class PidfileTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth_pid_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/broker.pid";
  }
  void TearDown() override {
    unlink(path_.c_str());
    rmdir(directory_.c_str());
  }
  void put(const std::string& text) { std::ofstream(path_) << text; }
  std::string content() {
    std::stringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }
  bool exists() { return access(path_.c_str(), F_OK) == 0; }
  std::string directory_, path_;
};

TEST_F(PidfileTest, WrittenAndRemoved) {
  auto file = Pidfile::claim(path_);
  ASSERT_TRUE(file.ok()) << file.error().text;
  EXPECT_EQ(file.value().write(), "");
  EXPECT_EQ(content(), std::to_string(getpid()) + "\n");
  file.value().remove();
  EXPECT_FALSE(exists());
}

TEST_F(PidfileTest, OneHolderAtATime) {
  auto first = Pidfile::claim(path_);
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first.value().write(), "");
  const auto second = Pidfile::claim(path_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().text, "another broker runs already: process " + std::to_string(getpid()) +
                                     " holds the pidfile \"" + path_ + "\"");
  EXPECT_EQ(content(), std::to_string(getpid()) + "\n");
  first.value().remove();
  EXPECT_TRUE(Pidfile::claim(path_).ok());
}

// The lock goes to the child of a fork, as a daemon needs it, and ends with the last process that has it.
TEST_F(PidfileTest, TheHoldSurvivesAForkAndEndsWithTheProcess) {
  auto file = Pidfile::claim(path_);
  ASSERT_TRUE(file.ok());
  int go[2];
  ASSERT_EQ(pipe(go), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool written = file.value().write().empty();
    char byte;
    close(go[1]);
    const bool told = read(go[0], &byte, 1) == 0;
    _exit(written && told ? 0 : 1);
  }
  close(go[0]);
  file = Pidfile();  // what the parent of a daemon does: its own hold ends, the file stays
  EXPECT_TRUE(exists());
  EXPECT_FALSE(Pidfile::claim(path_).ok());
  close(go[1]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(content(), std::to_string(child) + "\n") << "what a crash leaves behind";
  auto next = Pidfile::claim(path_);
  ASSERT_TRUE(next.ok()) << next.error().text;
  EXPECT_EQ(next.value().write(), "");
  EXPECT_EQ(content(), std::to_string(getpid()) + "\n");
}

// Whoever crashed may have had the number of a process that runs now, but is no broker: this test's own.
TEST_F(PidfileTest, AStaleNumberThatIsInUseAgainDoesNotMatter) {
  put(std::to_string(getpid()) + "\n");
  EXPECT_TRUE(Pidfile::claim(path_).ok());
}

TEST_F(PidfileTest, EmptyFilesAreTaken) {
  put("");
  EXPECT_TRUE(Pidfile::claim(path_).ok());
}

TEST_F(PidfileTest, OtherFilesAreLeftAlone) {
  for (const char* text : {"something important\n", "12 34\n", "-5\n", "0\n"}) {
    put(text);
    const auto file = Pidfile::claim(path_);
    ASSERT_FALSE(file.ok()) << text;
    EXPECT_EQ(file.error().text, "\"" + path_ + "\" is no pidfile: it does not hold a number");
    EXPECT_EQ(content(), text);
  }
}

TEST_F(PidfileTest, AFileThatIsNoLongerOursStays) {
  auto file = Pidfile::claim(path_);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file.value().write(), "");
  unlink(path_.c_str());
  put("4711\n");
  file.value().remove();
  EXPECT_EQ(content(), "4711\n");
}

TEST_F(PidfileTest, AFileOfAnotherUserIsRefused) {
  put("");
  EXPECT_TRUE(Pidfile::claim(path_).ok());
  if (chown(path_.c_str(), 12345, 12345) != 0) return;  // only root can
  const auto file = Pidfile::claim(path_);
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().text.find("belongs to another user"), std::string::npos);
}

TEST_F(PidfileTest, NoDirectoryNoFile) {
  const auto file = Pidfile::claim(directory_ + "/absent/broker.pid");
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().text.find("absent/broker.pid\": No such file"), std::string::npos);
}

TEST_F(PidfileTest, SymbolicLinksAreNotFollowed) {
  const std::string target = directory_ + "/target";
  ASSERT_EQ(symlink(target.c_str(), path_.c_str()), 0);
  EXPECT_FALSE(Pidfile::claim(path_).ok());
  EXPECT_NE(access(target.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace berth
