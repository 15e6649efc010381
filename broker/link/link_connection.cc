#include "link/link_connection.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "link/one_line.h"

namespace berth::link {

namespace {

// Names are written out, since nobody knows the search_path of that role there.
constexpr const char* kAskSql =
    "select case when p is null then 'absent' when pg_catalog.pg_is_in_recovery() then 'standby' "
    "when not pg_catalog.has_function_privilege(p, 'execute') then 'denied' else 'ready' end, "
    "(extract(epoch from pg_catalog.pg_postmaster_start_time()) operator(pg_catalog.*) 1000000)::pg_catalog.int8, "
    "(select d.oid from pg_catalog.pg_database d where d.datname operator(pg_catalog.=) "
    "pg_catalog.current_database()) "
    "from pg_catalog.to_regprocedure('berth.register_broker(text,text,text,text,text,timestamptz)') as p";
constexpr const char* kListenSql = "listen pgberth";
// The secret is a parameter, so that neither pg_stat_activity nor pg_stat_statements shows it.
constexpr const char* kRegisterSql = "select berth.register_broker($1, $2, $3, $4, $5, $6)";
constexpr const char* kBeatSql = "select berth.heartbeat($1)";
constexpr const char* kDeregisterSql = "select berth.deregister_broker($1)";
constexpr std::string_view kNoPrivilege = "42501";

std::string iso_time(Micros wall) {
  const time_t seconds = wall / kSecond;
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:06}+00", fmt::gmtime(seconds), wall % kSecond);
}

Place place_of(const PGresult* result) {
  Place place;
  if (PQntuples(result) < 1 || PQnfields(result) < 3) return place;
  const std::string_view started = PQgetvalue(result, 0, 1);
  std::from_chars(started.data(), started.data() + started.size(), place.server_started_at);
  place.database = PQgetvalue(result, 0, 2);
  return place;
}

}  // namespace

bool LinkConnection::broken() const {
  return !connection_ || PQstatus(connection_.get()) == CONNECTION_BAD;
}

void LinkConnection::connect(const Target& target, const config::Config& config,
                             const std::vector<net::Address>& addresses) {
  close();
  connection_ = start_connecting(target, "pgberth link", config, addresses);
  waits_to_read_ = false;
}

void LinkConnection::close() {
  connection_.reset();
  connected_ = notified_ = send_failed_ = false;
  asked_ = Asked::kNothing;
  result_.reset();
  registration_.clear();
}

void LinkConnection::send(Asked asked, const char* sql, const std::vector<std::string>& values) {
  std::vector<const char*> texts;
  for (const std::string& value : values) texts.push_back(value.c_str());
  asked_ = asked;
  send_failed_ = PQsendQueryParams(connection_.get(), sql, static_cast<int>(texts.size()), nullptr, texts.data(),
                                   nullptr, nullptr, 0) != 1 ||
                 PQsetSingleRowMode(connection_.get()) != 1;
}

void LinkConnection::ask() {
  send(Asked::kVerdict, kAskSql);
}

void LinkConnection::register_broker(const session::Identity& identity, const std::string& console) {
  registration_ = {identity.id,
                   identity.name,
                   identity.version,
                   console,
                   std::string(identity.password.view()),
                   iso_time(identity.started_at)};
  send(Asked::kListenFirst, kListenSql);
}

void LinkConnection::listen() {
  send(Asked::kListen, kListenSql);
}

void LinkConnection::send_registration() {
  send(Asked::kRegister, kRegisterSql, registration_);
  for (std::string& value : registration_) auth::scrub(value);
  registration_.clear();
}

void LinkConnection::beat(const std::string& id) {
  send(Asked::kBeat, kBeatSql, {id});
}

void LinkConnection::deregister(const std::string& id) {
  send(Asked::kDeregister, kDeregisterSql, {id});
}

int LinkConnection::descriptor() const {
  return connection_ ? PQsocket(connection_.get()) : -1;
}

short LinkConnection::events() const {
  if (!connected_) return waits_to_read_ ? POLLIN : POLLOUT;
  // PQflush leaves 1 when the kernel did not take everything.
  return static_cast<short>(PQflush(connection_.get()) == 1 ? POLLIN | POLLOUT : POLLIN);
}

bool LinkConnection::take_notified() {
  const bool notified = notified_;
  notified_ = false;
  return notified;
}

Happened LinkConnection::failed() const {
  std::string text = connection_ ? one_line(PQerrorMessage(connection_.get())) : "out of memory";
  if (text.empty()) text = "connection lost";
  return {.kind = Happened::Kind::kFailed, .error = std::move(text)};
}

Happened LinkConnection::connecting() {
  const PostgresPollingStatusType polling = PQconnectPoll(connection_.get());
  waits_to_read_ = polling == PGRES_POLLING_READING;
  if (polling == PGRES_POLLING_FAILED) return failed();
  if (polling != PGRES_POLLING_OK) return {};
  if (PQsetnonblocking(connection_.get(), 1) != 0) return failed();
  connected_ = true;
  return {.kind = Happened::Kind::kConnected};
}

Happened LinkConnection::on_ready() {
  if (broken() || send_failed_) return failed();
  if (!connected_) return connecting();
  if (PQflush(connection_.get()) < 0 || PQconsumeInput(connection_.get()) != 1) return failed();
  while (PGnotify* notification = PQnotifies(connection_.get())) {
    notified_ = true;
    PQfreemem(notification);
  }
  if (asked_ == Asked::kNothing) return {};
  while (!PQisBusy(connection_.get())) {  // else PQgetResult would block
    PGresult* next = PQgetResult(connection_.get());
    if (!next) return result_ ? answer(std::exchange(result_, nullptr).get()) : failed();
    // Row by row, lest libpq keep as many as a server likes. There is one at most, and then a result without rows.
    const bool row = PQresultStatus(next) == PGRES_SINGLE_TUPLE;
    const bool end = PQresultStatus(next) == PGRES_TUPLES_OK;
    PqResult taken(next);
    if (row && result_) return {.kind = Happened::Kind::kFailed, .error = "the server sent more than one row"};
    if (!end || !result_) result_ = std::move(taken);
  }
  return {};
}

Happened LinkConnection::answer(const PGresult* result) {
  using Kind = Happened::Kind;
  const Asked asked = std::exchange(asked_, Asked::kNothing);
  const ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_SINGLE_TUPLE) {
    const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    // The schema is there, and not for this role.
    if (asked == Asked::kVerdict && sqlstate && sqlstate == kNoPrivilege) {
      return {.kind = Kind::kVerdict, .verdict = Verdict::kDenied};
    }
    return {.kind = Kind::kFailed, .error = one_line(PQresultErrorMessage(result))};
  }
  const bool has_row = PQntuples(result) > 0 && PQnfields(result) > 0;
  const std::string_view text = has_row ? PQgetvalue(result, 0, 0) : "";
  switch (asked) {
    case Asked::kVerdict: {
      const Place place = place_of(result);
      const Verdict verdict = text == "ready"     ? Verdict::kReady
                              : text == "standby" ? Verdict::kStandby
                              : text == "denied"  ? Verdict::kDenied
                                                  : Verdict::kAbsent;
      return {.kind = Kind::kVerdict, .verdict = verdict, .place = place};
    }
    case Asked::kListen: return {.kind = Kind::kListening};
    case Asked::kListenFirst: send_registration(); return send_failed_ ? failed() : Happened{};
    case Asked::kRegister: return {.kind = Kind::kRegistered};
    case Asked::kBeat: return {.kind = Kind::kBeaten, .known = text != "f"};
    case Asked::kDeregister: return {.kind = Kind::kDeregistered};
    case Asked::kNothing: break;
  }
  return {};
}

}  // namespace berth::link
