// See auth_wire.h.
#include "link/auth_wire.h"

#include <fmt/format.h>

#include <utility>

#include "base/assert.h"
#include "link/one_line.h"
#include "session/limits.h"
#include "wire/backend.h"
#include "wire/encode.h"
#include "wire/frame.h"

namespace berth::link {

namespace {

using Kind = AuthHappened::Kind;

constexpr std::string_view kApplication = "pgberth auth_query";
constexpr std::string_view kOptions = "-c search_path=pg_catalog,public,pg_temp";

// As the server's log has it: ERROR: relation "x" does not exist.
std::string text_of(const wire::ErrorFields& error) {
  std::string text = one_line(error.message);
  if (text.empty()) text = "the server gives no reason";
  return error.severity.empty() ? text : fmt::format("{}: {}", one_line(error.severity), text);
}

}  // namespace

AuthWire::AuthWire(const std::string& user, const auth::Proof& proof, auth::ChannelBinding binding, Send send)
    : login_(auth::make_server_login(user, proof, std::move(binding))), send_(std::move(send)) {}

void AuthWire::start(const std::string& user, const std::string& database) {
  ASSERT(state_ == State::kLogin);
  std::string out;
  wire::put_startup(out, wire::kProtocol30,
                    {{"user", user},
                     {"database", database},
                     {"application_name", kApplication},
                     {"options", kOptions},
                     {"client_encoding", "UTF8"}});
  send_(out);
}

AuthHappened AuthWire::take() {
  if (taken_ == happened_.size()) {
    happened_.clear();
    taken_ = 0;
    return {};
  }
  return std::move(happened_[taken_++]);
}

net::Taken AuthWire::feed(std::string_view bytes) {
  size_t at = 0;
  while (state_ != State::kOver && state_ != State::kWork) {
    if (bytes.size() - at < wire::kHeaderSize) return {at, at < bytes.size() ? wire::kHeaderSize : 0};
    const wire::Head head =
        wire::read_head(bytes.data() + at, in_login() ? session::kServerLoginMax : kAuthMessageMax);
    if (!head.valid) {
      lose("the server sent a message of an impossible length");
      break;
    }
    if (bytes.size() - at < head.size) return {at, head.size};
    said_ += head.size;
    if (said_ > kAuthSaidMax) {
      lose(fmt::format("the server says more than {} bytes at once", kAuthSaidMax));
      break;
    }
    on_message(head.tag, bytes.substr(at + wire::kHeaderSize, head.size - wire::kHeaderSize));
    at += head.size;
  }
  return {state_ == State::kOver ? bytes.size() : at, 0};
}

// First what may come at any moment.
void AuthWire::on_message(char tag, std::string_view body) {
  switch (tag) {
    case wire::kErrorResponse: return on_error(body);
    case wire::kNoticeResponse: return;
    case wire::kParameterStatus: return on_parameter(body);
    case wire::kNotificationResponse:
      if (!in_login()) return;
      break;
    case wire::kAuthentication:
      if (state_ == State::kLogin) return on_authentication(body);
      break;
    case wire::kBackendKeyData: {
      uint32_t pid;
      std::string_view key;
      if (state_ == State::kGreeting && wire::parse_key_data(body, pid, key)) return;
      break;
    }
    case wire::kReadyForQuery: return on_ready(body);
    case wire::kParseComplete: return expect(State::kParse, State::kBind, tag);
    case wire::kBindComplete: return expect(State::kBind, State::kDescribe, tag);
    case wire::kNoData: return expect(State::kDescribe, State::kRows, tag);
    case wire::kRowDescription:
      expect(State::kDescribe, State::kRows, tag);
      if (state_ == State::kRows) check(answer_->on_columns(body));
      return;
    case wire::kDataRow:
      expect(State::kRows, State::kRows, tag);
      if (state_ == State::kRows) check(answer_->on_row(body));
      return;
    case wire::kCommandComplete:
    case wire::kPortalSuspended:
    case wire::kEmptyQueryResponse: return expect(State::kRows, State::kReady, tag);
    default: break;
  }
  unexpected(tag);
}

void AuthWire::expect(State state, State next, char tag) {
  if (state_ != state) return unexpected(tag);
  state_ = next;
}

void AuthWire::check(std::string_view why) {
  if (!why.empty()) lose(std::string(why));
}

void AuthWire::unexpected(char tag) {
  const bool shown = tag > ' ' && tag < '\x7f';
  lose(shown ? fmt::format("the server sent a message '{}' out of order", tag)
             : std::string("the server sent a message of an unknown kind"));
}

void AuthWire::lose(std::string why, std::string_view sqlstate) {
  if (state_ == State::kOver) return;
  happened_.push_back({.kind = Kind::kLost, .error = std::move(why), .sqlstate = std::string(sqlstate)});
  state_ = State::kOver;
  login_.reset();
  answer_.reset();
}

void AuthWire::on_end(std::string_view why) {
  const std::string said = failed_ && answer_ ? answer_->take().error : std::string();
  lose(said.empty() ? std::string(why) : said);
}

// ---- login

void AuthWire::on_authentication(std::string_view body) {
  on_step(login_->feed(body));
  wipe_stack();
}

void AuthWire::on_step(auth::Step step) {
  switch (step.kind) {
    case auth::Step::Kind::kFailed: return lose("cannot log in to the server: " + step.reason);
    case auth::Step::Kind::kWork:
      state_ = State::kWork;
      happened_.push_back({.kind = Kind::kWork, .work = std::move(step.work)});
      return;
    case auth::Step::Kind::kSend:
    case auth::Step::Kind::kOk: break;
  }
  if (!step.bytes.empty()) send_(step.bytes);
  auth::scrub(step.bytes);
  if (step.kind == auth::Step::Kind::kSend) return;
  login_.reset();
  state_ = State::kGreeting;
}

void AuthWire::resume(auth::Work& work) {
  ASSERT(state_ == State::kWork);
  state_ = State::kLogin;
  on_step(login_->resume(work));
  wipe_stack();
}

void AuthWire::on_parameter(std::string_view body) {
  std::string_view name, value;
  if (state_ == State::kLogin || !wire::parse_parameter_status(body, name, value)) unexpected(wire::kParameterStatus);
}

// ---- questions

void AuthWire::ask(AuthQuestion question, std::string_view sql, const std::string& user) {
  ASSERT(state_ == State::kIdle && !answer_);
  std::string out;
  wire::put_parse(out, "", question == AuthQuestion::kOwn ? sql : auth_sql(question), std::string_view("\0\0", 2));
  {
    wire::Message bind(out, wire::kBind);
    wire::put_cstring(out, "");  // portal
    wire::put_cstring(out, "");  // statement
    wire::put16(out, 0);         // parameters are texts
    wire::put16(out, is_of_user(question) ? 1 : 0);
    if (is_of_user(question)) {
      wire::put32(out, static_cast<uint32_t>(user.size()));
      out += user;
    }
    wire::put16(out, 0);  // and so are results
  }
  {
    wire::Message describe(out, wire::kDescribe);
    out += 'P';
    wire::put_cstring(out, "");
  }
  {
    wire::Message execute(out, wire::kExecute);
    wire::put_cstring(out, "");
    wire::put32(out, kAuthRowsMax);
  }
  wire::put_empty(out, wire::kSync);
  answer_.emplace(question, user);
  failed_ = false;
  said_ = 0;
  state_ = State::kParse;
  send_(out);
}

void AuthWire::say_goodbye() {
  if (in_login() || state_ == State::kOver) return;
  std::string out;
  wire::put_empty(out, wire::kTerminate);
  send_(out);
}

// After an error nothing follows but the end of the answer; where it ends the backend, not even that.
void AuthWire::on_error(std::string_view body) {
  const wire::ErrorFields error = wire::parse_error(body);
  const bool answers = state_ >= State::kParse && state_ <= State::kReady;
  const bool ends = error.severity == "FATAL" || error.severity == "PANIC";
  if (!answers || ends) return lose(text_of(error), in_login() ? error.sqlstate : std::string_view());
  if (failed_) return lose("the server sent two errors for one question");
  failed_ = true;
  answer_->on_error(error.sqlstate, text_of(error));
  state_ = State::kReady;
}

void AuthWire::on_ready(std::string_view body) {
  if (state_ != State::kGreeting && state_ != State::kReady) return unexpected(wire::kReadyForQuery);
  if (body != "I") return lose("the server says that it is in a transaction");
  said_ = 0;
  if (state_ == State::kGreeting) {
    happened_.push_back({.kind = Kind::kConnected});
  } else {
    happened_.push_back(answer_->take());
    answer_.reset();
  }
  state_ = happened_.back().kind == Kind::kLost ? State::kOver : State::kIdle;
}

}  // namespace berth::link
