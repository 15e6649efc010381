// The log, in PgBouncer's format: `2026-11-26 12:08:26.123 UTC [4711] LOG C-0x55d0: db/user@addr:port text`.
// Any thread may log; a line is never torn, and is with the operating system when log_line returns. Nothing on the
// path of a query logs. Secrets never reach it. Before the first log_configure lines go to stderr.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace berth {

enum class LogLevel { kNoise, kDebug, kLog, kWarning, kError, kFatal };

struct LogTarget {
  std::string file;       // empty: none
  bool to_stderr = true;  // off when daemonized or quiet
  bool syslog = false;
  std::string syslog_ident = "pgberth";
  std::string syslog_facility = "daemon";
  int verbose = 0;  // 1 shows kDebug, 2 shows kNoise
  bool operator==(const LogTarget&) const = default;
};

// Opens the targets of `target` and uses them from now on; keeps the old ones and returns the reason when the file
// cannot be opened. Empty: done.
std::string log_configure(const LogTarget& target);
// Closes and opens the file again under its name (SIGHUP, after rotation). Empty: done.
std::string log_reopen();
bool log_wants(LogLevel level);
// Writes one line. Control characters in `text`, which may quote what a client sent, are escaped: nobody can forge a
// second line. Never fails: what a full disk does not take is lost, and the next line that it takes says how many.
void log_line(LogLevel level, std::string_view text);
// A text of our own that has several lines (all mistakes of a file): each as a line of the log.
void log_lines(LogLevel level, std::string_view text);

template <typename... Args>
void log_at(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_wants(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}
#define LOG_INFO(...) ::berth::log_at(::berth::LogLevel::kLog, __VA_ARGS__)
#define LOG_WARNING(...) ::berth::log_at(::berth::LogLevel::kWarning, __VA_ARGS__)
#define LOG_ERROR(...) ::berth::log_at(::berth::LogLevel::kError, __VA_ARGS__)
#define LOG_DEBUG(...) ::berth::log_at(::berth::LogLevel::kDebug, __VA_ARGS__)
#define LOG_NOISE(...) ::berth::log_at(::berth::LogLevel::kNoise, __VA_ARGS__)

}  // namespace berth
