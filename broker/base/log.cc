// The log on spdlog's sinks. A file and stderr are written by one sink of our own, because a line must reach the
// kernel in one write(2): buffered streams tear lines when the disk is full and keep them back when the process dies.
#include "base/log.h"

#include <fcntl.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/syslog_sink.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "base/assert.h"
#include "base/time.h"

namespace berth {

namespace {

constexpr std::string_view word_of(LogLevel level) {
  switch (level) {
    case LogLevel::kNoise: return "NOISE";
    case LogLevel::kDebug: return "DEBUG";
    case LogLevel::kLog: return "LOG";
    case LogLevel::kWarning: return "WARNING";
    case LogLevel::kError: return "ERROR";
    case LogLevel::kFatal: return "FATAL";
  }
  ASSERT(false);
  return {};
}

constexpr spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kNoise: return spdlog::level::trace;
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kLog: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
    case LogLevel::kFatal: return spdlog::level::critical;
  }
  ASSERT(false);
  return {};
}

// "2026-11-26 12:08:26.123 UTC [4711] LOG text", in local time with its zone as PgBouncer has it.
std::string format_line(LogLevel level, std::string_view text) {
  const Micros now = wall_now();
  const time_t seconds = static_cast<time_t>(now / kSecond);
  tm local{};
  localtime_r(&seconds, &local);
  char date[32], zone[32];
  strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
  strftime(zone, sizeof zone, "%Z", &local);
  return fmt::format("{}.{:03} {} [{}] {} {}\n", date, now / kMillisecond % 1000, zone, getpid(), word_of(level),
                     text);
}

std::string escape_controls(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

// Whole lines to a file descriptor, one write(2) each. The payload of a message is a complete line.
class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  LineSink(int fd, bool owned) : fd_(fd), owned_(owned) {}
  ~LineSink() override {
    if (owned_) close(fd_);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string_view line(message.payload.data(), message.payload.size());
    if (lost_ > 0) {
      const std::string notice = fmt::format("{} lines of the log were lost: {}", lost_, std::strerror(why_));
      if (!put(format_line(LogLevel::kWarning, notice))) return void(++lost_);
      lost_ = 0;
    }
    if (!put(line)) ++lost_;
  }
  void flush_() override {}

 private:
  // False: the line was not written. After a part of a line the next one starts with a line break.
  bool put(std::string_view line) {
    const std::string whole = torn_ ? "\n" + std::string(line) : std::string(line);
    ssize_t put;
    do {
      put = write(fd_, whole.data(), whole.size());
    } while (put < 0 && errno == EINTR);
    if (put == static_cast<ssize_t>(whole.size())) {
      torn_ = false;
      return true;
    }
    why_ = put < 0 ? errno : ENOSPC;
    if (put > 0) torn_ = true;
    return false;
  }

  int fd_;
  bool owned_;
  bool torn_ = false;
  int why_ = 0;
  size_t lost_ = 0;
};

int syslog_facility(std::string_view name) {
  struct Facility {
    std::string_view name;
    int number;
  };
  constexpr std::array<Facility, 12> kFacilities{{{"auth", LOG_AUTH},
                                                  {"authpriv", LOG_AUTHPRIV},
                                                  {"daemon", LOG_DAEMON},
                                                  {"user", LOG_USER},
                                                  {"local0", LOG_LOCAL0},
                                                  {"local1", LOG_LOCAL1},
                                                  {"local2", LOG_LOCAL2},
                                                  {"local3", LOG_LOCAL3},
                                                  {"local4", LOG_LOCAL4},
                                                  {"local5", LOG_LOCAL5},
                                                  {"local6", LOG_LOCAL6},
                                                  {"local7", LOG_LOCAL7}}};
  for (const Facility& facility : kFacilities) {
    if (facility.name == name) return facility.number;
  }
  return LOG_DAEMON;
}

struct Sinks {
  std::vector<std::shared_ptr<LineSink>> lines;  // they get the whole line
  std::shared_ptr<spdlog::sinks::sink> system;   // syslog adds time and process itself
};

struct Log {
  std::mutex mutex;  // around `target` and `sinks`; held while a line is written
  LogTarget target;
  Sinks sinks{{std::make_shared<LineSink>(STDERR_FILENO, false)}, nullptr};
};

// Never destroyed: threads may log until the very end of the process.
Log& the_log() {
  static Log* log = new Log;
  return *log;
}

// The least level that is shown. Written under the log's mutex, read by anyone at any time: a line more or less while
// it changes does no harm, hence relaxed.
std::atomic<int> least_level{static_cast<int>(LogLevel::kLog)};

// A link is followed only if root or our own user has made it (/dev/stderr is one): where others may make files, one
// of theirs would have us write into a file that they choose.
int open_file(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
  const int fd = open(path.c_str(), kFlags | O_NOFOLLOW, 0640);
  if (fd >= 0 || errno != ELOOP) return fd;
  struct stat link;
  const bool ours = lstat(path.c_str(), &link) == 0 && (link.st_uid == 0 || link.st_uid == geteuid());
  if (ours) return open(path.c_str(), kFlags, 0640);
  errno = ELOOP;
  return -1;
}

}  // namespace

std::string log_configure(const LogTarget& target) {
  Log& log = the_log();
  const std::lock_guard<std::mutex> guard(log.mutex);
  const int file = target.file.empty() ? -1 : open_file(target.file);
  if (!target.file.empty() && file < 0) {
    return fmt::format("cannot open the log file \"{}\": {}", target.file, std::strerror(errno));
  }
  log.sinks = {};  // the old syslog sink closes syslog as it ends, hence it ends before the new one opens it
  if (file >= 0) log.sinks.lines.push_back(std::make_shared<LineSink>(file, true));
  if (target.to_stderr) log.sinks.lines.push_back(std::make_shared<LineSink>(STDERR_FILENO, false));
  if (target.syslog) {
    log.sinks.system = std::make_shared<spdlog::sinks::syslog_sink_mt>(
        target.syslog_ident, LOG_PID, syslog_facility(target.syslog_facility), false);
  }
  log.target = target;
  const LogLevel least = target.verbose >= 2   ? LogLevel::kNoise
                         : target.verbose == 1 ? LogLevel::kDebug
                                               : LogLevel::kLog;
  least_level.store(static_cast<int>(least), std::memory_order_relaxed);
  return {};
}

std::string log_reopen() {
  LogTarget target;
  {
    Log& log = the_log();
    const std::lock_guard<std::mutex> guard(log.mutex);
    target = log.target;
  }
  return log_configure(target);
}

bool log_wants(LogLevel level) {
  return static_cast<int>(level) >= least_level.load(std::memory_order_relaxed);
}

void log_line(LogLevel level, std::string_view text) {
  if (!log_wants(level)) return;
  const std::string safe = escape_controls(text);
  const std::string line = format_line(level, safe);
  const spdlog::level::level_enum spdlog = spdlog_level(level);
  Log& log = the_log();
  const std::lock_guard<std::mutex> guard(log.mutex);
  const spdlog::details::log_msg whole({}, spdlog, line);
  for (const auto& sink : log.sinks.lines) sink->log(whole);
  if (log.sinks.system) log.sinks.system->log(spdlog::details::log_msg({}, spdlog, safe));
}

void log_lines(LogLevel level, std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    log_line(level, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace berth
