// The middle of a server's life: its messages on their way to whoever waits for them. The walk goes from message head
// to message head; the queue of requests says what each answers, whose it is, and when the server is free.
#include "session/server_relay.h"

#include <utility>

#include "base/fault.h"
#include "session/client.h"
#include "session/server.h"
#include "session/session_features.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::session {

using ResetSeen = Server::ResetSeen;

net::Taken Server::relay_on_bytes(std::string_view bytes) {
  ServerRelay relay(*this, bytes);
  return relay.run();
}

net::Taken ServerRelay::run() {
  if (client_) out_.begin(&context_.engine, client_->conn);
  while (at_ < bytes_.size() && step()) continue;
  if (broken_) {
    emit();
    if (client_) out_.flush();
    server_.violated();
    return {bytes_.size(), 0};
  }
  // The broker's own replies go as soon as nothing stands before them: a Flush may have asked for them.
  while ((server_.pass_left == 0 || FAULT(reply_into_a_message)) && !queue().empty() && queue().front().synthetic())
    answer_synthetic();
  emit();
  if (client_) {
    server_.slice->counters.sent += static_cast<int64_t>(at_);
    client_->counters.add_sent(at_);
    if (out_.flush() > 0) context_.engine.pause(server_.conn, net::kPauseBackpressure);
  }
  if (transaction_refused_) client_->fatal(ClientEnd::kTransactionInStatementMode, "0A000");
  server_.after_bytes();
  return {at_, need_};
}

void ServerRelay::emit() {
  if (client_) out_.lend(bytes_.substr(start_, at_ - start_));
  start_ = at_;
}

bool ServerRelay::step() {
  const size_t available = bytes_.size() - at_;
  if (server_.pass_left > 0) {
    const uint64_t part = std::min<uint64_t>(server_.pass_left, available);
    if (server_.pass_dropped) emit();
    at_ += part;
    if (server_.pass_dropped) start_ = at_;
    server_.pass_left -= part;
    return true;
  }
  server_.pass_dropped = false;
  if (queue().empty() && !unasked(bytes_[at_])) return violation();
  if (available < wire::kHeaderSize) return more(wire::kHeaderSize);
  head_ = wire::read_head(bytes_.data() + at_, kServerMessageMax);
  if (!head_.valid) return violation();
  while (!queue().empty() && queue().front().synthetic()) answer_synthetic();
  if (head_.tag == wire::kDataRow || head_.tag == wire::kCopyData) return pass();
  return message();
}

// What PostgreSQL says of itself, without a request outstanding.
bool ServerRelay::unasked(char tag) const {
  return tag == wire::kParameterStatus || tag == wire::kNoticeResponse || tag == wire::kNotificationResponse ||
         tag == wire::kErrorResponse || server_.copy_both || (server_.stray_ready && tag == wire::kReadyForQuery);
}

bool ServerRelay::message() {
  using Kind = Request::Kind;
  const bool any = !queue().empty();
  const Kind kind = any ? queue().front().kind : Kind::kSync;
  switch (head_.tag) {
    case wire::kReadyForQuery: return on_ready();
    case wire::kBindComplete: return answered(Kind::kBind);
    case wire::kParseComplete:
      if (server_.ran && any && queue().front().on_server && !queue().front().statement->alone)
        server_.parsed_after_run = true;
      return answered(Kind::kParse);
    case wire::kCloseComplete: return answered(Kind::kClose);
    case wire::kCommandComplete: return on_complete();
    case wire::kEmptyQueryResponse:
    case wire::kPortalSuspended: return any && kind == Kind::kExecute ? answered(Kind::kExecute) : pass();
    case wire::kRowDescription:
    case wire::kNoData: return any && kind == Kind::kDescribe ? answered(Kind::kDescribe) : pass();
    case wire::kErrorResponse: return on_error();
    case wire::kParameterStatus: return on_parameter();
    case wire::kCopyInResponse: return on_copy_in();
    case wire::kCopyBothResponse: server_.copy_both = server_.copy_in = true; return pass();
    case wire::kCopyDone:
      if (server_.copy_both) server_.copy_both = server_.copy_in = false;
      return pass();
    case wire::kParameterDescription:
    case wire::kNoticeResponse:
    case wire::kNotificationResponse:
    case wire::kCopyOutResponse:
    case wire::kFunctionCallResponse: return pass();
    default: return violation();
  }
}

bool ServerRelay::more(uint64_t size) {
  need_ = size;
  return false;
}

bool ServerRelay::violation() {
  broken_ = true;
  return false;
}

// Does what comes next go to the client? What answers nobody's request is dropped.
bool ServerRelay::wanted() const {
  return client_ && (queue().empty() || queue().front().owner == client_);
}

bool ServerRelay::pass() {
  return wanted() ? keep() : drop();
}

bool ServerRelay::keep() {
  const uint64_t part = std::min<uint64_t>(head_.size, bytes_.size() - at_);
  at_ += part;
  server_.pass_left = head_.size - part;
  return true;
}

bool ServerRelay::drop() {
  emit();
  const uint64_t part = std::min<uint64_t>(head_.size, bytes_.size() - at_);
  at_ += part;
  if (!FAULT(dropped_bytes_sent)) start_ = at_;
  server_.pass_left = head_.size - part;
  server_.pass_dropped = true;
  return true;
}

bool ServerRelay::whole(bool& too_long) {
  too_long = head_.size > kReplyAssembleMax;
  if (!too_long && bytes_.size() - at_ < head_.size) {
    need_ = head_.size;
    return false;
  }
  return true;
}

void ServerRelay::answer_synthetic() {
  const Request& request = queue().front();
  if (client_ && request.owner == client_ && !server_.fatal_seen) {  // nothing follows FATAL
    emit();
    static constexpr std::string_view kParsed("1\0\0\0\4", 5), kClosed("3\0\0\0\4", 5);
    out_.lend(request.kind == Request::Kind::kParsedAlready ? kParsed : kClosed);
  }
  queue().pop();
  skip_silent();
}

void ServerRelay::skip_silent() {
  while (!queue().empty() && queue().front().silent()) queue().pop();
}

// The message answers the request at the head of the queue, and completes it.
bool ServerRelay::answered(Request::Kind kind) {
  if (queue().empty() || queue().front().kind != kind) return violation();
  pass();
  queue().pop();
  skip_silent();
  return true;
}

bool ServerRelay::on_complete() {
  bool too_long;
  if (!whole(too_long)) return false;
  if (queue().empty()) return violation();
  if (queue().front().own) server_.stray_ready = false;
  const bool settings_follow = queue().front().settings_follow;
  const wire::CommandEffect effect = wire::command_effect(body());
  switch (effect) {
    case wire::CommandEffect::kNone: break;
    case wire::CommandEffect::kListen:
    case wire::CommandEffect::kPrepare:
    case wire::CommandEffect::kCursor:
    case wire::CommandEffect::kSet:
    case wire::CommandEffect::kEnd: note_feature(effect); break;
    case wire::CommandEffect::kDiscardAll:
      server_.reset_seen = settings_follow ? ResetSeen::kDiscarded : ResetSeen::kDiscardAll;
      forget_statements();
      break;
    case wire::CommandEffect::kDeallocateAll: forget_statements(); break;
    case wire::CommandEffect::kReset:
      if (server_.reset_seen == ResetSeen::kNone && !settings_follow) server_.reset_seen = ResetSeen::kReset;
      break;
  }
  server_.copy_in = false;
  if (queue().front().kind != Request::Kind::kExecute) return pass();
  server_.ran = true;
  return answered(Request::Kind::kExecute);
}

// A cursor or a setting that the end of its transaction takes away is nothing to speak of.
void ServerRelay::note_feature(wire::CommandEffect effect) {
  if (!wanted()) return;
  switch (effect) {
    case wire::CommandEffect::kListen: return tell_feature(*client_, kFeatureListen);
    case wire::CommandEffect::kPrepare: return tell_feature(*client_, kFeaturePrepare);
    case wire::CommandEffect::kCursor: server_.left_behind |= kFeatureHoldCursor; return;
    case wire::CommandEffect::kSet:
      if (queue().front().sets_untracked) server_.left_behind |= kFeatureSet;
      return;
    default: server_.left_behind = 0; return;
  }
}

void ServerRelay::tell_left_behind() {
  for (const SessionFeature feature : {kFeatureHoldCursor, kFeatureSet}) {
    if (server_.left_behind & feature && wanted()) tell_feature(*client_, feature);
  }
  server_.left_behind = 0;
}

// DEALLOCATE ALL or DISCARD ALL has run. One that was recognised when it was sent has done its work then.
void ServerRelay::forget_statements() {
  const Request& request = queue().front();
  if (request.undo && request.undo->all_statements) return;
  server_.statements.clear();
  if (client_ && request.owner == client_) client_->statements.clear();
}

bool ServerRelay::on_ready() {
  if (bytes_.size() - at_ < 6) return more(6);
  if (server_.stray_ready && (queue().empty() || queue().front().own)) return pass();
  if (head_.size != 6 || queue().empty() || !queue().front().ends_with_ready()) return violation();
  const bool mine = wanted();
  server_.status = bytes_[at_ + 5];
  if (server_.status != 'I' && server_.status != 'T' && server_.status != 'E') return violation();
  server_.copy_in = false;
  server_.ran = server_.parsed_after_run = false;
  if (server_.status == 'I' && server_.before_resync) server_.before_resync.reset();
  if (server_.reset_seen != ResetSeen::kNone) after_reset(mine);
  if (server_.left_behind && server_.status == 'I') tell_left_behind();
  transaction_refused_ = mine && server_.status != 'I' && client_->mode == config::PoolMode::kStatement;
  transaction_refused_ ? drop() : pass();
  if (queue().front().settles || queue().front().settles_unnamed) settle_plans();
  queue().pop();
  skip_silent();
  if (transaction_refused_) return false;
  if (!mine) return true;
  count_query(context_.now());
  return true;
}

// A query is over, and a transaction with it if the status says so: counted for the pool, the client, and the
// server's owner.
void ServerRelay::count_query(Micros now) {
  Slice& slice = *server_.slice;
  stats::Latency& latency = slice.recorded();
  const Micros query_time = now - client_->query_at;
  slice.counters.query_count++;
  slice.counters.query_time += query_time;
  latency.query.record(query_time);
  client_->counters.add_query(query_time);
  server_.owners.count_query();
  client_->query_at = now;
  server_.idle_in_transaction_since = now;
  if (server_.status != 'I') return;
  const Micros xact_time = now - client_->request_at;
  slice.counters.xact_count++;
  slice.counters.xact_time += xact_time;
  latency.transaction.record(xact_time);
  client_->counters.add_transaction(xact_time);
  server_.owners.count_transaction();
  client_->in_transaction = false;
}

// RESET and DISCARD ALL have put the server's settings back to the server's; the client's go back to those it came
// with.
void ServerRelay::after_reset(bool mine) {
  const ResetSeen seen = std::exchange(server_.reset_seen, ResetSeen::kNone);
  if (seen == ResetSeen::kDiscarded) return;
  const bool all = seen == ResetSeen::kDiscardAll;
  std::vector<std::pair<std::string, std::string>> reported;
  for (const auto& value : server_.params->values) {
    if (server_.start_params->find(value.first)) {
      reported.push_back(value);
    } else if (!all) {  // RESET of one parameter or of all? Unknown, so it is set again for whoever comes next
      reported.emplace_back(value.first, std::string_view("\0", 1));
    }
  }
  server_.params = pool::make_params(std::move(reported));
  if (!mine) return;
  const pool::Params told = client_->params;
  if (all) {
    client_->params = client_->start_params;
  } else {
    for (const auto& [name, value] : client_->start_params->values) {  // those that are not reported
      if (!server_.start_params->find(name)) client_->params = pool::with_value(client_->params, name, value);
    }
  }
  // PostgreSQL has just told it the server's own values.
  std::string out;
  for (const auto& [name, value] : client_->params->values) {
    const std::string* known = told->find(name);
    if (server_.start_params->find(name) && !(known && *known == value)) wire::put_parameter_status(out, name, value);
  }
  emit();
  out_.copy(out);
}

// RESET has given the parameter the server's value, where this client came with another: the client's, else null.
const std::string* ServerRelay::value_after_reset(std::string_view name, std::string_view value) const {
  if (server_.reset_seen == ResetSeen::kNone || server_.reset_seen == ResetSeen::kDiscarded ||
      pool::is_fixed_parameter(name))
    return nullptr;
  const std::string* start = server_.login_params->find(name);
  const std::string* own = client_->start_params->find(name);
  return start && *start == value && own && *own != value && !FAULT(reset_forgets_startup) ? own : nullptr;
}

// A rollback has brought back what the resync inside the transaction had changed: the client's value of that moment,
// which is set again after the transaction, else null.
const std::string* ServerRelay::value_after_rollback(std::string_view name, std::string_view value) const {
  if (!server_.before_resync) return nullptr;
  const std::string* before = server_.before_resync->find(name);
  return before && *before == value ? server_.resynced_to->find(name) : nullptr;
}

bool ServerRelay::on_parameter() {
  bool too_long;
  if (!whole(too_long)) return false;
  if (too_long) return violation();
  std::string_view name, value;
  if (!wire::parse_parameter_status(body(), name, value)) return violation();
  server_.params = pool::with_value(server_.params, name, value);
  if (!client_) return drop();
  if (server_.syncing_settings) return drop();  // settings_done() tells the client what it does not know
  const std::string* own = value_after_rollback(name, value);
  if (!own && wanted()) own = value_after_reset(name, value);
  const std::string* before = client_->params->find(name);
  const bool news = !before || *before != (own ? std::string_view(*own) : value);
  client_->params = pool::with_value(client_->params, name, own ? std::string_view(*own) : value);
  if (own) {
    drop();
    if (!news) return true;
    std::string told;
    wire::put_parameter_status(told, name, *own);
    out_.copy(told);
    return true;
  }
  if (pool::is_plan_parameter(name)) {
    // A Parse since the last ReadyForQuery, or in flight, may have been made under either setting: do not share what
    // came of it.
    if (server_.parsed_after_run) server_.close_after = true;
    for (size_t i = 0; i < queue().size(); ++i) {
      const Request& request = queue().at(i);
      if (request.kind == Request::Kind::kParse && request.on_server && !request.statement->alone)
        server_.close_after = true;
      if (request.named && request.owner == client_)
        parse_again_under(pool::plan_params(client_->params), request.name);
      if (request.unnamed && request.owner == client_) settle_unnamed(pool::plan_params(client_->params));
    }
  }
  // Not what a rollback has put back before the client heard that it was gone.
  return news ? keep() : drop();
}

// What the client's name means was parsed, or answered, under other settings than it had seemed when it was sent.
void ServerRelay::parse_again_under(const pool::Params& plan, std::string_view name) {
  const pool::Statement* there = client_->statements.find(name);
  if (!there || (*there)->alone || (*there)->command != pool::StatementData::Command::kNone) return;
  client_->statements.set(name, context_.statements.intern((*there)->sql, (*there)->types, plan));
}

// ReadyForQuery has told under which settings the statements of its batch were parsed: those that hold from now on.
void ServerRelay::settle_plans() {
  const pool::Params& plan = pool::plan_params(client_ ? client_->params : server_.params);
  server_.settle_open(plan);
  if (client_ && queue().front().settles_unnamed) settle_unnamed(plan);
}

void ServerRelay::settle_unnamed(const pool::Params& plan) {
  const pool::Statement was = client_->unnamed;
  if (!was || was->command != pool::StatementData::Command::kNone) return;
  client_->unnamed = context_.statements.intern(was->sql, was->types, plan);
  if (server_.unnamed == was) server_.unnamed = client_->unnamed;
}

bool ServerRelay::on_copy_in() {
  if (queue().empty()) return violation();
  // What was sent ahead: Syncs are swallowed by the COPY, the first other message ends it. Either that is its
  // CopyDone or CopyFail, or PostgreSQL refuses it. A Query may have had a COPY before this one: what that one has
  // read counts no more.
  size_t at = 1;
  while (at < queue().size() && queue().at(at).read_by_copy()) ++at;
  const size_t first = at;
  bool settles = false, settles_unnamed = false;  // what a swallowed Sync would have told
  for (; at < queue().size() && queue().at(at).kind == Request::Kind::kSync; ++at) {
    settles |= queue().at(at).settles;
    settles_unnamed |= queue().at(at).settles_unnamed;
    if (!FAULT(swallowed_sync_counted)) queue().at(at).kind = Request::Kind::kSwallowed;
  }
  server_.copy_in = at == queue().size();
  size_t end = at;
  while (end < queue().size() && !queue().at(end).ends_with_ready()) ++end;
  if (end < queue().size()) {
    queue().at(end).settles |= settles;
    queue().at(end).settles_unnamed |= settles_unnamed;
  } else {
    server_.plans_open |= settles;
    server_.unnamed_open |= settles_unnamed;
  }
  if (!server_.copy_in && queue().at(at).kind == Request::Kind::kCopyEnd)
    queue().at(at).kind = Request::Kind::kCopyOver;
  if (at > first && queue().front().extended()) {
    bool synced = false;
    for (size_t i = 1; i < queue().size(); ++i) synced |= queue().at(i).kind == Request::Kind::kSync;
    if (!synced) server_.unsynced = server_.sync_swallowed = server_.executed = server_.in_doubt = true;
    if (!synced && client_) client_->in_batch = true;
  }
  if (!client_ && server_.copy_in) server_.fail_copy();  // whoever wanted it has gone
  if (!client_ && server_.unsynced) server_.inject_sync();
  return pass();
}

// Has the COPY that the request at the head is at, or was, swallowed a Sync?
bool ServerRelay::sync_swallowed() const {
  for (size_t i = 1; i < queue().size() && queue().at(i).read_by_copy(); ++i) {
    if (queue().at(i).kind == Request::Kind::kSwallowed) return true;
  }
  return false;
}

bool ServerRelay::on_error() {
  bool too_long;
  if (!whole(too_long)) return false;
  const std::string_view text = too_long ? std::string_view() : body();
  const wire::ErrorFields error = wire::parse_error(text);
  if (error.severity == "FATAL" || error.severity == "PANIC") server_.fatal_seen = true;
  server_.copy_in = false;
  if (server_.status == 'I') server_.left_behind = 0;  // outside a block all is rolled back; else ROLLBACK will come
  if (server_.reset_seen == ResetSeen::kDiscarded) server_.reset_seen = ResetSeen::kDiscardAll;
  if (queue().empty() || server_.fatal_seen) {  // FATAL is the client's even during a query of ours
    if (server_.fatal_seen) server_.close_after = true;
    if (!client_ || server_.may_release(*client_)) return drop();
    count_error(error.sqlstate);
    return keep();
  }
  if (error.sqlstate == "57014" && sync_swallowed()) {
    server_.stray_ready = true;
    if (client_) server_.close_after = true;
  }
  if (!queue().front().extended()) {
    if (queue().front().own) server_.note_failure(error);
    if (wanted()) count_error(error.sqlstate);
    server_.undo(queue().front(), true, 1);
    return pass();
  }
  if (queue().front().own) {
    server_.note_failure(error);
    server_.fail_batch();
    return drop();
  }
  // The batch fails: PostgreSQL skips to its Sync. An injected message speaks for the client's that needs it.
  const pool::Statement statement = queue().front().statement;
  const std::string name(queue().front().changed_name());
  const uint32_t place = queue().front().place;
  if (error.sqlstate == "26000" && statement && queue().front().kind != Request::Kind::kParse) {
    server_.close_after = true;  // the server has lost a statement that we put there
  }
  // Its tables have changed. Who has the statement keeps it, as in PostgreSQL; whoever prepares it from now on does
  // not get this one.
  if (error.sqlstate == "0A000" && error.routine == "RevalidateCachedQuery" && statement) statement->alone.set();
  server_.fail_batch();
  if (client_) count_error(error.sqlstate);
  if (!client_) {
    drop();
  } else if (!too_long && error.message.find(pool::kStatementPrefix) != std::string_view::npos) {
    put_renamed(text, error, statement, name, place);
  } else {
    keep();
  }
  return true;
}

void ServerRelay::count_error(std::string_view sqlstate) {
  server_.slice->count_error(stats::ErrorSource::kServer, sqlstate);
}

// The same error under the client's own name of the statement.
void ServerRelay::put_renamed(std::string_view text, const wire::ErrorFields& error, const pool::Statement& statement,
                              const std::string& name, uint32_t place) {
  emit();
  std::string from, to;
  if (statement) {
    from = statement->name;
    to = name.empty() ? client_->statements.name_of(statement, place) : name;
  } else if (error.message.find(pool::kMissingPrefix) != std::string_view::npos) {
    from = pool::kMissingPrefix;
  }
  std::string sent;
  wire::put_error_renamed(sent, wire::kErrorResponse, text, from, to);
  out_.copy(sent);
  at_ += head_.size;
  start_ = at_;
}

}  // namespace berth::session
