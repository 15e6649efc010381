// See boot.h. In its order.
#include "boot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "admin/version.h"
#include "base/log.h"
#include "base/time.h"

namespace berth {

namespace {

constexpr std::string_view kHelp = R"(pgberth is a connection broker for PostgreSQL, a drop-in for PgBouncer.

Usage:
  pgberth [OPTION]... CONFIG_FILE

Options:
  -d, --daemon         run in background (as a daemon)
  -q, --quiet          run quietly: no log on stderr
  -u, --user=USERNAME  assume identity of USERNAME
  -v, --verbose        increase verbosity
      --check          say all that is wrong with CONFIG_FILE, then exit
      --docs=PAGE      print docs/config.md or docs/admin.md (PAGE: config, admin), then exit
  -V, --version        show version, then exit
  -h, --help           show this help, then exit
)";

CommandLine ending(int code, const std::string& text) {
  fmt::print(code == 0 ? stdout : stderr, "{}", text);
  CommandLine out;
  out.exit_code = code;
  return out;
}

CommandLine mistake(const std::string& why) {
  return ending(1, fmt::format("pgberth: {}\nTry \"pgberth --help\" for more information.\n", why));
}

constexpr uint64_t kFilesPerWorker = 8;  // epoll, eventfd and the like
constexpr uint64_t kFilesOfProcess = 64;

}  // namespace

CommandLine read_command_line(int argc, const char* const* argv) {
  CommandLine out;
  bool reboot = false, version = false, help = false;
  CLI::App app;
  app.set_help_flag();  // ours has PgBouncer's form
  app.add_flag("-d,--daemon", out.daemon);
  app.add_flag("-q,--quiet", out.quiet);
  app.add_flag("-R,--reboot", reboot);
  app.add_flag("-V,--version", version);
  app.add_flag("-h,--help", help);
  app.add_flag("--check", out.check);
  app.add_flag("-v,--verbose", out.verbose);
  app.add_option("-u,--user", out.user);
  app.add_option("--docs", out.docs);
  app.add_option("CONFIG_FILE", out.config);
  try {  // CLI11 reports by exceptions; they end here
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return mistake(error.what());
  }
  if (help) return ending(0, std::string(kHelp));
  if (version) return ending(0, fmt::format("{} (as {})\n", admin::kBrokerVersion, admin::kPgBouncerVersion));
  if (!out.docs.empty()) {
    if (out.docs == "config" || out.docs == "admin") return out;
    return mistake(fmt::format("no such page: {} (config, admin)", out.docs));
  }
  if (reboot) {
    return mistake(
        "-R does not work; PgBouncer has removed it as well. Stop the old process (SIGINT lets transactions end), "
        "then "
        "start the new one");
  }
  if (out.config.empty()) return mistake("no configuration file specified");
  return out;
}

// What all clients and servers may use at most. A database without a forced user has a pool for each user.
static uint64_t files_needed(const config::Config& config) {
  const uint64_t users = std::max<uint64_t>(1, config.secrets.size());
  uint64_t servers = 0;
  for (const config::DatabaseEntry& database : config.databases) {
    const uint64_t pools = database.user.empty() ? users : 1;
    const uint64_t pool = static_cast<uint64_t>(config.pool_size(database, nullptr)) +
                          static_cast<uint64_t>(config.reserve_pool_size(database, nullptr));
    const uint64_t limit = static_cast<uint64_t>(config.max_db_connections(database));
    const uint64_t most = pool * pools;
    servers += limit > 0 ? std::min(limit, most) : most;
  }
  return static_cast<uint64_t>(config.options.max_client_conn) + servers + pool::kWorkersMax * kFilesPerWorker +
         kFilesOfProcess;
}

std::string raise_file_limit(const config::Config& config) {
  const uint64_t needed = files_needed(config);
  // Connections before their login may find no descriptor: then some of them make room (Worker::on_accept_failed).
  const uint64_t wanted = needed + static_cast<uint64_t>(config.options.max_unauthenticated_connections);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return fmt::format("cannot read the file descriptor limit: {}", std::strerror(errno));
  }
  if (limit.rlim_max < wanted && geteuid() == 0) {
    const rlimit more{wanted, wanted};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) limit = more;
  }
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit more{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) limit = more;
  }
  if (limit.rlim_cur >= needed) return {};
  return fmt::format(
      "the file descriptor limit of {} is too low: max_client_conn {} and all pools may need {}. Raise it (ulimit "
      "-n, "
      "LimitNOFILE in systemd), or lower max_client_conn",
      limit.rlim_cur, config.options.max_client_conn, needed);
}

Result<bool> drop_privileges(const std::string& name) {
  const Error as_root{"pgberth should not run as root: set `user` in the configuration file, or start it with -u",
                      {}};
  if (name.empty()) {
    if (geteuid() == 0) return as_root;
    return true;
  }
  const passwd* entry = getpwnam(name.c_str());
  if (!entry) return Error{fmt::format("could not find user '{}' to switch to", name), {}};
  const passwd user = *entry;
  if (user.pw_uid == 0) return as_root;
  if (getuid() == user.pw_uid && geteuid() == user.pw_uid) return true;
  if (geteuid() != 0) {
    LOG_WARNING("only root can become user '{}': running as user number {}", name, geteuid());
    return true;
  }
  if (initgroups(name.c_str(), user.pw_gid) != 0 || setgid(user.pw_gid) != 0 || setuid(user.pw_uid) != 0) {
    return Error{fmt::format("failed to assume identity of user '{}': {}", name, std::strerror(errno)), {}};
  }
  ASSERT(getuid() == user.pw_uid && geteuid() == user.pw_uid && getegid() == user.pw_gid);
  ASSERT(setuid(0) != 0);  // there must be no way back
  return true;
}

namespace {

std::vector<config::Remark> unreadable(const std::vector<std::string>& files, const char* what_follows) {
  std::vector<config::Remark> out;
  for (const std::string& file : files) {
    if (access(file.c_str(), R_OK) == 0) continue;
    out.push_back(
        {file,
         0,
         {},
         fmt::format("user number {} cannot read it ({}): {}", geteuid(), std::strerror(errno), what_follows)});
  }
  return out;
}

}  // namespace

std::vector<config::Remark> unreadable_files(const config::Config& config) {
  return unreadable(config.files, "every reload would be refused");
}

std::vector<config::Remark> unreadable_optional_files(const config::Config& config) {
  return unreadable(config.optional_files, "a reload would lose its secrets");
}

void drop_capabilities() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct of_this_process{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = {};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  const bool has_none = syscall(SYS_capget, &of_this_process, held) == 0 && std::memcmp(held, none, sizeof none) == 0;
  if (!has_none && syscall(SYS_capset, &of_this_process, none) != 0) {
    LOG_WARNING("cannot drop capabilities: {}", std::strerror(errno));
  }
}

namespace {

// The parent waits for the byte that ready() writes. Without it the child has ended, and has said why.
[[noreturn]] void wait_for_child(int hear, pid_t child) {
  char byte;
  ssize_t got;
  do {
    got = read(hear, &byte, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) _exit(0);
  int status = 0;
  waitpid(child, &status, 0);
  _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

}  // namespace

Result<bool> Daemon::start() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error{fmt::format("cannot make a pipe: {}", std::strerror(errno)), {}};
  const pid_t child = fork();
  if (child < 0) {
    const Error error{fmt::format("cannot go to the background: {}", std::strerror(errno)), {}};
    close(ends[0]);
    close(ends[1]);
    return error;
  }
  if (child > 0) {
    close(ends[1]);
    wait_for_child(ends[0], child);
  }
  close(ends[0]);
  setsid();  // cannot fail: a child leads no process group
  tell_ = ends[1];
  return true;
}

Daemon::~Daemon() {
  if (tell_ >= 0) close(tell_);
}

void Daemon::ready() {
  if (tell_ < 0) return;
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
    if (null > STDERR_FILENO) close(null);
  }
  const char byte = 1;
  while (write(tell_, &byte, 1) < 0 && errno == EINTR) continue;
  close(std::exchange(tell_, -1));
}

Result<bool> PidFile::create(const std::string& path) {
  if (path.empty()) return true;
  Result<Pidfile> claimed = Pidfile::claim(path);
  if (!claimed) return claimed.error();
  held_ = std::move(claimed.value());
  const std::string why = held_.write();
  if (!why.empty()) return Error{why, {}};
  return true;
}

bool peer_is_own_user(int descriptor) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

void notify_systemd(const std::string& state) {
  // Since systemd 253 a reload counts as begun only with its time.
  const bool reloading = state == "RELOADING=1";
  sd_notify(0, reloading ? fmt::format("{}\nMONOTONIC_USEC={}", state, monotonic_now()).c_str() : state.c_str());
}

}  // namespace berth
