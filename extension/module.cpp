// What PostgreSQL calls: the module's start with its settings, and the functions in C of the extension's script.
// Their names bear the version that brought them, so that an older script works with a newer library.
#include <cstring>

#include "console_client.h"
#include "guard.h"
#include "pg.h"

extern "C" {

#ifdef PG_MODULE_MAGIC_EXT
PG_MODULE_MAGIC_EXT(.name = "pgberth", .version = PGBERTH_VERSION);
#else
PG_MODULE_MAGIC;
#endif

PGDLLEXPORT void _PG_init(void);
PG_FUNCTION_INFO_V1(pgberth_version_0_1);
PG_FUNCTION_INFO_V1(pgberth_caller_0_1);
PG_FUNCTION_INFO_V1(pgberth_exchange_0_1);
PG_FUNCTION_INFO_V1(pgberth_listed_brokers_0_1);
PG_FUNCTION_INFO_V1(pgberth_in_transaction_block_0_2);
}

namespace {

constexpr int kTimeoutDefaultMs = 1000;
constexpr int kTimeoutMaxMs = 10 * 60 * 1000;  // a pause may take its time

char* setting_brokers = nullptr;
int setting_timeout_ms = kTimeoutDefaultMs;

// The set that a function in C returns, materialized.
struct Rows {
  Tuplestorestate* store = nullptr;
  TupleDesc columns = nullptr;

  void put(Datum* values, bool* nulls) const { tuplestore_putvalues(store, columns, values, nulls); }
};

Rows begin_rows(FunctionCallInfo fcinfo) {
  ReturnSetInfo* info = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  if (!info || !IsA(info, ReturnSetInfo) || !(info->allowedModes & SFRM_Materialize)) {
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a set is not accepted here")));
  }
  Rows rows;
  const MemoryContext before = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
  if (get_call_result_type(fcinfo, nullptr, &rows.columns) != TYPEFUNC_COMPOSITE) elog(ERROR, "not a row type");
  rows.store = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
  info->returnMode = SFRM_Materialize;
  info->setResult = rows.store;
  info->setDesc = rows.columns;
  MemoryContextSwitchTo(before);
  return rows;
}

JsonbValue text_value(const char* text) {
  JsonbValue value{};
  value.type = jbvString;
  value.val.string.val = const_cast<char*>(text);
  value.val.string.len = static_cast<int>(strlen(text));
  return value;
}

// One row of a console as an object: its columns by name, every value text or null.
Datum row_of(const PGresult* result, int row, bool empty_as_null) {
  JsonbParseState* state = nullptr;
  pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
  for (int column = 0; column < PQnfields(result); column++) {
    const char* name = PQfname(result, column);
    JsonbValue key = text_value(berth::valid_text(name, static_cast<int>(strlen(name))));
    pushJsonbValue(&state, WJB_KEY, &key);
    const int length = PQgetlength(result, row, column);
    JsonbValue value{};
    value.type = jbvNull;
    if (!PQgetisnull(result, row, column) && (length > 0 || !empty_as_null)) {
      value = text_value(berth::valid_text(PQgetvalue(result, row, column), length));
    }
    pushJsonbValue(&state, WJB_VALUE, &value);
  }
  return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
}

// Puts answers into the rows of berth.exchange: broker, command, row, tag, problem, told_at. Numbers count from 1, as
// arrays do.
class IntoRows final : public berth::Answers {
 public:
  IntoRows(const Rows& rows, bool empty_as_null) : rows_(rows), empty_as_null_(empty_as_null) {
    scratch_ = AllocSetContextCreate(CurrentMemoryContext, "pgberth rows", ALLOCSET_DEFAULT_SIZES);
  }

  void on_result(int target, int command, const PGresult* result) override {
    const int count = PQntuples(result);
    for (int row = 0; row < count; row++) {
      CHECK_FOR_INTERRUPTS();
      put(target, command, result, row, nullptr);
    }
    if (PQresultStatus(result) == PGRES_COMMAND_OK) put(target, command, result, -1, nullptr);
  }
  void on_problem(int target, int command, const char* why) override { put(target, command, nullptr, -1, why); }

 private:
  const Rows& rows_;
  bool empty_as_null_;
  MemoryContext scratch_;

  void put(int target, int command, const PGresult* result, int row, const char* problem) {
    const MemoryContext before = MemoryContextSwitchTo(scratch_);
    Datum values[6] = {Int32GetDatum(target + 1), Int32GetDatum(command + 1)};
    bool nulls[6] = {false, false, true, true, true, false};
    values[5] = TimestampTzGetDatum(GetCurrentTimestamp());
    if (result && row >= 0) {
      values[2] = row_of(result, row, empty_as_null_);
      nulls[2] = false;
    } else if (result) {
      values[3] = CStringGetTextDatum(berth::one_line(PQcmdStatus(const_cast<PGresult*>(result))));
      nulls[3] = false;
    }
    if (problem) {
      values[4] = CStringGetTextDatum(problem);
      nulls[4] = false;
    }
    rows_.put(values, nulls);
    MemoryContextSwitchTo(before);
    MemoryContextReset(scratch_);
  }
};

// host:port of a conninfo, or null if it is none. It names a broker that is known by its address only.
char* address_of(const char* conninfo) {
  PQconninfoOption* options = PQconninfoParse(conninfo, nullptr);
  if (!options) return nullptr;
  const char* host = "local";
  const char* port = DEF_PGPORT_STR;
  for (const PQconninfoOption* option = options; option->keyword; option++) {
    if (option->val && strcmp(option->keyword, "host") == 0) host = option->val;
    if (option->val && strcmp(option->keyword, "port") == 0) port = option->val;
  }
  char* text = nullptr;
  berth::guarded([&] { text = psprintf("%s:%s", host, port); }, [&] { PQconninfoFree(options); });
  return text;
}

}  // namespace

extern "C" {

void _PG_init(void) {
  DefineCustomStringVariable("berth.brokers",
                             "Consoles of brokers that cannot register themselves: conninfos, with ; between.",
                             "For a hot standby. A password does not belong here, use passfile.", &setting_brokers,
                             "", PGC_SUSET, GUC_SUPERUSER_ONLY, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("berth.timeout", "How long a view waits for all brokers together.", nullptr,
                          &setting_timeout_ms, kTimeoutDefaultMs, 1, kTimeoutMaxMs, PGC_USERSET, GUC_UNIT_MS, nullptr,
                          nullptr, nullptr);
}

// berth.version(): of the library, to be compared with the extension's.
Datum pgberth_version_0_1(PG_FUNCTION_ARGS) {
  PG_RETURN_TEXT_P(cstring_to_text(PGBERTH_VERSION));
}

// berth.caller(): whose rights count. The role of the session as SET ROLE made it, whatever SECURITY DEFINER has
// changed.
Datum pgberth_caller_0_1(PG_FUNCTION_ARGS) {
  PG_RETURN_OID(GetOuterUserId());
}

// berth.in_transaction_block(): whether the transaction goes on after this statement.
Datum pgberth_in_transaction_block_0_2(PG_FUNCTION_ARGS) {
  PG_RETURN_BOOL(IsTransactionBlock());
}

// berth.exchange(names, conninfos, secrets, commands, required, timeout_ms, empty_as_null): see console_client.h.
Datum pgberth_exchange_0_1(PG_FUNCTION_ARGS) {
  int names = 0, conninfos = 0, secrets = 0, commands = 0;
  const char** name = berth::strings_of(PG_GETARG_ARRAYTYPE_P(0), &names);
  const char** conninfo = berth::strings_of(PG_GETARG_ARRAYTYPE_P(1), &conninfos);
  const char** secret = berth::strings_of(PG_GETARG_ARRAYTYPE_P(2), &secrets);
  const char** command = berth::strings_of(PG_GETARG_ARRAYTYPE_P(3), &commands);
  if (names != conninfos || names != secrets) elog(ERROR, "names, conninfos and secrets must be of one length");
  berth::Target* targets = static_cast<berth::Target*>(palloc(sizeof(berth::Target) * static_cast<Size>(names + 1)));
  for (int i = 0; i < names; i++) {
    if (!name[i] || !conninfo[i]) elog(ERROR, "a broker needs a name and a conninfo");
    targets[i] = {name[i], conninfo[i], secret[i]};
  }
  for (int i = 0; i < commands; i++) {
    if (!command[i]) ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a command must not be null")));
  }
  const int wanted = PG_GETARG_INT32(5);
  berth::Question question;
  question.targets = targets;
  question.target_count = names;
  question.commands = command;
  question.command_count = commands;
  question.required = PG_GETARG_INT32(4);
  question.timeout_ms = wanted > 0 ? Min(wanted, kTimeoutMaxMs) : setting_timeout_ms;
  const Rows rows = begin_rows(fcinfo);
  IntoRows answers(rows, PG_GETARG_BOOL(6));
  berth::ask(question, answers);
  return static_cast<Datum>(0);
}

// berth.listed_brokers(): the entries of the setting berth.brokers, as name and conninfo.
Datum pgberth_listed_brokers_0_1(PG_FUNCTION_ARGS) {
  const Rows rows = begin_rows(fcinfo);
  char* rest = pstrdup(setting_brokers ? setting_brokers : "");
  for (char* entry = strtok_r(rest, ";", &rest); entry; entry = strtok_r(nullptr, ";", &rest)) {
    if (strspn(entry, " \t\r\n") == strlen(entry)) continue;
    const char* name = address_of(entry);
    Datum values[2] = {CStringGetTextDatum(name ? name : "berth.brokers"), CStringGetTextDatum(entry)};
    bool nulls[2] = {false, false};
    rows.put(values, nulls);
  }
  return static_cast<Datum>(0);
}
}
