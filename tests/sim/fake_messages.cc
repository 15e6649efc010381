// A backend's messages, of the simple and the extended protocol, and what the wild ones are answered; what statements
// do stands in fake_sql.cc.
#include "sim/fake_postgres.h"

#include "base/assert.h"
#include "pool/statements.h"
#include "wire/backend.h"
#include "wire/encode.h"

namespace berth::sim {

void Backend::on_message(char tag, std::string_view body) {
  if (cluster_.trace)
    cluster_.trace("pid " + std::to_string(pid_) + (skipping_ ? " skips " : " reads ") + tag + "    " +
                   std::string(body));
  if (user_ == kRawUser) return on_raw_message(tag, body);
  if (copy_) return on_copy_message(tag, body);
  if (skipping_ && tag != wire::kSync && tag != wire::kTerminate) return;
  switch (tag) {
    case wire::kQuery: return on_query(body);
    case wire::kParse: return on_parse(body);
    case wire::kBind: return on_bind(body);
    case wire::kDescribe: return on_describe(body);
    case wire::kExecute: return on_execute(body);
    case wire::kClose: return on_close(body);
    case wire::kSync: return on_sync();
    case wire::kFunctionCall: return on_function(body);
    case wire::kFlush:
    case wire::kCopyData:
    case wire::kCopyDone:
    case wire::kCopyFail: return;
    case wire::kTerminate: return hang_up();
    default:
      if (cluster_.violation) cluster_.violation(std::string("a backend got a message of type ") + tag);
      return refuse("08P01", "invalid frontend message type");
  }
}

std::vector<std::string> echoes_in(std::string_view told) {
  std::vector<std::string> texts;
  for (size_t at = told.find(kEcho); at != std::string_view::npos; at = told.find(kEcho, at)) {
    at += kEcho.size();
    const size_t size_end = told.find(' ', at);
    if (size_end == std::string_view::npos) break;
    const size_t size = std::strtoul(std::string(told.substr(at, size_end - at)).c_str(), nullptr, 10);
    const std::string_view text = told.substr(size_end + 1);
    if (size < text.size() && text[size] == kEchoEnd) texts.emplace_back(text.substr(0, size));
  }
  return texts;
}

void Backend::on_raw_message(char tag, std::string_view body) {
  constexpr std::string_view kKnown = "BCDEFHPQScdfX";
  if (kKnown.find(tag) == std::string_view::npos && cluster_.violation)
    cluster_.violation(std::string("a backend got a message of type ") + tag);
  if (tag == wire::kTerminate) return hang_up();
  if (tag != wire::kQuery && tag != wire::kSync && tag != wire::kFunctionCall) return;
  // A DEALLOCATE comes in the broker's words.
  const bool said = tag == wire::kQuery && body.find(pool::kDeallocateSpare) == std::string_view::npos;
  const std::string text(said ? body.substr(0, body.size() - !body.empty()) : std::string_view());
  pid_ % 2 == 0 ? owed_.push_back(text) : answer_raw(text);
}

void Backend::answer_raw(const std::string& text) {
  if (echoes_ && !text.empty()) put_row(std::string(kEcho) + std::to_string(text.size()) + " " + text + kEchoEnd);
  put_ready();
}

// Whether nobody takes these bytes for the answer to anything: whole messages, and of such types.
static bool is_by_the_way(std::string_view bytes) {
  while (!bytes.empty()) {
    if (bytes.size() < wire::kHeaderSize) return false;
    const wire::Head head = wire::read_head(bytes.data(), 1 << 26);
    if (!head.valid || head.size > bytes.size() ||
        std::string_view("123ntsTDCNSAI").find(head.tag) == std::string_view::npos)
      return false;
    bytes.remove_prefix(head.size);
  }
  return true;
}

void Backend::say_raw(std::string_view bytes, bool instead) {
  echoes_ &= !instead && is_by_the_way(bytes);
  if (instead) {
    out.clear();
    owed_.clear();
  }
  out += bytes;
  for (const std::string& text : std::exchange(owed_, {})) answer_raw(text);
}

void Backend::on_copy_message(char tag, std::string_view body) {
  switch (tag) {
    case wire::kCopyData: {
      const std::string mark = tag_in(body);
      own(mark);
      ++copied_;
      copied_text_.append(body);
      return;
    }
    case wire::kCopyDone: return end_copy(std::nullopt);
    case wire::kCopyFail:
      return end_copy(Failure{"57014", "COPY from stdin failed: " + std::string(body.substr(0, body.size() - 1))});
    case wire::kFlush:
    case wire::kSync: return;
    case wire::kTerminate: return hang_up();
    default: return end_copy(Failure{"08P01", "unexpected message type during COPY from stdin"});
  }
}

void Backend::end_copy(Outcome outcome) {
  copy_ = false;
  if (!outcome) writes_["copy of " + std::to_string(client_of_tag(running_tag_))] = copied_text_;
  const std::string done = "COPY " + std::to_string(copied_);
  if (!in_query_) {
    Portal& portal = portals_[portal_running_];
    portal.tag = done;
    portal.rows.clear();
    return after_execute(&portal, outcome);
  }
  if (outcome) {
    put_failure(*outcome);
    running_.clear();
    return finish_query();
  }
  put_complete(done);
}

// ---- simple protocol

static std::vector<std::string> split_script(std::string_view sql) {
  std::vector<std::string> parts;
  while (!sql.empty()) {
    const size_t end = sql.find(';');
    std::string part(sql.substr(0, end));
    const size_t first = part.find_first_not_of(' ');
    part.erase(0, first == std::string::npos ? part.size() : first);
    if (!part.empty()) parts.push_back(part);
    if (end == std::string_view::npos) break;
    sql.remove_prefix(end + 1);
  }
  return parts;
}

void Backend::on_query(std::string_view body) {
  if (!body.empty()) body.remove_suffix(1);
  statements_.erase("");
  portals_.erase("");
  in_query_ = true;
  const std::vector<std::string> parts = split_script(body);
  many_ = parts.size() > 1;
  for (const std::string& part : parts) {
    if (const Outcome outcome = check_syntax(part)) {
      put_failure(*outcome);
      return finish_query();
    }
  }
  if (parts.empty()) {
    wire::put_empty(out, wire::kEmptyQueryResponse);
    return finish_query();
  }
  running_.assign(parts.begin(), parts.end());
}

// One statement of a simple Query, or its end.
bool Backend::run_script() {
  if (running_.empty()) {
    finish_query();
    return true;
  }
  Statement statement;
  statement.sql = running_.front();
  running_.pop_front();
  statement.folded = fold_now();
  std::vector<std::string> rows;
  std::string done;
  bool waiting = false;
  const Outcome outcome = run(statement, {}, rows, done, many_, waiting);
  if (outcome) {
    put_failure(*outcome);
    running_.clear();
    finish_query();
  } else if (!waiting) {
    if (returns_rows(statement)) put_row_description();
    for (const std::string& row : rows) put_row(row);
    put_complete(done);
    if (!block_ && !many_) commit();
  }
  return true;
}

void Backend::finish_query() {
  in_query_ = false;
  if (started_ && !block_) commit();
  put_ready();
}

void Backend::on_function(std::string_view body) {
  const std::string mark = tag_in(body);
  if (failed_) {
    put_failure({"25P02", "current transaction is aborted, commands ignored until end of transaction block"});
    return put_ready();
  }
  own(mark);
  start();
  {
    wire::Message answer(out, wire::kFunctionCallResponse);
    wire::put32(out, static_cast<uint32_t>(mark.size()));
    out += mark;
  }
  if (!block_) commit();
  put_ready();
}

// ---- extended protocol

void Backend::fail_extended(const Failure& failure) {
  put_failure(failure);
  skipping_ = true;
}

static bool ends_block(std::string_view sql) {
  return sql.starts_with("commit") || sql.starts_with("rollback");
}
static const char* const kAborted = "current transaction is aborted, commands ignored until end of transaction block";

void Backend::on_parse(std::string_view body) {
  std::string_view name, sql;
  if (!wire::take_cstring(body, name) || !wire::take_cstring(body, sql))
    return fail_extended({"08P01", "invalid Parse"});
  start();
  if (name.empty()) statements_.erase("");
  if (const Outcome outcome = check_syntax(sql)) return fail_extended(*outcome);
  if (failed_ && !sql.empty() && !ends_block(sql)) return fail_extended({"25P02", kAborted});
  const std::string key(name);
  if (statements_.contains(key)) return fail_extended({"42P05", "prepared statement \"" + key + "\" already exists"});
  Statement& statement = statements_[key];
  statement.sql = sql;
  statement.folded = fold_now();
  statement.types = body;
  const int given = body.size() >= 2 ? wire::read16(body.data()) : 0;
  statement.parameters = std::max(given, static_cast<int>(std::count(sql.begin(), sql.end(), '$')));
  wire::put_empty(out, wire::kParseComplete);
}

// Takes a list of formats, as digits. False: the message ends before it does.
static bool take_formats(std::string_view& body, std::string& formats) {
  if (body.size() < 2) return false;
  const size_t count = wire::read16(body.data());
  if (body.size() < 2 + 2 * count) return false;
  for (size_t i = 0; i < count; ++i) formats += std::to_string(wire::read16(body.data() + 2 + 2 * i));
  body.remove_prefix(2 + 2 * count);
  return true;
}

// The values of a Bind, as text, and its formats: of the values, a slash, of the results. False: it ends too early.
static bool take_values(std::string_view body, std::vector<std::string>& values, std::string& formats) {
  if (!take_formats(body, formats) || body.size() < 2) return false;
  const uint16_t count = wire::read16(body.data());
  body.remove_prefix(2);
  for (uint16_t i = 0; i < count; ++i) {
    if (body.size() < 4) return false;
    const uint32_t size = wire::read32(body.data());
    body.remove_prefix(4);
    if (size == UINT32_MAX) {
      values.emplace_back("NULL");
      continue;
    }
    if (body.size() < size) return false;
    values.emplace_back(body.substr(0, size));
    body.remove_prefix(size);
  }
  formats += '/';
  return take_formats(body, formats) && body.empty();
}

void Backend::on_bind(std::string_view body) {
  std::string_view portal_name, name;
  if (!wire::take_cstring(body, portal_name) || !wire::take_cstring(body, name) || body.size() < 4) {
    return fail_extended({"08P01", "invalid Bind"});
  }
  start();
  const auto at = statements_.find(std::string(name));
  if (at == statements_.end()) {
    return fail_extended({"26000", name.empty() ? "unnamed prepared statement does not exist"
                                                : "prepared statement \"" + std::string(name) + "\" does not exist"});
  }
  Portal portal;
  portal.statement = at->second;
  std::string formats;
  if (!take_values(body, portal.values, formats)) {
    if (cluster_.violation)
      cluster_.violation("a backend got a Bind that ends too early, pid " + std::to_string(pid_));
    return fail_extended({"08P01", "invalid Bind"});
  }
  const int count = static_cast<int>(portal.values.size());
  if (count != portal.statement.parameters) {
    return fail_extended({"08P01", "bind message supplies " + std::to_string(count) +
                                       " parameters, but prepared statement \"" + std::string(name) + "\" requires " +
                                       std::to_string(portal.statement.parameters)});
  }
  if (failed_ && !ends_block(portal.statement.sql)) return fail_extended({"25P02", kAborted});
  if (!portal_name.empty() && portals_.contains(std::string(portal_name))) {
    return fail_extended({"42P03", "cursor \"" + std::string(portal_name) + "\" already exists"});
  }
  if (count > 0) own(tag_in(portal.values[0]));
  if (formats.size() > 1) portal.values.push_back(formats);
  portals_[std::string(portal_name)] = std::move(portal);
  wire::put_empty(out, wire::kBindComplete);
}

void Backend::on_describe(std::string_view body) {
  const char kind = body[0];
  const std::string name(body.substr(1, body.size() - 2));
  start();
  const Statement* statement = nullptr;
  if (kind == 'S') {
    const auto at = statements_.find(name);
    if (at == statements_.end()) {
      return fail_extended({"26000", name.empty() ? "unnamed prepared statement does not exist"
                                                  : "prepared statement \"" + name + "\" does not exist"});
    }
    statement = &at->second;
  } else {
    const auto at = portals_.find(name);
    if (at == portals_.end()) return fail_extended({"34000", "portal \"" + name + "\" does not exist"});
    statement = &at->second.statement;
  }
  if (failed_ && returns_rows(*statement)) return fail_extended({"25P02", kAborted});
  if (kind == 'S') {
    wire::Message types(out, 't');
    wire::put16(out, static_cast<uint16_t>(statement->parameters));
    const std::string& given = statement->types;  // behind their count
    for (size_t i = 0; i < static_cast<size_t>(statement->parameters); ++i)
      wire::put32(out, given.size() >= 6 + 4 * i ? wire::read32(given.data() + 2 + 4 * i) : 25);
  }
  if (returns_rows(*statement)) {
    put_row_description();
  } else {
    wire::put_empty(out, wire::kNoData);
  }
}

void Backend::on_execute(std::string_view body) {
  const std::string name(body.substr(0, body.find('\0')));
  const uint32_t most = wire::read32(body.data() + name.size() + 1);
  start();
  const auto at = portals_.find(name);
  if (at == portals_.end()) return fail_extended({"34000", "portal \"" + name + "\" does not exist"});
  Portal& portal = at->second;
  if (failed_ && !ends_block(portal.statement.sql)) return fail_extended({"25P02", kAborted});
  if (portal.done && !returns_rows(portal.statement))
    return fail_extended({"55000", "portal \"" + name + "\" cannot be run"});
  portal_running_ = name;
  if (!portal.begun) {
    portal.begun = true;
    bool waiting = false;
    std::vector<std::string> rows;
    std::string done;
    const Statement statement = portal.statement;  // DISCARD ALL drops the portal
    const std::vector<std::string> values = portal.values;
    const Outcome outcome = run(statement, values, rows, done, false, waiting);
    if (waiting) return;
    const auto still = portals_.find(name);
    if (outcome || still == portals_.end()) {
      Portal ended;
      ended.statement = statement;
      ended.rows = std::move(rows);
      ended.tag = done;
      return after_execute(&ended, outcome);
    }
    still->second.rows = std::move(rows);
    still->second.tag = done;
  }
  if (most > 0 && portal.rows.size() - portal.at > most) {
    for (uint32_t i = 0; i < most; ++i) put_row(portal.rows[portal.at++]);
    wire::put_empty(out, wire::kPortalSuspended);
    return;
  }
  after_execute(&portal, std::nullopt);
}

// The statement of an Execute has ended.
void Backend::after_execute(Portal* portal, Outcome outcome) {
  if (outcome) return fail_extended(*outcome);
  const size_t left = portal->rows.size() - portal->at;
  while (portal->at < portal->rows.size()) put_row(portal->rows[portal->at++]);
  portal->done = true;
  if (portal->statement.sql.empty()) {
    wire::put_empty(out, wire::kEmptyQueryResponse);
  } else if (returns_rows(portal->statement)) {
    put_complete("SELECT " + std::to_string(left));
  } else {
    put_complete(portal->tag);
  }
}

void Backend::on_close(std::string_view body) {
  const std::string name(body.substr(1, body.size() - 2));
  if (body[0] == 'S') {
    statements_.erase(name);
  } else {
    portals_.erase(name);
  }
  wire::put_empty(out, wire::kCloseComplete);
}

void Backend::on_sync() {
  skipping_ = false;
  if (started_ && !block_) commit();
  put_ready();
}

}  // namespace berth::sim
