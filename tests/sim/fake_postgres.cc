// The cluster, and a backend's life: its main loop and its login. Its messages stand in fake_messages.cc, what
// statements do in fake_sql.cc.
#include "sim/fake_postgres.h"

#include "unit/auth_steps.h"

#include <strings.h>

#include "base/assert.h"
#include "pool/statements.h"
#include "wire/backend.h"
#include "wire/encode.h"
#include "wire/startup.h"

namespace berth::sim {

bool NameLess::operator()(const std::string& a, const std::string& b) const {
  return strcasecmp(a.c_str(), b.c_str()) < 0;
}

Cluster::Cluster() {
  defaults = {{"application_name", ""},
              {"client_encoding", "UTF8"},
              {"DateStyle", "ISO, MDY"},
              {"default_transaction_read_only", "off"},
              {"in_hot_standby", "off"},
              {"integer_datetimes", "on"},
              {"IntervalStyle", "postgres"},
              {"is_superuser", "off"},
              {"server_encoding", "UTF8"},
              {"server_version", "15.9"},
              {"session_authorization", "u"},
              {"standard_conforming_strings", "on"},
              {"TimeZone", "Etc/UTC"},
              {"search_path", "\"$user\", public"},
              {"array_nulls", "on"},
              {"backslash_quote", "safe_encoding"},
              {"lc_monetary", "C"},
              {"timezone_abbreviations", "Default"},
              {"transform_null_equals", "off"},
              {"xmloption", "content"},
              {"extra_float_digits", "1"},
              {"statement_timeout", "0"},
              {"work_mem", "4MB"}};
}

std::string Cluster::cancel(uint32_t pid, std::string_view key) {
  const auto at = backends.find(pid);
  if (at == backends.end() || at->second->key_ != key || !at->second->sleeping_) return {};
  at->second->cancel_hit_ = true;
  return at->second->running_tag_;
}

void Cluster::hold(int client) {
  for (const auto& [pid, backend] : backends) {
    if (backend->sleeping_ && client_of_tag(backend->running_tag_) == client) backend->wake_at_ = INT64_MAX;
  }
}

std::string tag_in(std::string_view text) {
  for (size_t at = 0; at + 3 < text.size() + 1; ++at) {
    if (text[at] != 'c' || (at > 0 && std::isalnum(static_cast<unsigned char>(text[at - 1])))) continue;
    size_t end = at + 1;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
    if (end == at + 1 || end >= text.size() || text[end] != '.') continue;
    const size_t dot = end++;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
    if (end > dot + 1) return std::string(text.substr(at, end - at));
  }
  return {};
}

int client_of_tag(std::string_view tag) {
  return tag.size() < 4 || tag[0] != 'c' ? -1 : std::atoi(std::string(tag.substr(1)).c_str());
}

bool is_reported(const std::string& name) {
  static const std::set<std::string, NameLess> kSilent = {"search_path", "extra_float_digits", "statement_timeout",
                                                          "work_mem"};
  return !kSilent.contains(name);
}

Backend::Backend(Cluster& cluster) : cluster_(cluster) {}

Backend::~Backend() {
  if (pid_) cluster_.backends.erase(pid_);
}

std::string Backend::describe() const {
  return "pid " + std::to_string(pid_) + " " + status() + (started_ ? " started" : "") +
         (skipping_ ? " skipping" : "") + (sleeping_ ? " sleeping" : "") + (copy_ ? " copy" : "") + " running " +
         running_tag_ + ", " + std::to_string(in_.size()) + " bytes unread";
}

void Backend::hang_up() {
  if (started_) abort();
  gone = true;
  sleeping_ = copy_ = false;
  in_.clear();
  if (pid_) cluster_.backends.erase(pid_);
}

void Backend::terminate(std::string_view sqlstate, std::string_view text) {
  if (gone) return;
  if (!text.empty()) wire::put_error(out, wire::Severity::kFatal, sqlstate, text);
  hang_up();
}

void Backend::log_in(const Settings& startup) {
  settings_ = cluster_.defaults;
  for (const auto& [name, value] : startup) ASSERT(!set(name, &value, false));
  locals_.clear();
  start_settings_ = reported_ = settings_;
  phase_ = Phase::kReady;
}

void Backend::feed_message(std::string_view message) {
  feed(message);
  while (step()) continue;
  ASSERT(in_.empty());
}

bool Backend::step() {
  if (gone) return false;
  if (phase_ != Phase::kReady) return startup();
  if (sleeping_) {
    if (!cancel_hit_ && cluster_.now < wake_at_) return false;
    sleeping_ = false;
    Outcome outcome;
    std::vector<std::string> rows;
    if (cancel_hit_) {
      outcome = Failure{"57014", "canceling statement due to user request [" + running_tag_ + "]"};
    } else {
      rows.push_back(running_tag_);
    }
    cancel_hit_ = false;
    if (!in_query_) {
      Portal& portal = portals_[portal_running_];
      portal.rows = rows;
      portal.tag = "SELECT 1";
      after_execute(&portal, outcome);
    } else if (outcome) {
      put_failure(*outcome);
      running_.clear();
      finish_query();
    } else {
      put_row_description();
      put_row(rows[0]);
      put_complete("SELECT 1");
      if (!block_ && !many_) commit();
    }
    return true;
  }
  if (in_query_ && !copy_) return run_script();
  char tag;
  std::string body;
  if (!take_message(tag, body)) return false;
  on_message(tag, body);
  return true;
}

bool Backend::take_message(char& tag, std::string& body) {
  if (in_.size() < wire::kHeaderSize) return false;
  const wire::Head head = wire::read_head(in_.data(), uint64_t{1} << 31);
  if (!head.valid || head.size > 1 << 26) {
    if (cluster_.violation && (!head.valid || user_ != kRawUser))
      cluster_.violation("a backend got an invalid message length, pid " + std::to_string(pid_));
    refuse("08P01", "invalid message length");
    return false;
  }
  if (in_.size() < head.size) return false;
  tag = head.tag;
  body = in_.substr(wire::kHeaderSize, head.size - wire::kHeaderSize);
  in_.erase(0, head.size);
  return true;
}

// ---- login

bool Backend::startup() {
  if (phase_ == Phase::kLogin) {
    char tag;
    std::string body;
    if (!take_message(tag, body)) return false;
    on_login_step(auth::feed_through(*login_, body));
    return true;
  }
  const wire::Startup packet = wire::parse_startup(in_);
  if (packet.kind == wire::Startup::Kind::kNeedMore) return false;
  const std::string bytes = in_.substr(0, packet.size);
  in_.erase(0, packet.size);
  on_startup(bytes);
  return true;
}

void Backend::refuse(std::string_view sqlstate, std::string_view text) {
  wire::put_error(out, wire::Severity::kFatal, sqlstate, text);
  hang_up();
}

void Backend::on_startup(std::string_view bytes) {
  const wire::Startup packet = wire::parse_startup(bytes);
  if (packet.kind == wire::Startup::Kind::kCancel) {
    cluster_.cancel(packet.cancel_pid, packet.cancel_key);
    gone = true;
    return;
  }
  if (packet.kind != wire::Startup::Kind::kStartup) {
    if (cluster_.violation) cluster_.violation("a backend got a malformed startup packet");
    return refuse("08P01", "invalid startup packet");
  }
  settings_ = cluster_.defaults;
  for (const auto& [name, value] : packet.parameters) {
    if (name == "user") {
      user_ = value;
    } else if (name == "database") {
      database_ = value;
    } else {
      const std::string text(value);
      if (const Outcome outcome = set(std::string(name), &text, false))
        return refuse(outcome->sqlstate, outcome->text);
    }
  }
  locals_.clear();
  if (database_ == "missing") return refuse("3D000", "database \"missing\" does not exist");
  if (cluster_.backends.size() >= cluster_.connections_max) return refuse("53300", "sorry, too many clients already");
  pid_ = cluster_.next_pid++;
  cluster_.backends[pid_] = this;
  // Of PostgreSQL four bytes; others that speak its protocol have longer ones.
  constexpr size_t kKeySizes[] = {4, 5, 32, 256};
  key_ = "k" + std::to_string(100 + pid_ % 900);
  key_.resize(kKeySizes[pid_ % 4], '+');
  phase_ = Phase::kLogin;
  const auto own = cluster_.secrets.find(user_);
  login_ = auth::make_client_verifier(cluster_.method, user_,
                                      own == cluster_.secrets.end() ? &cluster_.secret : &own->second, 1);
  on_login_step(login_->start());
}

// PostgreSQL's half of a login is the broker's own towards clients.
void Backend::on_login_step(auth::Step step) {
  out += step.bytes;
  if (step.kind == auth::Step::Kind::kFailed) {
    if (cluster_.violation && echoes_)  // the fuzzer has asked it nothing else in between
      cluster_.violation("the broker could not prove itself as " + user_ + ": " + step.reason);
    refuse("28P01", "password authentication failed for user \"" + user_ + "\"");
  } else if (step.kind == auth::Step::Kind::kOk) {
    login_.reset();
    greet();
  }
}

void Backend::greet() {
  {
    wire::Message ok(out, wire::kAuthentication);
    wire::put32(out, 0);
  }
  start_settings_ = reported_ = settings_;
  for (const auto& [name, value] : settings_) {
    if (is_reported(name)) wire::put_parameter_status(out, name, value);
  }
  {
    wire::Message key(out, wire::kBackendKeyData);
    wire::put32(out, pid_);
    out += key_;
  }
  wire::put_ready(out, 'I');
  phase_ = Phase::kReady;
}

}  // namespace berth::sim
