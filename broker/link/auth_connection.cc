#include "link/auth_connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <openssl/crypto.h>
#include <poll.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "auth/limits.h"

namespace berth::link {

namespace {

using Kind = AuthHappened::Kind;

// The default auth_query, written so that nobody's objects can get between, and with what the cache needs: until when
// the password is valid, and what time it is there.
constexpr const char* kStandardSql =
    "select a.rolname, case when a.rolvaliduntil operator(pg_catalog.<) pg_catalog.now() then null "
    "else a.rolpassword end, case when pg_catalog.isfinite(a.rolvaliduntil) then "
    "(extract(epoch from a.rolvaliduntil) operator(pg_catalog.*) 1000000)::pg_catalog.int8 end, "
    "(extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8 "
    "from pg_catalog.pg_authid a where a.rolname operator(pg_catalog.=) $1::pg_catalog.name and a.rolcanlogin";
// Who may not look into the schema of the extension cannot call its function either. To ask by its name would be an
// error then.
constexpr const char* kProbeSql =
    "select exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n "
    "on n.oid operator(pg_catalog.=) p.pronamespace where n.nspname operator(pg_catalog.=) 'berth' "
    "and p.proname operator(pg_catalog.=) 'role_generation' and p.pronargs operator(pg_catalog.=) 0 "
    "and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(p.oid, 'execute')), "
    "pg_catalog.current_setting('password_encryption'), pg_catalog.current_setting('scram_iterations', true)";
constexpr const char* kCheckSql =
    "select berth.role_generation(), "
    "(extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8";
constexpr const char* kOptions = "-c search_path=pg_catalog,public,pg_temp";

constexpr std::string_view kNoDatabase = ":  3D000: ";
constexpr std::string_view kLocation = " LOCATION: ";
// A name that is no text in this encoding is no role's either.
constexpr std::string_view kNotText[] = {"22021", "22P05"};

constexpr int kStandardColumns = 4, kColumns = 2;

int64_t number(const PGresult* result, int column) {
  int64_t value = 0;
  const std::string_view text = PQgetvalue(result, 0, column);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

AuthHappened refused(std::string why) {
  return {.kind = Kind::kRefused, .error = std::move(why)};
}

}  // namespace

bool AuthConnection::broken() const {
  return !connection_ || PQstatus(connection_.get()) == CONNECTION_BAD;
}

void AuthConnection::connect(const Target& target, const config::Config& config,
                             const std::vector<net::Address>& addresses) {
  close();
  Target as_we = target;
  as_we.more.push_back({"options", kOptions});
  as_we.more.push_back({"client_encoding", "UTF8"});
  connection_ = start_connecting(as_we, "pgberth auth_query", config, addresses);
  // libpq keeps the SQLSTATE of a refused login to itself, and tells it in its text only.
  if (connection_) PQsetErrorVerbosity(connection_.get(), PQERRORS_VERBOSE);
  waits_to_read_ = false;
}

void AuthConnection::close() {
  connection_.reset();
  connected_ = send_failed_ = false;
  asked_ = Asked::kNothing;
  result_.reset();
}

void AuthConnection::send(Asked asked, const char* sql, const char* user) {
  asked_ = asked;
  send_failed_ = PQsendQueryParams(connection_.get(), sql, user ? 1 : 0, nullptr, &user, nullptr, nullptr, 0) != 1;
}

void AuthConnection::probe() {
  send(Asked::kProbe, kProbeSql);
}

void AuthConnection::check() {
  send(Asked::kCheck, kCheckSql);
}

void AuthConnection::query(const std::string& text, bool standard, const std::string& user) {
  user_ = user;
  send(standard ? Asked::kStandard : Asked::kOwn, standard ? kStandardSql : text.c_str(), user_.c_str());
}

int AuthConnection::descriptor() const {
  return connection_ ? PQsocket(connection_.get()) : -1;
}

short AuthConnection::events() const {
  if (!connected_) return waits_to_read_ ? POLLIN : POLLOUT;
  // PQflush leaves 1 when the kernel did not take everything.
  return static_cast<short>(PQflush(connection_.get()) == 1 ? POLLIN | POLLOUT : POLLIN);
}

AuthHappened AuthConnection::lost() const {
  const std::string_view said = connection_ ? PQerrorMessage(connection_.get()) : "out of memory";
  AuthHappened happened{.kind = Kind::kLost, .error = one_line(said)};
  happened.no_database = !connected_ && said.find(kNoDatabase) != std::string_view::npos;
  happened.error.resize(std::min(happened.error.find(kLocation), happened.error.size()));
  if (happened.error.empty()) happened.error = "connection lost";
  return happened;
}

AuthHappened AuthConnection::connecting() {
  const PostgresPollingStatusType polling = PQconnectPoll(connection_.get());
  waits_to_read_ = polling == PGRES_POLLING_READING;
  if (polling == PGRES_POLLING_FAILED) return lost();
  if (polling != PGRES_POLLING_OK) return {};
  if (PQsetnonblocking(connection_.get(), 1) != 0) return lost();
  PQsetErrorVerbosity(connection_.get(), PQERRORS_TERSE);
  connected_ = true;
  return {.kind = Kind::kConnected};
}

AuthHappened AuthConnection::on_ready() {
  if (broken() || send_failed_) return lost();
  if (!connected_) return connecting();
  if (PQflush(connection_.get()) < 0 || PQconsumeInput(connection_.get()) != 1) return lost();
  while (PGnotify* notification = PQnotifies(connection_.get())) PQfreemem(notification);
  while (asked_ != Asked::kNothing && !PQisBusy(connection_.get())) {  // else PQgetResult would block
    PGresult* next = PQgetResult(connection_.get());
    if (!next) {
      if (!result_ || broken()) return lost();
      return answer(std::exchange(result_, nullptr).get());
    }
    result_.reset(next);
  }
  return {};
}

AuthHappened AuthConnection::answer(const PGresult* result) {
  const Asked asked = std::exchange(asked_, Asked::kNothing);
  const bool is_query = asked == Asked::kStandard || asked == Asked::kOwn;
  if (PQresultStatus(result) != PGRES_TUPLES_OK) {
    const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    for (const std::string_view not_text : kNotText) {
      if (is_query && sqlstate && sqlstate == not_text) return {.kind = Kind::kRow};
    }
    std::string why = one_line(PQresultErrorMessage(result));
    if (why.empty()) why = "the answer has no rows";
    if (asked == Asked::kProbe) return {.kind = Kind::kLost, .error = std::move(why)};
    return refused(std::move(why));
  }
  if (is_query) return row_of(result, asked == Asked::kStandard);
  if (PQntuples(result) != 1) return lost();
  if (asked == Asked::kCheck) {
    return {.kind = Kind::kChecked, .generation = number(result, 0), .server_now = number(result, 1)};
  }
  AuthHappened probed{.kind = Kind::kProbed, .generations = *PQgetvalue(result, 0, 0) == 't'};
  const bool md5 = std::string_view(PQgetvalue(result, 0, 1)) == "md5";
  probed.usual.kind = md5 ? auth::SecretKind::kMd5 : auth::SecretKind::kScram;
  const int64_t iterations = PQgetisnull(result, 0, 2) ? 0 : number(result, 2);  // a setting since PostgreSQL 16
  const auto at_most = static_cast<int64_t>(auth::kScramIterationsMax);
  probed.usual.iterations =
      iterations >= 1 && iterations <= at_most ? static_cast<uint32_t>(iterations) : auth::kScramIterationsDefault;
  return probed;
}

// What the query has found: nobody, or the one who was asked for. Whatever else it may be is nobody's login.
AuthHappened AuthConnection::row_of(const PGresult* result, bool standard) const {
  const int columns = PQnfields(result), rows = PQntuples(result);
  if (columns != (standard ? kStandardColumns : kColumns)) {
    return refused(fmt::format("auth_query returns {} columns, not {}: user name and password", columns, kColumns));
  }
  if (rows > 1) return refused(fmt::format("auth_query returns {} rows for one user", rows));
  AuthHappened happened{.kind = Kind::kRow};
  if (rows == 0 || PQgetisnull(result, 0, 0)) return happened;
  if (PQgetvalue(result, 0, 0) != user_) return refused("auth_query returns another user than it was asked for");
  const auto size = static_cast<size_t>(PQgetlength(result, 0, 1));
  char* const secret = PQgetvalue(result, 0, 1);
  if (size > auth::kPasswordSizeMax) return refused("auth_query returns a password that is too long");
  happened.row.found = true;
  happened.row.secret = auth::parse_secret({secret, size});
  OPENSSL_cleanse(secret, size);  // libpq only frees it
  if (!standard) return happened;
  if (!PQgetisnull(result, 0, 2)) happened.row.valid_until = number(result, 2);
  happened.row.server_now = number(result, 3);
  return happened;
}

}  // namespace berth::link
