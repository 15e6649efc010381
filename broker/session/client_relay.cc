// The middle of a client's life: its messages on their way to a server. The walk goes from message head to message
// head and forwards stretches as they are; only what names a prepared statement is rewritten (client_statements.cc).
// What a message will be answered with is put into the server's queue at the same moment.
#include "session/client_relay.h"

#include "base/fault.h"
#include "wire/encode.h"
#include "wire/frontend.h"

namespace berth::session {

net::Taken Client::relay_on_bytes(std::string_view bytes) {
  ClientRelay relay(*this, bytes);
  return relay.run();
}

net::Taken ClientRelay::run() {
  if (server_) out_.begin(&context_.engine, server_->conn);
  while (at_ < bytes_.size() && step()) continue;
  if (client_.closing()) {
    out_.drop();
    return {bytes_.size(), 0};
  }
  client_.slice->counters.received += static_cast<int64_t>(at_);
  client_.counters.add_received(at_);
  if (server_) {
    emit();
    if (out_.flush() > 0) {
      context_.engine.pause(client_.conn, net::kPauseBackpressure);
      server_->backed_up = true;
    }
    if (rest_sent_) server_->after_bytes();
  }
  return {at_, need_};
}

// Ends the stretch that is passed as it is.
void ClientRelay::emit() {
  out_.lend(bytes_.substr(start_, at_ - start_));
  start_ = at_;
}

// False: stop here, the rest stays with the engine.
bool ClientRelay::step() {
  const size_t available = bytes_.size() - at_;
  if (client_.forward_left > 0) {
    const uint64_t part = std::min<uint64_t>(client_.forward_left, available);
    if (client_.dropping) {
      emit();
      at_ += part;
      start_ = at_;
    } else {
      at_ += part;
    }
    client_.forward_left -= part;
    if (client_.forward_left == 0 && server_ && server_->requests.empty()) rest_sent_ = true;
    return true;
  }
  client_.dropping = false;
  if (available < wire::kHeaderSize) return more(wire::kHeaderSize);
  head_ = wire::read_head(bytes_.data() + at_, static_cast<uint64_t>(context_.options().max_packet_size));
  if (!head_.valid) return fail("invalid message length");
  if (head_.tag == wire::kTerminate) {
    emit();
    if (server_) out_.flush();
    client_.close(ClientEnd::kRequest);
    return false;
  }
  if (client_.skipping && head_.tag != wire::kSync) return drop();
  if (!server_ && !link()) return !client_.closing() && at_ < bytes_.size() && client_.dropping;
  if (server_->requests.size() >= kRequestsMax) {
    answer_synthetic();
    if (context_.engine.unsent(client_.conn) > 0) {  // it does not read what it asks for
      context_.engine.pause(client_.conn, net::kPauseBackpressure);
      return false;
    }
    if (server_->requests.size() < kRequestsMax) return message();
    // PostgreSQL may keep its answer until it is asked for it, and those of the broker's own wait behind that.
    if (server_->unsynced) ask_for_answers();
    context_.engine.pause(client_.conn, net::kPausePipeline);
    return false;
  }
  return message();
}

// Gets a server for the message at hand. False with `dropping`: the message needs none.
bool ClientRelay::link() {
  switch (head_.tag) {
    case wire::kFlush:
    case wire::kCopyData:
    case wire::kCopyDone:
    case wire::kCopyFail:
      drop();  // outside a batch and a COPY, PostgreSQL ignores these too
      return false;
    case wire::kQuery:
    case wire::kParse:
    case wire::kBind:
    case wire::kDescribe:
    case wire::kExecute:
    case wire::kClose:
    case wire::kSync:
    case wire::kFunctionCall: break;
    default: return fail("unexpected message type");
  }
  if (!client_.in_transaction) {
    client_.in_transaction = true;
    client_.request_at = context_.now();
  }
  if (!client_.want_server()) return false;
  server_ = client_.server;
  out_.begin(&context_.engine, server_->conn);
  return true;
}

bool ClientRelay::message() {
  if (server_->copy_in) return copy_message();
  if (server_->requests.empty()) {
    client_.query_at = context_.now();
    if (!client_.in_transaction) {
      client_.in_transaction = true;
      client_.request_at = client_.query_at;
    }
  }
  switch (head_.tag) {
    case wire::kQuery: return query();
    case wire::kParse: return own_names_ ? own_parse() : parse();
    case wire::kBind: return own_names_ ? own_bind() : bind();
    case wire::kDescribe: return own_names_ ? extended(Request::Kind::kDescribe) : describe();
    case wire::kClose: return own_names_ ? own_close() : close();
    case wire::kExecute: return execute();
    case wire::kSync:
      client_.skipping = client_.in_batch = server_->unsynced = false;
      push(Request::Kind::kSync);
      end_batch();
      return pass();
    case wire::kFlush:  // it opens no batch: alone behind a Sync it keeps nothing
      answer_synthetic();
      return pass();
    case wire::kFunctionCall:  // ends a batch, as a Query does
      push(Request::Kind::kFunction);
      client_.in_batch = server_->unsynced = false;
      server_->in_doubt = true;
      end_batch();
      return pass();
    case wire::kCopyData: return pass();
    case wire::kCopyDone:
    case wire::kCopyFail:
      // Sent ahead of the CopyInResponse, or stray: it marks which Syncs before it a COPY would swallow.
      if (!server_->requests.empty()) push(Request::Kind::kCopyEnd);
      return pass();
    default: return fail("unexpected message type");
  }
}

// PostgreSQL reads COPY data: it swallows Flush and Sync, and takes anything else for a violation.
bool ClientRelay::copy_message() {
  switch (head_.tag) {
    case wire::kCopyData:
    case wire::kFlush:
    case wire::kSync: return pass();
    case wire::kCopyDone:
    case wire::kCopyFail: server_->copy_in = false; return pass();
    default:
      if (server_->copy_both) return pass();
      if (server_->requests.empty() || !server_->requests.front().extended())
        return fail("unexpected message type during COPY from stdin");
      server_->copy_in = false;  // PostgreSQL refuses it, and skips to the next Sync
      breaks_copy_ = true;
      return message();
  }
}

// The request just pushed ends a batch.
void ClientRelay::end_batch() {
  const uint64_t end = server_->requests.end();
  server_->batch_end = end;
  if (server_->names_changed) server_->names_end = end;
  if (server_->unnamed_changed) server_->unnamed_end = end;
  if (server_->in_doubt) server_->doubt_end = end;
  if (server_->plans_open) server_->requests.back().settles = true;
  if (server_->unnamed_open) server_->requests.back().settles_unnamed = true;
  server_->forget_batch();
}

// PostgreSQL keeps its answers until a Sync, a Query or this.
void ClientRelay::ask_for_answers() {
  emit();
  std::string flush;
  wire::put_empty(flush, wire::kFlush);
  out_.copy(flush);
}

Request& ClientRelay::push(Request::Kind kind) {
  Request& request = server_->requests.push();
  request.kind = kind;
  request.owner = &client_;
  return request;
}

bool ClientRelay::extended(Request::Kind kind) {
  client_.in_batch = server_->unsynced = true;
  push(kind);
  return pass();
}

bool ClientRelay::pass() {
  const uint64_t part = std::min<uint64_t>(head_.size, bytes_.size() - at_);
  at_ += part;
  client_.forward_left = head_.size - part;
  return true;
}

bool ClientRelay::drop() {
  emit();
  const uint64_t part = std::min<uint64_t>(head_.size, bytes_.size() - at_);
  at_ += part;
  start_ = at_;
  client_.forward_left = head_.size - part;
  client_.dropping = true;
  return true;
}

bool ClientRelay::more(uint64_t size) {
  need_ = size;
  return false;
}

bool ClientRelay::fail(std::string_view why, std::string_view sqlstate, std::string_view hint) {
  if (server_) {  // what stands in the queue of requests must have been sent
    emit();
    out_.flush();
  }
  client_.fatal(sqlstate == "54000" ? ClientEnd::kMessageTooLong : ClientEnd::kProtocolViolation, sqlstate, why, {},
                hint);
  return false;
}

// Whole message at hand? Else asks for it; beyond `most` the session ends.
bool ClientRelay::whole(uint64_t most, bool& stop) {
  stop = false;
  if (head_.size > most) {
    stop = true;
    return fail("message is too long", "54000", "See max_parse_size.");
  }
  if (bytes_.size() - at_ < head_.size) {
    stop = true;
    return more(head_.size);
  }
  return true;
}

// Replies that the broker owes by itself and that nothing stands before.
void ClientRelay::answer_synthetic() {
  std::string replies;
  if (server_->fatal_seen) return;  // nothing follows FATAL
  while (server_->pass_left == 0 && !server_->requests.empty() && server_->requests.front().synthetic()) {
    const bool parsed = server_->requests.front().kind == Request::Kind::kParsedAlready;
    wire::put_empty(replies, parsed ? wire::kParseComplete : wire::kCloseComplete);
    do server_->requests.pop();
    while (!server_->requests.empty() && server_->requests.front().silent());
  }
  if (!replies.empty()) client_.send(replies);
}

bool ClientRelay::query() {
  bool sets = false;
  if (head_.size <= pool_command_max()) {
    bool stop;
    if (!whole(pool_command_max(), stop)) return false;  // its first bytes alone could not tell
    std::string_view sql = body();
    if (!sql.empty() && sql.back() == '\0') sql.remove_suffix(1);
    if (wire::may_be_set(sql)) sets = sets_untracked(sql);
    bool done;
    if (wire::may_be_statement_command(sql) && query_command(sql, done)) return done;
  }
  Request& request = push(Request::Kind::kQuery);
  if (sets) request.sets_untracked = true;
  drop_unnamed(request);
  end_batch();
  return pass();
}

// A simple Query drops the unnamed statement, and ends a batch without a Sync.
void ClientRelay::drop_unnamed(Request& request) {
  request.unnamed = true;
  server_->unnamed_changed |= client_.in_batch;  // should the batch have failed, it is skipped
  if (client_.unnamed) request.previous = std::move(client_.unnamed);
  if (server_->unnamed && !FAULT(unnamed_not_forgotten)) server_->unnamed.reset();
  client_.in_batch = server_->unsynced = false;
  server_->in_doubt = true;  // its text is not looked at: it may be several statements
}

bool ClientRelay::execute() {
  client_.in_batch = server_->unsynced = server_->executed = true;
  if (server_->portal_in_doubt) server_->in_doubt = true;
  if (client_.bound) {
    bool stop;
    if (!whole(kTargetMax, stop)) return false;
    std::string_view rest = body(), portal;
    if (!wire::take_cstring(rest, portal)) return fail("invalid Execute message");
    if (const pool::Statement command = bound_command(portal)) return execute_command(command);
  }
  push(Request::Kind::kExecute);
  return pass();
}

}  // namespace berth::session
