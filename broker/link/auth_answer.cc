// See auth_answer.h.
#include "link/auth_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "auth/limits.h"
#include "base/assert.h"
#include "wire/frame.h"

namespace berth::link {

namespace {

using Kind = AuthHappened::Kind;

// The default auth_query, written so that nobody's objects can get between, and with what the cache needs: until when
// the password is valid (later than the year 9999 is for ever: what is far later is no number of microseconds since
// 1970), and what time it is there.
constexpr std::string_view kStandardSql =
    "select a.rolname, case when a.rolvaliduntil operator(pg_catalog.<) pg_catalog.now() then null "
    "else a.rolpassword end, case when pg_catalog.isfinite(a.rolvaliduntil) "
    "and a.rolvaliduntil operator(pg_catalog.<) '9999-12-31 00:00:00+00'::pg_catalog.timestamptz then "
    "(extract(epoch from a.rolvaliduntil) operator(pg_catalog.*) 1000000)::pg_catalog.int8 end, "
    "(extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8 "
    "from pg_catalog.pg_authid a where a.rolname operator(pg_catalog.=) $1::pg_catalog.name and a.rolcanlogin";
// Who may not look into the schema of the extension cannot call its function either. To ask by its name would be an
// error then.
constexpr std::string_view kProbeSql =
    "select exists (select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n "
    "on n.oid operator(pg_catalog.=) p.pronamespace where n.nspname operator(pg_catalog.=) 'berth' "
    "and p.proname operator(pg_catalog.=) 'role_generation' and p.pronargs operator(pg_catalog.=) 0 "
    "and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(p.oid, 'execute')), "
    "pg_catalog.current_setting('password_encryption'), pg_catalog.current_setting('scram_iterations', true)";
constexpr std::string_view kCheckSql =
    "select berth.role_generation(), "
    "(extract(epoch from pg_catalog.clock_timestamp()) operator(pg_catalog.*) 1000000)::pg_catalog.int8";

// A name that is no text in this encoding is no role's either.
constexpr std::string_view kNotText[] = {"22021", "22P05"};

constexpr size_t kColumnTail = 18;  // of a RowDescription's column, behind its name
constexpr size_t kUserColumns = 2;
constexpr std::string_view kBadColumns = "the server sent a malformed RowDescription";
constexpr std::string_view kBadRow = "the server sent a malformed DataRow";
constexpr std::string_view kBadNumber = "the server sent something else where a number should be";
constexpr std::string_view kTooManyRows = "the server sent more rows than were asked for";

bool read_number(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string_view auth_sql(AuthQuestion question) {
  switch (question) {
    case AuthQuestion::kProbe: return kProbeSql;
    case AuthQuestion::kCheck: return kCheckSql;
    case AuthQuestion::kStandard: return kStandardSql;
    case AuthQuestion::kOwn: break;
  }
  return {};
}

size_t AuthAnswer::columns_expected() const {
  switch (question_) {
    case AuthQuestion::kProbe: return 3;
    case AuthQuestion::kCheck: return 2;
    case AuthQuestion::kStandard: return 4;
    case AuthQuestion::kOwn: break;
  }
  return kUserColumns;
}

// The first reason counts.
void AuthAnswer::refuse(std::string why) {
  if (happened_.kind == Kind::kRefused) return;
  happened_ = {.kind = Kind::kRefused, .error = std::move(why)};
}

std::string_view AuthAnswer::on_columns(std::string_view body) {
  ASSERT(!described_);
  described_ = true;
  if (body.size() < 2) return kBadColumns;
  const size_t columns = wire::read16(body.data());
  body.remove_prefix(2);
  for (size_t i = 0; i < columns; ++i) {
    std::string_view name;
    if (!wire::take_cstring(body, name) || body.size() < kColumnTail) return kBadColumns;
    body.remove_prefix(kColumnTail);
  }
  if (!body.empty()) return kBadColumns;
  if (columns == columns_expected()) return {};
  if (!is_of_user(question_)) return kBadColumns;
  refuse(fmt::format("auth_query returns {} columns, not {}: user name and password", columns, kUserColumns));
  return {};
}

// Int16 count, then for each column Int32 size (-1: null) and its bytes.
bool AuthAnswer::read(std::string_view body, Row& row) const {
  if (body.size() < 2 || wire::read16(body.data()) != columns_expected()) return false;
  body.remove_prefix(2);
  for (size_t i = 0; i < columns_expected(); ++i) {
    if (body.size() < 4) return false;
    const auto size = static_cast<int32_t>(wire::read32(body.data()));
    body.remove_prefix(4);
    row.null[i] = size == -1;
    if (row.null[i]) continue;
    if (size < 0 || static_cast<size_t>(size) > body.size()) return false;
    row.at[i] = body.substr(0, static_cast<size_t>(size));
    body.remove_prefix(static_cast<size_t>(size));
  }
  return body.empty();
}

// No more than two rows are asked for. The second is there to be seen.
std::string_view AuthAnswer::on_row(std::string_view body) {
  if (!described_) return kBadRow;
  rows_++;
  if (rows_ > (is_of_user(question_) ? 2 : 1)) return kTooManyRows;
  if (happened_.kind == Kind::kRefused) return {};  // of other columns than were expected
  if (rows_ == 2) {
    refuse("auth_query returns more than one row for one user");
    return {};
  }
  Row row;
  if (!read(body, row)) return kBadRow;
  switch (question_) {
    case AuthQuestion::kProbe: return read_probe(row);
    case AuthQuestion::kCheck: return read_check(row);
    case AuthQuestion::kStandard:
    case AuthQuestion::kOwn: break;
  }
  return read_user(row);
}

std::string_view AuthAnswer::read_probe(const Row& row) {
  happened_.kind = Kind::kProbed;
  happened_.generations = row.at[0] == "t";
  happened_.usual.kind = row.at[1] == "md5" ? auth::SecretKind::kMd5 : auth::SecretKind::kScram;
  happened_.usual.iterations = auth::kScramIterationsDefault;
  if (row.null[2]) return {};  // a setting since PostgreSQL 16
  int64_t iterations = 0;
  if (!read_number(row.at[2], iterations)) return kBadNumber;
  const bool fine = iterations >= 1 && iterations <= static_cast<int64_t>(auth::kScramIterationsMax);
  if (fine) happened_.usual.iterations = static_cast<uint32_t>(iterations);
  return {};
}

std::string_view AuthAnswer::read_check(const Row& row) {
  happened_.kind = Kind::kChecked;
  const bool numbers = read_number(row.at[0], happened_.generation) && read_number(row.at[1], happened_.server_now);
  return numbers ? std::string_view() : kBadNumber;
}

// Nobody, or the one who was asked for. Whatever else it may be is nobody's login.
std::string_view AuthAnswer::read_user(const Row& row) {
  happened_.kind = Kind::kRow;
  if (row.null[0]) return {};
  if (row.at[0] != user_) {
    refuse("auth_query returns another user than it was asked for");
  } else if (row.at[1].size() > auth::kPasswordSizeMax) {
    refuse("auth_query returns a password that is too long");
  }
  if (happened_.kind == Kind::kRefused) return {};
  if (question_ == AuthQuestion::kStandard) {
    int64_t until = 0;
    if (!row.null[2] && !read_number(row.at[2], until)) return kBadNumber;
    if (!row.null[2]) happened_.row.valid_until = until;
    if (!read_number(row.at[3], happened_.row.server_now)) return kBadNumber;
  }
  happened_.row.found = true;
  happened_.row.secret = auth::parse_secret(row.at[1]);
  return {};
}

void AuthAnswer::on_error(std::string_view sqlstate, std::string text) {
  const bool not_text = std::find(std::begin(kNotText), std::end(kNotText), sqlstate) != std::end(kNotText);
  if (is_of_user(question_) && not_text) {
    happened_ = {.kind = Kind::kRow};
  } else if (question_ == AuthQuestion::kProbe) {
    happened_ = {.kind = Kind::kProbed};  // what it finds is of use, and not needed
    happened_.usual = {auth::SecretKind::kScram, auth::kScramIterationsDefault};
  } else {
    happened_ = {.kind = Kind::kRefused, .error = std::move(text)};
  }
}

AuthHappened AuthAnswer::take() {
  if (happened_.kind != Kind::kNothing) return std::exchange(happened_, {});
  // Without a row. Only a user may be unknown.
  if (is_of_user(question_) && described_) return {.kind = Kind::kRow};
  const Kind kind = is_of_user(question_) || question_ == AuthQuestion::kCheck ? Kind::kRefused : Kind::kLost;
  return {.kind = kind, .error = "the answer has no rows"};
}

}  // namespace berth::link
