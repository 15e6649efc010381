// The file with the process's number: proof that one broker of this file runs, and the number to signal.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace berth {

// Holds the file by a lock of the open file (flock), which outlives a fork and ends with the process however it ends:
// what a crash leaves behind is stale and is taken over. Owned by main; written once the process has its last number.
class Pidfile {
 public:
  // Locks the file and makes it if needed. An Error: another broker holds it, a running pgbouncer wrote it (that one
  // does not lock), it is no such file, or it cannot be opened.
  static Result<Pidfile> claim(const std::string& path);

  Pidfile() = default;  // none: nothing is held
  Pidfile(Pidfile&& other) noexcept;
  Pidfile& operator=(Pidfile&& other) noexcept;
  Pidfile(const Pidfile&) = delete;
  // Lets go and leaves the file, so that the parent of a daemon may end without removing it.
  ~Pidfile();

  // Writes this process's number. Empty: done.
  std::string write();
  // Removes the file if it is still the one that is held and this process wrote it.
  void remove();

 private:
  Pidfile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  bool is_still_there() const;

  std::string path_;
  int fd_ = -1;
  pid_t written_by_ = 0;
};

}  // namespace berth
