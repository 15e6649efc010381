#include "sim/sim_operator.h"

#include "config/show.h"
#include "sim/world.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::sim {

// ---- from worker to worker

struct SimDispatcher::Visit {
  int home = 0, next = 0;
  std::string verb;
  bool resumes = false;
  std::function<void(session::Context&)> visit, done;
};

void SimDispatcher::visit_all(int home, std::function<void(session::Context&)> visit,
                              std::function<void(session::Context&)> done) {
  auto task = std::make_shared<Visit>();
  task->home = home;
  task->verb = world_.verb_under_way();
  task->visit = std::move(visit);
  task->done = std::move(done);
  task->resumes = task->verb == "RESUME" || task->verb.empty();  // a cancelled PAUSE resumes without a command
  world_.note_resume(task->resumes);
  go_on(home, 0, std::move(task));
}

// As worker/dispatch.cc does with its VisitTask.
void SimDispatcher::go_on(int from, int to, std::shared_ptr<Visit> task) {
  world_.mail(from, to, {0, [this, to, task] {
                           session::Context& context = world_.context(to);
                           if (task->next == world_.workers()) {
                             world_.note_resume(-task->resumes);
                             if (task->done) task->done(context);
                             return;
                           }
                           world_.note_visit(to, task->verb);
                           world_.check_limits();  // before and after: the next command may change them again
                           task->visit(context);
                           world_.check_limits();
                           ++task->next;
                           go_on(to, task->next == world_.workers() ? task->home : task->next, task);
                         }});
}

// Main owns the configuration: what it sends out keeps its order on all workers.
void SimDispatcher::put_in_place(int home, std::shared_ptr<const config::Config> next,
                                 std::function<void(session::Context&, std::string)> done) {
  world_.running = next;
  auto task = std::make_shared<Visit>();
  task->home = home;
  task->verb = world_.verb_under_way();
  task->visit = [next](session::Context& context) { session::reconfigure(context, next); };
  task->done = [done = std::move(done)](session::Context& context) { done(context, ""); };
  go_on(world_.workers(), 0, std::move(task));
}

void SimDispatcher::reload(int home, std::function<void(session::Context&, std::string)> done) {
  put_in_place(home, world_.draw_reload(), std::move(done));
}

void SimDispatcher::set_option(int home, std::string key, std::string value,
                               std::function<void(session::Context&, std::string)> done) {
  auto next = config::set_option(*world_.running, key, value);
  if (!next) return world_.violation("SET " + key + " failed: " + next.error().text);
  put_in_place(home, next.value(), std::move(done));
}

void SimDispatcher::request_shutdown(session::Shutdown how) {
  world_.request_shutdown(how);
}

// ---- the operator

SimOperator::SimOperator(World& world, int number, const Powers& powers, std::vector<std::string> script,
                         const Dice& dice)
    : world_(world),
      number_(number),
      powers_(powers),
      script_(std::move(script)),
      random_(dice),
      left_(script_.empty() ? powers.commands : static_cast<int>(script_.size())) {}

std::string SimOperator::describe() const {
  return fmt::format("operator {} phase {} command {} answered {} left {}", number_, static_cast<int>(phase_),
                     command_, answered_, left_);
}

void SimOperator::start(LinkPtr link) {
  link_ = std::move(link);
  phase_ = Phase::kLogin;
  std::string body;
  for (const char* text : {"user", "admin", "database", "pgbouncer"}) wire::put_cstring(body, text);
  body += '\0';
  wire::put32(out_, static_cast<uint32_t>(body.size() + 8));
  wire::put32(out_, wire::kProtocol30);
  out_ += body;
}

void SimOperator::step() {
  if (phase_ == Phase::kUnborn || phase_ == Phase::kGone) return;
  read();
  if (phase_ == Phase::kGone) return;
  write();
  if (phase_ != Phase::kActive || leaving_) return;
  if (!verb_.empty()) {  // a command is under way
    const bool waits = verb_ == "PAUSE" || verb_ == "WAIT_CLOSE";
    if (script_.empty() && waits && chance(1)) world_.send_cancel(pid_, key_);
    if (script_.empty() && powers_.kills && chance(1) && chance(10)) return gone();
    return;
  }
  if (left_ > 0) {
    if (chance(script_.empty() ? 5 : 50)) {
      --left_;
      say(script_.empty() ? next_command() : script_[next_++]);
    }
  } else if (chance(20)) {
    wire::put_empty(out_, wire::kTerminate);
    leaving_ = true;
  }
}

std::string SimOperator::a_database() {
  return "d" + std::to_string(random_.below(static_cast<uint64_t>(world_.databases())));
}

std::string SimOperator::a_setting() {
  switch (random_.below(9)) {
    case 0: return "default_pool_size = " + std::to_string(1 + random_.below(4));
    case 1: return "reserve_pool_size = " + std::to_string(random_.below(2));
    case 2: return "min_pool_size = " + std::to_string(random_.below(3));
    case 3: return "max_db_connections = " + std::to_string(random_.below(5));
    case 4: return "max_user_connections = " + std::to_string(random_.below(5));
    case 5: return "transaction_reserve = " + std::to_string(random_.below(3));
    case 6: return std::string("server_idle_timeout = ") + (chance(50) ? "0.05" : "600");
    case 7: return std::string("server_lifetime = ") + (chance(50) ? "0.2" : "3600");
    default:
      if (world_.running->options.max_prepared_statements == 0)
        return "default_pool_size = 2";  // clients count on it
      return "max_prepared_statements = " + std::to_string(2 + random_.below(9));
  }
}

std::string SimOperator::next_command() {
  const std::string where = chance(50) ? "" : " " + a_database();
  for (;;) {
    // A pause is not left standing for long: nobody would get any further.
    if (powers_.pauses && chance(20)) return "RESUME" + (world_.paused_all() ? "" : where);
    switch (random_.below(12)) {
      case 0:
        if (!powers_.pauses) continue;
        return "PAUSE" + where;
      case 1:
        if (!powers_.kills) continue;
        if (chance(50)) return "KILL_CLIENT " + std::to_string(world_.some_client(random_));
        return chance(30) ? "KILL" : "KILL " + a_database();
      case 2: return "RECONNECT" + where;
      case 3:
        if (!powers_.kills) continue;
        return (chance(50) ? "DISABLE " : "ENABLE ") + a_database();
      case 4:
      case 5:
        if (!powers_.reloads) continue;
        return "RELOAD";
      case 6:
      case 7:
        if (!powers_.reloads) continue;
        return "SET " + a_setting();
      case 8: return "WAIT_CLOSE" + where;
      case 9:
        if (!powers_.shuts_down || !chance(60)) continue;
        return chance(50) ? "SHUTDOWN WAIT_FOR_CLIENTS" : (chance(80) ? "SHUTDOWN WAIT_FOR_SERVERS" : "SHUTDOWN");
      default: {
        static constexpr const char* kTables[] = {"POOLS",   "CLIENTS", "SERVERS", "DATABASES",     "USERS",
                                                  "SOCKETS", "LISTS",   "STATS",   "ACTIVE_SOCKETS"};
        return std::string("SHOW ") + kTables[random_.below(std::size(kTables))];
      }
    }
  }
}

void SimOperator::say(const std::string& command) {
  command_ = command;
  verb_ = command.substr(0, command.find(' '));
  answered_ = false;
  last_error_.clear();
  wire::put_query(out_, command);
  world_.trace("operator {} says {}", number_, command);
}

void SimOperator::write() {
  if (leaving_ && out_.empty()) return gone();
  const size_t under_way = link_->to_broker.bytes.size();
  const size_t room = link_->window > under_way ? link_->window - under_way : 0;
  size_t part = std::min(out_.size(), room);
  if (part > 1 && chance(40)) part = 1 + random_.below(part);
  link_->to_broker.bytes.append(out_, 0, part);
  out_.erase(0, part);
}

void SimOperator::read() {
  Direction& from = link_->to_peer;
  if (from.bytes.empty()) {
    if (!from.fin) return;
    const bool in_words = link_->mute || !in_.empty() || !verb_.empty();
    if (!leaving_ && !fatal_ && !(in_words && world_.may_lose("torn")))
      world_.violation("operator " + std::to_string(number_) + " was disconnected silently");
    return gone();
  }
  if (!chance(70)) return;
  in_ += from.bytes;
  from.bytes.clear();
  while (in_.size() >= wire::kHeaderSize) {
    const wire::Head head = wire::read_head(in_.data(), 1 << 26);
    if (!head.valid) return world_.violation("an operator got an invalid message");
    if (in_.size() < head.size) return;
    const std::string message = in_.substr(0, head.size);
    in_.erase(0, head.size);
    on_message(message[0], std::string_view(message).substr(wire::kHeaderSize));
  }
}

void SimOperator::on_message(char tag, std::string_view body) {
  switch (tag) {
    case wire::kAuthentication: out_ += world_.answer(login_, "admin", world_.password_of("admin"), body); return;
    case wire::kBackendKeyData:
      pid_ = wire::read32(body.data());
      key_ = body.substr(4);
      return;
    case wire::kReadyForQuery:
      if (phase_ == Phase::kLogin) {
        phase_ = Phase::kActive;
        return;
      }
      if (verb_.empty() || !answered_) return world_.violation("the console said ReadyForQuery without an answer");
      verb_.clear();
      return;
    case wire::kErrorResponse: {
      const wire::ErrorFields error = wire::parse_error(body);
      world_.trace("operator {} was told: {}", number_, error.message);
      fatal_ = error.severity == "FATAL";
      if (fatal_ && !world_.may_lose(error.message)) {
        return world_.violation("an operator was disconnected: " + std::string(error.message));
      }
      answered_ = true;
      return;
    }
    case wire::kCommandComplete: {
      answered_ = true;
      std::string_view text;
      wire::take_cstring(body, text);
      return on_answer(std::string(text));
    }
    default: return;
  }
}

void SimOperator::on_answer(const std::string& tag) {
  if (!tag.starts_with(verb_)) {
    return world_.violation("the console answered " + tag + " to " + command_);
  }
  if (verb_ == "PAUSE") world_.check_paused(command_.size() > 5 ? command_.substr(6) : "");
}

void SimOperator::gone() {
  phase_ = Phase::kGone;
  verb_.clear();
  link_->to_broker.fin = true;
  link_->peer_open = false;
}

}  // namespace berth::sim
