// The process: reads the configuration, starts the workers, then waits for signals until the end.
#include <openssl/crypto.h>
#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>
#include <iostream>

#include "admin/console.h"
#include "admin/docs.h"
#include "admin/version.h"
#include "auth/mock.h"
#include "base/log.h"
#include "base/secret_memory.h"
#include "boot.h"
#include "check.h"
#include "config/diff.h"
#include "config/docs.h"
#include "config/files.h"
#include "config/load.h"
#include "config/show.h"
#include "link/auth_query_thread.h"
#include "link/link_thread.h"
#include "link/pq.h"
#include "net/openssl_memory.h"
#include "worker/dispatch.h"

namespace berth {
namespace {

using session::Shutdown;

constexpr int kWakeSignal = SIGURG;             // other threads ring main with it
constexpr Micros kWatchdogAfter = 1 * kSecond;  // a worker's loop that has not turned for so long is reported

// OpenSSL keeps the numbers of private keys in memory like that of base/secret_memory.h, if there is any.
constexpr size_t kPrivateKeyMemory = 256 * 1024;
constexpr size_t kPrivateKeyMemoryLeast = 32;

class Process {
 public:
  explicit Process(const CommandLine& command)
      : command_(command), start_{config::working_directory(), command.user} {}
  int run();

 private:
  Result<bool> start();
  void loop();
  void on_signal(int number);
  std::string reload();
  std::string take(const config::Config& loaded);
  std::string set(const std::string& key, const std::string& value);
  void set_dns_lifetimes();
  void put_in_place(std::shared_ptr<const config::Config> next);
  void shut_down(Shutdown how);
  void watch();
  void look_at_tls_files();
  bool finished() const;
  LogTarget log_target(const config::Config& config) const;

  const CommandLine& command_;
  const config::Start start_;
  std::shared_ptr<const config::Config> config_;
  Daemon daemon_;
  PidFile pidfile_;
  std::unique_ptr<worker::Fleet> fleet_;
  std::unique_ptr<worker::FleetDispatcher> dispatcher_;
  std::vector<std::unique_ptr<worker::Worker>> workers_;
  std::vector<std::unique_ptr<admin::ConsoleImpl>> consoles_;
  std::unique_ptr<link::LinkThread> link_;
  std::unique_ptr<link::AuthQueryThread> auth_query_;
  bool stop_ = false;  // at once
};

LogTarget Process::log_target(const config::Config& config) const {
  LogTarget target;
  target.file = config.options.logfile;
  target.to_stderr = !command_.quiet && !command_.daemon;
  target.syslog = config.options.syslog;
  target.syslog_ident = config.options.syslog_ident;
  target.syslog_facility = config.options.syslog_facility;
  target.verbose = std::max(command_.verbose, static_cast<int>(config.options.verbose));
  return target;
}

void log_warnings(const config::Config& config) {
  for (const config::Remark& warning : config.warnings) LOG_WARNING("{}", warning.format());
  for (const config::Remark& warning : link::unknown_to_libpq(config)) LOG_WARNING("{}", warning.format());
}

Result<bool> Process::start() {
  // Both before OpenSSL's first allocation, and so before the first key.
  const std::string unwatched = net::watch_openssl_memory();
  CRYPTO_secure_malloc_init(kPrivateKeyMemory, kPrivateKeyMemoryLeast);
  Result<std::shared_ptr<const config::Config>> loaded = config::load_config(command_.config, nullptr, start_);
  wipe_deep_stack();
  if (!loaded) return loaded.error();
  config_ = loaded.value();
  if (command_.daemon && config_->options.pidfile.empty()) return Error{"daemon needs pidfile configured", {}};
  const std::string& user = command_.user.empty() ? config_->options.user : command_.user;
  // Limits while still root; sockets after: their files belong to the user.
  const std::string files = raise_file_limit(*config_);
  if (Result<bool> dropped = drop_privileges(user); !dropped) return dropped;
  if (command_.daemon) {
    if (Result<bool> forked = daemon_.start(); !forked) return forked;
  }
  settle_secret_memory();
  if (const std::string error = log_configure(log_target(*config_)); !error.empty()) return Error{error, {}};
  log_warnings(*config_);
  for (const config::Remark& remark : unreadable_files(*config_)) LOG_WARNING("{}", remark.format());
  for (const config::Remark& remark : unreadable_optional_files(*config_)) LOG_WARNING("{}", remark.format());
  if (!unwatched.empty()) LOG_WARNING("{}", unwatched);
  if (!files.empty()) LOG_WARNING("{}", files);
  if (Result<bool> held = pidfile_.create(config_->options.pidfile); !held) return held;
  int count = static_cast<int>(config_->options.workers);
  if (count <= 0) count = static_cast<int>(std::thread::hardware_concurrency());
  count = std::clamp(count, 1, pool::kWorkersMax);
  fleet_ = std::make_unique<worker::Fleet>(count);
  Result<session::TlsContexts::Next> tls = fleet_->globals.tls.prepare(*config_);
  if (!tls) return tls.error();
  fleet_->globals.tls.put(std::move(tls.value()));
  fleet_->globals.tls.warn_of_expiry(monotonic_now());
  // Of the secrets that outlive the process, the one that nobody can guess.
  const auto for_clients = fleet_->globals.tls.clients.context();
  if (for_clients && !for_clients->key_digest().empty()) auth::make_salts_from(for_clients->key_digest().view());
  Result<std::vector<worker::Listener>> listeners = open_listeners(*config_);
  if (!listeners) return listeners.error();
  fleet_->listeners = std::move(listeners.value());
  drop_capabilities();
  for (const worker::Listener& listener : fleet_->listeners) {
    LOG_INFO("listening on {}", net::local_address(listener.descriptor).text());
  }
  dispatcher_ = std::make_unique<worker::FleetDispatcher>(*fleet_, kWakeSignal);
  dispatcher_->on_reload = [this] { return reload(); };
  dispatcher_->on_set = [this](const std::string& key, const std::string& value) { return set(key, value); };
  dispatcher_->on_shutdown = [this](Shutdown how) { shut_down(how); };
  fleet_->globals.clients.limit = config_->options.max_client_conn;
  session::make_identity(fleet_->globals.identity, admin::kBrokerNumber, config_->options.listen_port);
  set_dns_lifetimes();
  for (int index = 0; index < count; ++index) {
    uint64_t seed;
    fill_secure(&seed, sizeof seed);
    workers_.push_back(std::make_unique<worker::Worker>(*fleet_, index, config_, seed));
    worker::Worker& worker = *workers_.back();
    consoles_.push_back(std::make_unique<admin::ConsoleImpl>(worker.context(), *dispatcher_));
    worker.context().console = consoles_.back().get();
    worker.context().console_peer = peer_is_own_user;
    worker.on_tick = [console = consoles_.back().get()](session::Context&) { console->on_tick(); };
  }
  std::vector<net::Address> places;
  for (const worker::Listener& listener : fleet_->listeners)
    places.push_back(net::local_address(listener.descriptor));
  uint64_t seed;
  fill_secure(&seed, sizeof seed);
  link_ = std::make_unique<link::LinkThread>(fleet_->globals, fleet_->resolver, std::move(places), seed);
  fill_secure(&seed, sizeof seed);
  auth_query_ = std::make_unique<link::AuthQueryThread>(fleet_->globals, fleet_->resolver, fleet_->helpers, seed);
  fleet_->secrets = auth_query_.get();
  auth_query_->start(config_);
  for (auto& worker : workers_) worker->start();
  link_->start(config_);
  LOG_INFO("process up: {}, {} worker{}, max_client_conn {}", admin::kBrokerVersion, count, count == 1 ? "" : "s",
           config_->options.max_client_conn);
  return true;
}

// Puts what the file says now in place, or says why nothing of it is.
std::string Process::take(const config::Config& loaded) {
  const std::shared_ptr<const config::Config> next = config::merge_reload(*config_, loaded);
  Result<session::TlsContexts::Next> tls = fleet_->globals.tls.prepare(*next);
  if (!tls) {
    LOG_ERROR("reload failed, the running configuration stays:\n{}", tls.error().text);
    return tls.error().text;
  }
  const config::Diff diff = config::diff_configs(*config_, loaded);
  log_warnings(loaded);
  for (const std::string& line : diff.lines) LOG_INFO("reload: {}", line);
  for (const std::string& name : diff.needs_restart) {
    LOG_WARNING("reload: {} needs a restart: the running value stays", name);
  }
  std::string error = log_configure(log_target(*next));
  if (!error.empty()) LOG_ERROR("reload: {}", error);
  fleet_->globals.tls.put(std::move(tls.value()));
  put_in_place(next);
  fleet_->resolver.forget();
  return error;
}

std::string Process::reload() {
  notify_systemd("RELOADING=1");
  Result<std::shared_ptr<const config::Config>> loaded =
      config::load_config(config_->options.conffile, nullptr, start_);
  wipe_deep_stack();
  std::string error = loaded ? config::cut_off(*config_, *loaded.value()) : loaded.error().text;
  if (!error.empty()) {
    LOG_ERROR("reload failed, the running configuration stays:\n{}", error);
  } else {
    error = take(*loaded.value());
  }
  if (const std::string reopened = log_reopen(); !reopened.empty()) LOG_ERROR("cannot reopen the log: {}", reopened);
  notify_systemd("READY=1");
  return error;
}

// SET on the console. A log file that cannot be opened is refused like any other value, and nothing changes.
std::string Process::set(const std::string& key, const std::string& value) {
  Result<std::shared_ptr<const config::Config>> next = config::set_option(*config_, key, value);
  if (!next) return next.error().text;
  Result<session::TlsContexts::Next> tls = fleet_->globals.tls.prepare(*next.value(), session::TlsFiles::kKeep);
  if (!tls) return tls.error().text;
  const LogTarget target = log_target(*next.value());
  if (target != log_target(*config_)) {
    if (std::string error = log_configure(target); !error.empty()) return error;
  }
  fleet_->globals.tls.put(std::move(tls.value()));
  put_in_place(next.value());
  return {};
}

// What the resolver knows already keeps its time.
void Process::set_dns_lifetimes() {
  fleet_->resolver.set_lifetimes(config_->options.dns_max_ttl, config_->options.dns_nxdomain_ttl);
}

void Process::put_in_place(std::shared_ptr<const config::Config> next) {
  config_ = std::move(next);
  set_dns_lifetimes();
  tune_listeners(fleet_->listeners, config_->options);
  dispatcher_->spread(config_);
  link_->reconfigure(config_);
  auth_query_->reconfigure(config_);
}

void Process::shut_down(Shutdown how) {
  session::Globals& globals = fleet_->globals;
  const Shutdown before = globals.shutdown.load();
  if (how == Shutdown::kNow || before != Shutdown::kNo) {  // a second request does not wait
    LOG_INFO("shutting down at once");
    stop_ = true;
    return;
  }
  LOG_INFO("shutting down, {}", how == Shutdown::kWaitForClients ? "waiting for client connections"
                                                                 : "waiting for server connections to be released");
  notify_systemd("STOPPING=1");
  globals.shutdown.store(how);
  if (how == Shutdown::kWaitForServers) globals.paused.store(true);
}

void Process::on_signal(int number) {
  switch (number) {
    case SIGHUP:
      LOG_INFO("got SIGHUP, re-reading config");
      reload();
      break;
    case SIGTERM:
      LOG_INFO("got SIGTERM");
      shut_down(Shutdown::kWaitForClients);
      break;
    case SIGINT:
      LOG_INFO("got SIGINT");
      shut_down(Shutdown::kWaitForServers);
      break;
    case SIGQUIT:
      LOG_INFO("got SIGQUIT");
      shut_down(Shutdown::kNow);
      break;
    case SIGUSR1:
      LOG_INFO("got SIGUSR1, pausing all activity");
      admin::pause_all(*dispatcher_, fleet_->globals);
      break;
    case SIGUSR2:
      LOG_INFO("got SIGUSR2, continuing from pause");
      admin::resume_all(*dispatcher_, fleet_->globals);
      break;
    default: break;  // kWakeSignal
  }
  dispatcher_->run_pending();
}

// Certificates are renewed by programs that know nothing of us.
void Process::look_at_tls_files() {
  session::TlsContexts& tls = fleet_->globals.tls;
  if (tls.refresh(*config_)) put_in_place(config_);
  tls.warn_of_expiry(monotonic_now());
}

void Process::watch() {
  const Micros now = monotonic_now();
  for (size_t i = 0; i < workers_.size(); ++i) {
    const Micros since = now - workers_[i]->turned_at.load(std::memory_order_relaxed);
    if (since > kWatchdogAfter && workers_[i]->turned_at.load(std::memory_order_relaxed) > 0) {
      LOG_WARNING("worker {} has not turned its loop for {} ms, doing: {}", i, since / kMillisecond,
                  workers_[i]->doing.load());
    }
  }
}

bool Process::finished() const {
  if (stop_) return true;
  if (fleet_->globals.shutdown.load() == Shutdown::kNo) return false;
  for (const auto& worker : workers_) {
    if (!worker->drained.load(std::memory_order_relaxed)) return false;
  }
  return true;
}

void Process::loop() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, kWakeSignal}) sigaddset(&signals, number);
  Micros watched = monotonic_now(), looked_at_files = watched;
  while (!finished()) {
    const bool ending = fleet_->globals.shutdown.load() != Shutdown::kNo;
    const timespec wait{ending ? 0 : 1, ending ? 50'000'000 : 0};
    const int number = sigtimedwait(&signals, nullptr, &wait);
    if (number > 0) on_signal(number);
    fleet_->mailboxes.flush_outbox(fleet_->workers);
    if (monotonic_now() - watched >= kSecond) {
      watched = monotonic_now();
      watch();
    }
    if (monotonic_now() - looked_at_files >= session::kTlsFilesEvery) {
      looked_at_files = monotonic_now();
      look_at_tls_files();
    }
  }
}

int Process::run() {
  if (Result<bool> started = start(); !started) {
    LOG_ERROR("{}", started.error().text);
    if (command_.quiet || command_.daemon) std::cerr << started.error().text << "\n";
    return 1;
  }
  daemon_.ready();
  notify_systemd("READY=1");
  loop();
  link_->leave(stop_);  // the databases are told while the workers close what is left
  for (auto& worker : workers_) worker->stop();
  for (auto& worker : workers_) worker->join();
  const bool link_ended = link_->join();
  auth_query_->stop();
  close_listeners(fleet_->listeners);
  if (!link_ended) LOG_WARNING("the link does not end: a server keeps it busy");
  LOG_INFO("done");
  if (!link_ended) {
    pidfile_.remove();
    std::_Exit(0);
  }
  return 0;
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) {
  using namespace berth;
  // Blocked before any thread starts: only main waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, kWakeSignal}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  link::forget_environment();
  const CommandLine command = read_command_line(argc, argv);
  if (command.exit_code >= 0) return command.exit_code;
  if (!command.docs.empty()) {
    std::cout << (command.docs == "admin" ? admin::admin_markdown() : config::config_markdown());
    return 0;
  }
  if (command.check) return check_config(command);
  Process process(command);
  return process.run();
}
