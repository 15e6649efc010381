#include "link/link_thread.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <set>

#include "base/log.h"
#include "base/secret_memory.h"
#include "link/console_address.h"
#include "link/doorbell.h"

namespace berth::link {

struct LinkThread::Answer {
  uint64_t attempt;
  Result<std::vector<net::Address>> addresses;
};

struct LinkThread::Inbox {
  Doorbell bell;
  std::mutex mutex;  // guards the rest
  std::shared_ptr<const config::Config> config;
  std::vector<Answer> answers;
  bool leave = false;
  bool at_once = false;
  bool over = false;  // the thread's last word
  std::condition_variable over_changed;
};

namespace {

// A link that is to be replaced by another one is soon gone.
constexpr Micros kReplaceAgain = 50 * kMillisecond;

std::string_view text_of(const LinkMachine& machine) {
  if (machine.state() == LinkState::kLeaving) return "leaving";
  if (machine.registered()) return "up";
  switch (machine.condition()) {
    case Condition::kNew:
    case Condition::kNone: break;
    case Condition::kFailed: return "waiting";
    case Condition::kAbsent: return "absent";
    case Condition::kStandby: return "standby";
    case Condition::kDenied: return "denied";
    case Condition::kShared: return "shared";
  }
  return "connecting";
}

session::LinkRow row_of(const Target& target) {
  return {.host = target.host, .port = target.port, .server_database = target.dbname, .user = target.user};
}

}  // namespace

LinkThread::LinkThread(session::Globals& globals, net::Resolver& resolver, std::vector<net::Address> listeners,
                       uint64_t seed)
    : globals_(globals),
      resolver_(resolver),
      listeners_(std::move(listeners)),
      random_(seed),
      inbox_(std::make_shared<Inbox>()) {}

LinkThread::~LinkThread() {
  leave(true);
  if (thread_.joinable()) thread_.join();
}

void LinkThread::start(std::shared_ptr<const config::Config> config) {
  config_ = std::move(config);
  tls_seen_ = globals_.tls.servers_changed.load(std::memory_order_acquire);
  thread_ = std::thread([this] { run(); });
}

void LinkThread::reconfigure(std::shared_ptr<const config::Config> config) {
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    inbox_->config = std::move(config);
  }
  inbox_->bell.ring();
}

void LinkThread::leave(bool at_once) {
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    inbox_->leave = true;
    inbox_->at_once = inbox_->at_once || at_once;
  }
  inbox_->bell.ring();
}

bool LinkThread::join() {
  if (!thread_.joinable()) return true;
  {
    std::unique_lock<std::mutex> lock(inbox_->mutex);
    const auto within = std::chrono::microseconds(kLinkEndsWithin);
    if (!inbox_->over_changed.wait_for(lock, within, [this] { return inbox_->over; })) return false;
  }
  thread_.join();
  return true;
}

// ---- the thread

void LinkThread::run() {
  keep_thread_out_of_dumps();  // libpq keeps passwords in ordinary memory, and frees copies as they are
  now_ = monotonic_now();
  while (!ended()) {
    take_inbox();
    if (!leaving_ && now_ >= look_at_) look_at_targets();
    take_over();
    for (Managed& link : links_) {
      perform(link, link.machine.on_time(now_));
      tell(link);
    }
    links_.remove_if([](const Managed& link) { return link.machine.state() == LinkState::kGone; });
    publish();
    if (!ended()) wait();
  }
  const std::lock_guard<std::mutex> guard(inbox_->mutex);
  inbox_->over = true;
  inbox_->over_changed.notify_all();
}

bool LinkThread::ended() const {
  return leaving_ && links_.empty();
}

void LinkThread::take_inbox() {
  std::vector<Answer> answers;
  std::shared_ptr<const config::Config> config;
  bool leave, at_once;
  {
    const std::lock_guard<std::mutex> guard(inbox_->mutex);
    answers.swap(inbox_->answers);
    config.swap(inbox_->config);
    leave = inbox_->leave;
    at_once = inbox_->at_once;
  }
  if (config) take_config(std::move(config));
  for (const Answer& answer : answers) on_resolved(answer);
  if (leave && !leaving_) {
    leaving_ = true;
    for (Managed& link : links_) perform(link, link.machine.leave(now_));
  }
  if (leave && at_once) links_.clear();  // who hangs up is gone for the database, too
}

// A link says the console's secret at each registration, so one that was opened under other TLS settings, or proved
// by other roots, is made anew, like a worker's servers.
void LinkThread::take_config(std::shared_ptr<const config::Config> config) {
  const uint32_t tls = globals_.tls.servers_changed.load(std::memory_order_acquire);
  const bool outdated =
      tls != tls_seen_ || config->options.server_channel_binding != config_->options.server_channel_binding;
  tls_seen_ = tls;
  config_ = std::move(config);
  look_at_ = now_;
  unreachable_told_ = false;
  for (Managed& link : links_) {
    if (outdated) perform(link, link.machine.on_failed("the TLS settings have changed", now_));
    link.machine.hurry(now_);
  }
}

// Databases with open servers; one that has a link keeps it for as long as it has clients. (Clients alone prove
// nothing: they may have asked for a database that is not there.)
std::vector<std::string> LinkThread::in_use() const {
  std::set<std::string_view> linked;
  for (const Managed& link : links_) linked.insert(link.target.names.begin(), link.target.names.end());
  std::vector<std::string> names;
  globals_.registry.each_database([&](const pool::SharedDatabase& database) {
    const bool has_servers = database.servers.used.load(std::memory_order_relaxed) > 0;
    const bool has_clients = database.clients.used.load(std::memory_order_relaxed) > 0;
    if (has_servers || (has_clients && linked.contains(database.name))) names.push_back(database.name);
  });
  return names;
}

// Links whose target is no longer wanted leave; a target that has none yet gets one as soon as an old link to the
// same place is gone (else the old one would deregister the new one).
void LinkThread::look_at_targets() {
  const bool fallback = config_->find_database("*") != nullptr;
  look_at_ = fallback && config_->options.link == "auto" ? now_ + kLookAgain : kNever;
  std::vector<Target> targets = targets_of(*config_, fallback ? in_use() : std::vector<std::string>());
  for (Managed& link : links_) {
    const auto wanted = std::find(targets.begin(), targets.end(), link.target);
    if (wanted == targets.end()) perform(link, link.machine.leave(now_));
    const auto same = std::find_if(targets.begin(), targets.end(),
                                   [&](const Target& target) { return target.same_place(link.target); });
    if (same == targets.end()) continue;
    if (link.machine.leaving()) look_at_ = std::min(look_at_, now_ + kReplaceAgain);
    targets.erase(same);
  }
  nobody_.clear();
  for (Target& target : targets) {
    if (target.user.empty()) {
      nobody_.push_back(std::move(target));
      continue;
    }
    Managed& link = links_.emplace_back(random_.next());
    link.target = std::move(target);
  }
  tell_nobody();
}

// One line for all of them: most who read it have never heard of the extension.
void LinkThread::tell_nobody() {
  std::string names;
  for (const Target& target : nobody_) {
    for (const std::string& name : target.names) names += (names.empty() ? "\"" : ", \"") + name + "\"";
  }
  if (!names.empty() && names != nobody_told_) {
    LOG_INFO("link: set link_user (or link = off): there is no user to ask database {} for the extension pgberth",
             names);
  }
  nobody_told_ = names;
}

void LinkThread::perform(Managed& link, Step step) {
  const session::Identity& identity = globals_.identity;
  switch (step) {
    case Step::kNothing: return;
    case Step::kConnect: return connect(link);
    case Step::kAsk: link.connection.ask(); break;
    case Step::kListen: link.connection.listen(); break;
    case Step::kRegister: return register_at(link);
    case Step::kBeat: link.connection.beat(identity.id); break;
    case Step::kDeregister: link.connection.deregister(identity.id); break;
    case Step::kDrop:
      link.connection.close();
      link.attempt = 0;
      return;
  }
  serve(link);  // sends, or finds out that it cannot
}

void LinkThread::connect(Managed& link) {
  link.attempt = ++attempts_;
  const std::string& host = link.target.host;
  if (net::Resolver::literal(host, 1)) return open(link, {});
  look_up(link.attempt, host, static_cast<int>(link.target.port));
}

// The database is told of numbers: its backends would block to look a name up. A name that link_console says is
// looked up here, each time that it registers.
void LinkThread::register_at(Managed& link) {
  link.console = console_of(link);
  const std::string name = host_to_look_up(link.console);
  if (name.empty()) {
    link.connection.register_broker(globals_.identity, link.console);
    return serve(link);
  }
  link.attempt = ++attempts_;
  look_up(link.attempt, name, 0);
}

void LinkThread::look_up(uint64_t attempt, const std::string& name, int port) {
  resolver_.resolve(name, port, [inbox = inbox_, attempt](Result<std::vector<net::Address>> found) {
    {
      const std::lock_guard<std::mutex> guard(inbox->mutex);
      inbox->answers.push_back({attempt, std::move(found)});
    }
    inbox->bell.ring();
  });
}

void LinkThread::open(Managed& link, const std::vector<net::Address>& addresses) {
  link.connection.connect(link.target, *config_, addresses);
  if (link.connection.broken()) serve(link);  // there is nothing to poll
}

void LinkThread::on_resolved(const Answer& answer) {
  for (Managed& link : links_) {
    const LinkState state = link.machine.state();
    if (link.attempt != answer.attempt) continue;
    if (state != LinkState::kConnecting && state != LinkState::kRegistering) continue;
    if (!answer.addresses || answer.addresses.value().empty()) {
      const std::string why = answer.addresses ? "host has no address" : answer.addresses.error().text;
      return perform(link,
                     link.machine.on_failed(state == LinkState::kConnecting ? why : "link_console: " + why, now_));
    }
    if (state == LinkState::kConnecting) return open(link, answer.addresses.value());
    link.console += " hostaddr=" + answer.addresses.value().front().host();
    link.connection.register_broker(globals_.identity, link.console);
    return serve(link);
  }
}

// Takes what has come for a link, until nothing more is known.
void LinkThread::serve(Managed& link) {
  const Happened happened = link.connection.on_ready();
  if (link.connection.take_notified()) link.machine.on_notified(now_);
  if (happened.kind != Happened::Kind::kNothing) perform(link, react(link, happened));
}

Step LinkThread::react(Managed& link, const Happened& happened) {
  LinkMachine& machine = link.machine;
  switch (happened.kind) {
    case Happened::Kind::kNothing: break;
    case Happened::Kind::kConnected: return machine.on_connected(now_);
    case Happened::Kind::kVerdict: {
      link.place = happened.place;
      link.asked_at = wall_now();
      const bool shared = happened.verdict == Verdict::kReady && has_twin(link);
      return machine.on_verdict(shared ? Verdict::kShared : happened.verdict, now_);
    }
    case Happened::Kind::kListening: return machine.on_listening(now_);
    case Happened::Kind::kRegistered: return machine.on_registered(now_);
    case Happened::Kind::kBeaten: return machine.on_beaten(happened.known, now_);
    case Happened::Kind::kDeregistered: return machine.on_left();
    case Happened::Kind::kFailed: return machine.on_failed(happened.error, now_);
  }
  return Step::kNothing;
}

// Whether another link has registered, or is about to, in the very database that this one leads to. Two would take
// the registration from one another for ever: it is the broker's, and bears the backend of one of them.
bool LinkThread::has_twin(const Managed& link) const {
  return std::any_of(links_.begin(), links_.end(), [&](const Managed& other) {
    return &other != &link && other.place == link.place && link.place.server_started_at != 0 &&
           (other.machine.registered() || other.machine.state() == LinkState::kRegistering);
  });
}

// Links that stand by, when the one that they left it to is gone.
void LinkThread::take_over() {
  for (Managed& link : links_) {
    if (link.machine.condition() == Condition::kShared && !has_twin(link)) link.machine.hurry(now_);
  }
}

std::string LinkThread::console_of(const Managed& link) {
  ConsolePlace place{.listeners = listeners_};
  place.own = net::local_address(link.connection.descriptor());
  place.server = net::peer_address(link.connection.descriptor());
  place.directory = config_->options.unix_socket_dir;
  if (!place.directory.empty() && place.directory[0] != '@') {
    std::error_code ignored;
    place.directory = std::filesystem::absolute(place.directory, ignored).string();
  }
  std::string console = console_address(*config_, place);
  if (console.empty() && !unreachable_told_) {
    unreachable_told_ = true;
    LOG_WARNING(
        "link: nothing listens where the server of database \"{}\" could reach the console: the views will say "
        "unreachable (set listen_addr, unix_socket_dir or link_console)",
        link.target.names.front());
  }
  return console;
}

// Lines of the log, one for each change.
void LinkThread::tell(Managed& link) {
  if (!link.machine.take_news()) return;
  const std::string& name = link.target.names.front();
  switch (link.machine.condition()) {
    case Condition::kNew: return;
    case Condition::kNone: return LOG_INFO("link: registered in database \"{}\"", name);
    case Condition::kFailed: return LOG_WARNING("link: database \"{}\": {}", name, link.machine.error());
    case Condition::kAbsent: return LOG_INFO("link: database \"{}\" does not have the extension pgberth", name);
    case Condition::kStandby:
      return LOG_INFO("link: database \"{}\" is a hot standby, where nothing can be registered", name);
    case Condition::kShared:
      return LOG_INFO("link: database \"{}\" is one that another link has registered in already", name);
    case Condition::kDenied:
      return LOG_WARNING("link: user \"{}\" may not register in database \"{}\" (SELECT berth.grant_access)",
                         link.target.user, name);
  }
}

// What SHOW LINKS says. The loop turns rarely, so it is made anew each time.
void LinkThread::publish() {
  std::vector<session::LinkRow> rows;
  const auto add = [&](const Target& target, session::LinkRow row) {
    for (const std::string& name : target.names) {
      row.database = name;
      rows.push_back(row);
    }
  };
  for (Managed& link : links_) {
    session::LinkRow row = row_of(link.target);
    row.state = text_of(link.machine);
    if (row.state != link.shown) {
      link.shown = row.state;
      link.since = wall_now();
    }
    row.since = link.since;
    row.error = link.machine.error();
    row.server_started_at = link.place.server_started_at;
    row.asked_at = link.asked_at;
    if (link.machine.registered()) {
      row.registered_id = globals_.identity.id;
      row.console = link.console;
    }
    add(link.target, std::move(row));
  }
  for (const Target& target : nobody_) {
    session::LinkRow row = row_of(target);
    row.state = "nobody";
    row.since = globals_.identity.started_at;
    row.error = "no user to log in as: set link_user";
    add(target, std::move(row));
  }
  globals_.links.publish(std::move(rows), config_->options.link == "off");
}

// Sleeps until something is to be read, written or decided, and takes what has come.
void LinkThread::wait() {
  std::vector<pollfd> polled = {inbox_->bell.polled()};
  Micros until = leaving_ ? kNever : look_at_;
  for (Managed& link : links_) {
    const bool open = link.connection.open();
    polled.push_back({open ? link.connection.descriptor() : -1, open ? link.connection.events() : short{0}, 0});
    until = std::min(until, link.machine.wake_at());
  }
  (void)poll(polled.data(), polled.size(), poll_timeout(until, monotonic_now()));
  now_ = monotonic_now();
  if (polled[0].revents) inbox_->bell.quiet();
  size_t at = 1;
  for (Managed& link : links_) {
    if (polled[at++].revents) serve(link);
  }
}

}  // namespace berth::link
