#include "base/pidfile.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

namespace berth {

namespace {

std::string read_start(int fd) {
  char text[64];
  const ssize_t got = pread(fd, text, sizeof text, 0);
  return std::string(text, got > 0 ? static_cast<size_t>(got) : 0);
}

// The number in a pidfile; 0 when it is empty, -1 when it holds something else.
pid_t number_of(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  if (text.empty()) return 0;
  pid_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  return problem == std::errc() && end == text.data() + text.size() && number > 0 ? number : -1;
}

std::string program_of(pid_t process) {
  const int fd = open(fmt::format("/proc/{}/comm", process).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string name = read_start(fd);
  close(fd);
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

}  // namespace

Result<Pidfile> Pidfile::claim(const std::string& path) {
  // More than one round only if somebody removes the file between open and lock: then the lock is on a dead file.
  for (int round = 0; round < 10; ++round) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0644);
    if (fd < 0) return Error{fmt::format("cannot open the pidfile \"{}\": {}", path, std::strerror(errno)), {}};
    Pidfile file(path, fd);
    // Whoever owns it may write another number into it, for those who send signals by it.
    struct stat held;
    if (fstat(fd, &held) != 0 || (held.st_uid != geteuid() && held.st_uid != 0)) {
      return Error{fmt::format("the pidfile \"{}\" belongs to another user: remove it", path), {}};
    }
    const pid_t number = number_of(read_start(fd));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) {
        return Error{fmt::format("another broker runs already: process {} holds the pidfile \"{}\"", number, path),
                     {}};
      }
      return Error{fmt::format("cannot lock the pidfile \"{}\": {}", path, std::strerror(errno)), {}};
    }
    if (number < 0) return Error{fmt::format("\"{}\" is no pidfile: it does not hold a number", path), {}};
    if (number > 0 && program_of(number) == "pgbouncer") {
      return Error{fmt::format("pgbouncer, process {}, runs with the pidfile \"{}\"", number, path), {}};
    }
    if (file.is_still_there()) return file;
  }
  return Error{fmt::format("the pidfile \"{}\" is removed again and again", path), {}};
}

Pidfile::Pidfile(Pidfile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), written_by_(other.written_by_) {}

Pidfile& Pidfile::operator=(Pidfile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(written_by_, other.written_by_);
  return *this;
}

Pidfile::~Pidfile() {
  if (fd_ >= 0) close(fd_);
}

bool Pidfile::is_still_there() const {
  struct stat held, named;
  return fstat(fd_, &held) == 0 && stat(path_.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

std::string Pidfile::write() {
  if (fd_ < 0) return {};
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd_, 0) != 0 || pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return fmt::format("cannot write the pidfile \"{}\": {}", path_, std::strerror(errno));
  }
  written_by_ = getpid();
  return {};
}

void Pidfile::remove() {
  if (fd_ >= 0 && written_by_ == getpid() && is_still_there()) unlink(path_.c_str());
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

}  // namespace berth
