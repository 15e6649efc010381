// What happens before the first client and after the last one: the command line, limits, privileges, the background,
// the listening sockets, the words to systemd. Small functions that main calls on its one thread. The order matters:
//
//   limits while the process is still root; then drop_privileges, so that files and sockets belong to the user that
//   has to remove them; then the background, before any thread starts; the pidfile once the process has its last
//   number.
#pragma once

#include <string>
#include <vector>

#include "base/pidfile.h"
#include "base/result.h"
#include "config/config.h"
#include "worker/worker.h"

namespace berth {

struct CommandLine {
  std::string config;
  std::string user;  // -u: goes before the file's `user`
  std::string docs;  // --docs: "config" or "admin", to be printed
  int verbose = 0;   // how many -v
  bool daemon = false;
  bool quiet = false;
  bool check = false;
  int exit_code = -1;  // not negative: the command line is dealt with (-h, -V, a mistake), end with it
};

// Prints what -h, -V and mistakes ask for.
CommandLine read_command_line(int argc, const char* const* argv);

// Raises the soft limit of file descriptors to the hard one, and as root that one too if more is needed. The text is
// a warning that the limit is too low for all clients and servers that the configuration allows; empty: it is enough.
std::string raise_file_limit(const config::Config& config);

// Becomes `user` (empty: stays). Only root can; a process that is not root stays who it is and warns. An Error when
// the user does not exist, or when the process would run as root.
Result<bool> drop_privileges(const std::string& user);

// Which of the files that made this configuration this process may not read: after drop_privileges, what a reload
// will not find.
std::vector<config::Remark> unreadable_files(const config::Config& config);
// Of those that a reload does without.
std::vector<config::Remark> unreadable_optional_files(const config::Config& config);

// Gives up what the process needs no more once its sockets are open: capabilities (a port below 1024 may have needed
// one), and for ever the way to get any by running a program (no_new_privs). Before any thread starts.
void drop_capabilities();

// Going to the background. The process that the shell waits for lives until its child says that it is ready, or has
// ended: so `pgberth -d` fails visibly, and what fails is said on the terminal.
class Daemon {
 public:
  Daemon() = default;
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon();
  // Returns in the child only. The working directory stays, so that relative paths keep their meaning.
  Result<bool> start();
  // The parent ends with 0, and stdin, stdout and stderr become /dev/null. Does nothing without start().
  void ready();

 private:
  int tell_ = -1;
};

// The pidfile of the setting (base/pidfile.h), removed at the end. Empty path: none.
class PidFile {
 public:
  PidFile() = default;
  ~PidFile() { held_.remove(); }
  Result<bool> create(const std::string& path);
  void remove() { held_.remove(); }

 private:
  Pidfile held_;
};

// The sockets of listen_port, transaction_port and session_port: TCP for each of listen_addr, and the Unix socket. An
// Error has a line for each that cannot be had; then none is open.
Result<std::vector<worker::Listener>> open_listeners(const config::Config& config);
// Closes them and removes the files of the Unix sockets that are still theirs.
void close_listeners(std::vector<worker::Listener>& listeners);
// Those settings of listening sockets that a reload may change (tcp_defer_accept, tcp_keepalive).
void tune_listeners(const std::vector<worker::Listener>& listeners, const config::Options& options);

// Whether the process at the other end of a Unix socket belongs to the broker's own user: an admin without a
// password.
bool peer_is_own_user(int descriptor);

// A line of systemd's notify protocol ("READY=1", "RELOADING=1", "STOPPING=1"); nothing happens outside of systemd.
void notify_systemd(const std::string& state);

}  // namespace berth
