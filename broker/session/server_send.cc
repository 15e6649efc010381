// What the broker itself says to a server: settings of a client, injected Parses, checks. None of it has an owner, so
// its replies go to nobody.
#include "base/fault.h"
#include "session/client.h"
#include "session/server.h"
#include "wire/encode.h"

namespace berth::session {

void Server::inject_query(std::string_view sql) {
  Request& request = requests.push();
  request.kind = Request::Kind::kQuery;
  request.own = true;
  unsynced = false;
  if (unnamed && !FAULT(unnamed_not_forgotten)) unnamed.reset();
  std::string out;
  wire::put_query(out, sql);
  net::write(context->engine, conn, out);
}

// Ends what an extended message has begun.
void Server::inject_sync() {
  std::string out;
  wire::put_empty(out, wire::kSync);
  net::write(context->engine, conn, out);
  Request& request = requests.push();
  request.kind = Request::Kind::kSync;
  request.settles = !open_statements.empty();
  unsynced = false;
}

// Ends a COPY that waits for the data of a client that has gone.
void Server::fail_copy() {
  copy_in = false;
  std::string out;
  {
    wire::Message message(out, wire::kCopyFail);
    wire::put_cstring(out, "client disconnected");
  }
  net::write(context->engine, conn, out);
}

// The settings first, and alone: a query must not run under wrong ones, should PostgreSQL refuse one of them.
void Server::prepare_for(Client* next) {
  client = next;
  next->server = this;
  slice->counters.server_assignment_count++;
  owners.link(next->serial, next->peer, next->params, state_since);
  forget_batch();
  settle_open(pool::plan_params(params));
  portal_in_doubt = false;
  if (unnamed_of != next->serial) unnamed.reset();
  unnamed_of = next->serial;
  if (next->session_mode && slice->replication.empty()) {  // a replication connection knows no extended protocol
    // Its Binds go as they are: an unnamed statement that another client has left must not be there.
    std::string out;
    wire::put_close_statement(out, "");
    net::write(context->engine, conn, out);
    requests.push().kind = Request::Kind::kClose;
    next->query_at = context->now();  // its first query begins with that: the queue is not empty when it comes
    unsynced = true;
    unnamed.reset();
  }
  if (params == next->params || FAULT(settings_not_set)) return next->start_on_server();
  const std::string sql = pool::difference_sql(params, next->params);
  if (sql.empty()) {  // they differ in what cannot be set only
    tell_fixed(*next);
    return next->start_on_server();
  }
  syncing_settings = true;
  settings_failed = false;
  inject_query(sql);
}

// What cannot be set (in_hot_standby, server_version, ...) is the server's, whatever the client was told by another
// one.
void Server::tell_fixed(Client& of) {
  std::string news;
  for (const auto& [name, value] : params->values) {
    if (!pool::is_fixed_parameter(name) || !start_params->find(name)) continue;
    const std::string* known = of.params->find(name);
    if (known && *known == value) continue;
    wire::put_parameter_status(news, name, value);
    of.start_params = pool::with_value(of.start_params, name, value);
  }
  of.params = params;
  if (!news.empty()) of.send(news);
}

void Server::settings_done() {
  syncing_settings = false;
  Client* for_client = client;
  if (settings_failed) {
    const std::string state_text = setting_error_sqlstate.empty() ? "22023" : setting_error_sqlstate;
    return for_client->fatal(ClientEnd::kSettingsRefused, state_text, setting_error);
  }
  // What PostgreSQL reports is as it reports it (`ISO` has become `ISO, MDY`); the rest is as it was set.
  // The client is told when that is not what it believes.
  auto values = for_client->params->values;
  std::string news;
  for (auto& [name, value] : values) {
    if (const std::string* reported = start_params->find(name)) {
      const std::string* current = params->find(name);
      const std::string& called = current ? *current : *reported;
      if (called == value) continue;
      const std::string* start = for_client->start_params->find(name);
      if (start && (*start == value || pool::is_fixed_parameter(name)))
        for_client->start_params = pool::with_value(for_client->start_params, name, called);
      wire::put_parameter_status(news, name, called);
      value = called;
    }
  }
  if (!news.empty()) for_client->send(news);
  params = for_client->params = pool::make_params(std::move(values));
  for_client->start_on_server();
}

// Close of a statement ('S') or a portal ('P').
Request& Server::inject_close(char what, std::string_view name) {
  std::string out;
  {
    wire::Message close(out, wire::kClose);
    out += what;
    wire::put_cstring(out, name);
  }
  context->to_server.copy(out);
  Request& request = requests.push();
  request.kind = Request::Kind::kClose;
  return request;
}

void Server::remember(const pool::Statement& statement, int64_t most) {
  while (statements.size() > 0 && static_cast<int64_t>(statements.size()) >= most) {
    const pool::Statement oldest = statements.oldest();
    // It could not be made again as it is. Its batch will be over.
    if (oldest->is_open() && static_cast<int64_t>(statements.size()) < most + kOpenStatementsMax) break;
    statements.remove(*oldest);
    if (FAULT(evicted_without_close)) continue;
    Request& request = inject_close('S', oldest->name);
    request.on_server = true;
    request.statement = oldest;
  }
  statements.add(statement);
}

static constexpr std::string_view kOwnName = "berth_set";  // of the broker's statement and its portal

// A statement without parameters, whose rows nobody reads, up to its Execute; that one's entry in the queue is the
// caller's. The portal stays.
void Server::inject_statement(std::string_view sql, std::string_view portal) {
  if (!portal.empty()) inject_close('P', portal);
  inject_close('S', kOwnName);
  std::string out;
  wire::put_parse(out, kOwnName, sql, std::string_view("\0\0", 2));
  {
    wire::Message bind(out, wire::kBind);
    wire::put_cstring(out, portal);
    wire::put_cstring(out, kOwnName);
    out.append(6, '\0');  // no parameter formats, no parameters, no result formats
  }
  {
    wire::Message execute(out, wire::kExecute);
    wire::put_cstring(out, portal);
    wire::put32(out, 0);
  }
  context->to_server.copy(out);
  for (Request::Kind kind : {Request::Kind::kParse, Request::Kind::kBind}) requests.push().kind = kind;
}

void Server::inject_settings(std::string_view select) {
  inject_statement(select, kOwnName);
  requests.push().kind = Request::Kind::kExecute;
  inject_close('P', kOwnName);
}

void Server::inject_parse(const pool::Statement& statement, bool as_unnamed) {
  std::string before, after;
  if (refuses_all() || !statement->traits.reads_settings || !statement->plan) {
    // Refused as well, whatever the settings; or they do not matter: what stands first in its transaction must have
    // no SELECT before it.
  } else if (executed) {  // what that has done to the settings is not known yet
    before = pool::lend_settings_sql(statement->plan);
    after = pool::return_settings_sql(statement->plan);
  } else if (const pool::Params& now = pool::plan_params(params); !(now == statement->plan)) {
    before = pool::difference_sql(now, statement->plan, pool::SettingsLast::kTransaction);
    after = pool::difference_sql(statement->plan, now, pool::SettingsLast::kTransaction);
  }
  if (!before.empty()) inject_settings(before);
  Request& request = requests.push();
  request.kind = Request::Kind::kParse;
  request.statement = statement;
  request.on_server = !as_unnamed;
  request.unnamed = as_unnamed;
  std::string out;
  wire::put_parse(out, as_unnamed ? std::string_view() : std::string_view(statement->name), statement->sql,
                  statement->types);
  context->to_server.copy(out);
  if (!after.empty()) inject_settings(after);
}

void Server::inject_spare(uint16_t parameters) {
  inject_close('S', pool::kSpareName);
  std::string out, types;
  wire::put16(types, parameters);
  for (uint16_t i = 0; i < parameters; ++i) wire::put32(types, 25);  // text
  wire::put_parse(out, pool::kSpareName, "", types);
  context->to_server.copy(out);
  requests.push().kind = Request::Kind::kParse;
}

void Server::check_alive() {
  deadline = context->now() + kCheckTime;
  const std::string& query = context->options().server_check_query;
  inject_query(query == "<empty>" ? std::string_view("") : std::string_view(query));
}

}  // namespace berth::session
