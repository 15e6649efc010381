// What PostgreSQL calls: the module's start with its settings, and the functions in C of the extension's script.
// Their names bear the version that brought them, so that an older script works with a newer library.
#include <cstring>

#include "console_client.h"
#include "pg.h"
#include "rows.h"
#include "targets.h"
#include "typed_rows.h"

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
PG_FUNCTION_INFO_V1(pgberth_targets_0_1);
PG_FUNCTION_INFO_V1(pgberth_ask_0_1);
PG_FUNCTION_INFO_V1(pgberth_rows_of_0_1);
PG_FUNCTION_INFO_V1(pgberth_in_transaction_block_0_2);
}

namespace {

constexpr int kTimeoutDefaultMs = 1000;
constexpr int kTimeoutMaxMs = 10 * 60 * 1000;  // a pause may take its time

char* setting_brokers = nullptr;
int setting_timeout_ms = kTimeoutDefaultMs;

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

// Puts answers into rows: first what says which broker and which command, then row, tag, problem, told_at.
class IntoRows : public berth::Answers {
 public:
  IntoRows(const berth::Rows& rows, bool empty_as_null) : rows_(rows), empty_as_null_(empty_as_null) {
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

 protected:
  ~IntoRows() = default;
  // The first columns of a row; how many they are.
  virtual int put_head(int target, int command, Datum* values) const = 0;

 private:
  const berth::Rows& rows_;
  bool empty_as_null_;
  MemoryContext scratch_;

  void put(int target, int command, const PGresult* result, int row, const char* problem) {
    const MemoryContext before = MemoryContextSwitchTo(scratch_);
    Datum values[7] = {};
    bool nulls[7] = {};
    const int head = put_head(target, command, values);
    nulls[head] = nulls[head + 1] = nulls[head + 2] = true;
    values[head + 3] = TimestampTzGetDatum(GetCurrentTimestamp());
    if (result && row >= 0) {
      values[head] = row_of(result, row, empty_as_null_);
      nulls[head] = false;
    } else if (result) {
      values[head + 1] = CStringGetTextDatum(berth::one_line(PQcmdStatus(const_cast<PGresult*>(result))));
      nulls[head + 1] = false;
    }
    if (problem) {
      values[head + 2] = CStringGetTextDatum(problem);
      nulls[head + 2] = false;
    }
    rows_.put(values, nulls);
    MemoryContextSwitchTo(before);
    MemoryContextReset(scratch_);
  }
};

// For berth.exchange: by their numbers, from 1, as arrays count.
class IntoNumbered final : public IntoRows {
 public:
  using IntoRows::IntoRows;

 private:
  int put_head(int target, int command, Datum* values) const override {
    values[0] = Int32GetDatum(target + 1);
    values[1] = Int32GetDatum(command + 1);
    return 2;
  }
};

// For berth.ask: by name.
class IntoNamed final : public IntoRows {
 public:
  IntoNamed(const berth::Rows& rows, bool empty_as_null, const berth::Registrations& brokers,
            const char* const* commands)
      : IntoRows(rows, empty_as_null), brokers_(brokers), commands_(commands) {}

 private:
  const berth::Registrations& brokers_;
  const char* const* commands_;

  int put_head(int target, int command, Datum* values) const override {
    values[0] = CStringGetTextDatum(brokers_.all[target].id);
    values[1] = CStringGetTextDatum(brokers_.all[target].name);
    values[2] = CStringGetTextDatum(commands_[command]);
    return 3;
  }
};

const char* setting_text() {
  return setting_brokers ? setting_brokers : "";
}

// Only the broker of that id or name, or the error that there is none.
berth::Registrations only(const berth::Registrations& brokers, const char* wanted) {
  berth::Registrations left = {brokers.all, 0};
  for (int i = 0; i < brokers.count; i++) {
    const berth::Registration broker = brokers.all[i];
    if (strcmp(broker.id, wanted) == 0 || strcmp(broker.name, wanted) == 0) left.all[left.count++] = broker;
  }
  if (left.count == 0) {
    ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no broker \"%s\" now", wanted)));
  }
  return left;
}

berth::Target* room_for_targets(int count) {
  return static_cast<berth::Target*>(palloc(sizeof(berth::Target) * static_cast<Size>(count + 1)));
}

// Puts those who can be asked into the question: all, or only the broker of that id or name.
berth::Registrations whom_to_ask(berth::Question& question, const char* wanted) {
  berth::Registrations brokers = berth::find_registrations(setting_text());
  if (wanted) brokers = only(brokers, wanted);
  if (brokers.count == 0 && RecoveryInProgress()) {
    ereport(WARNING, (errmsg("brokers cannot register themselves on a hot standby"),
                      errhint("Name their consoles in the setting berth.brokers.")));
  }
  berth::Target* targets = room_for_targets(brokers.count);
  for (int i = 0; i < brokers.count; i++) {
    targets[i] = {brokers.all[i].name, brokers.all[i].console, brokers.all[i].secret};
  }
  question.targets = targets;
  question.target_count = brokers.count;
  return brokers;
}

// A question of commands[], required and timeout_ms.
berth::Question question_of(ArrayType* commands, int required, int timeout_ms) {
  berth::Question question;
  question.commands = berth::strings_of(commands, &question.command_count);
  for (int i = 0; i < question.command_count; i++) {
    if (!question.commands[i]) {
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a command must not be null")));
    }
  }
  question.required = required;
  question.timeout_ms = timeout_ms > 0 ? Min(timeout_ms, kTimeoutMaxMs) : setting_timeout_ms;
  return question;
}

}  // namespace

berth::Rows berth::begin_rows(FunctionCallInfo fcinfo) {
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
  int names = 0, conninfos = 0, secrets = 0;
  const char** name = berth::strings_of(PG_GETARG_ARRAYTYPE_P(0), &names);
  const char** conninfo = berth::strings_of(PG_GETARG_ARRAYTYPE_P(1), &conninfos);
  const char** secret = berth::strings_of(PG_GETARG_ARRAYTYPE_P(2), &secrets);
  if (names != conninfos || names != secrets) elog(ERROR, "names, conninfos and secrets must be of one length");
  berth::Target* targets = room_for_targets(names);
  for (int i = 0; i < names; i++) {
    if (!name[i] || !conninfo[i]) elog(ERROR, "a broker needs a name and a conninfo");
    targets[i] = {name[i], conninfo[i], secret[i]};
  }
  berth::Question question = question_of(PG_GETARG_ARRAYTYPE_P(3), PG_GETARG_INT32(4), PG_GETARG_INT32(5));
  question.targets = targets;
  question.target_count = names;
  const berth::Rows rows = berth::begin_rows(fcinfo);
  IntoNumbered answers(rows, PG_GETARG_BOOL(6));
  berth::ask(question, answers);
  return static_cast<Datum>(0);
}

// berth.ask(commands, required, timeout_ms, empty_as_null, only_broker): of all brokers, or of one.
Datum pgberth_ask_0_1(PG_FUNCTION_ARGS) {
  for (int i = 0; i < 4; i++) {
    if (PG_ARGISNULL(i))
      ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("only_broker alone may be null")));
  }
  const berth::Rows rows = berth::begin_rows(fcinfo);
  berth::Question question = question_of(PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_INT32(1), PG_GETARG_INT32(2));
  const char* wanted = PG_ARGISNULL(4) ? nullptr : TextDatumGetCString(PG_GETARG_DATUM(4));
  const berth::Registrations brokers = whom_to_ask(question, wanted);
  IntoNamed answers(rows, PG_GETARG_BOOL(3), brokers, question.commands);
  berth::ask(question, answers);
  return static_cast<Datum>(0);
}

// berth.rows_of(command): see typed_rows.h.
Datum pgberth_rows_of_0_1(PG_FUNCTION_ARGS) {
  const char* command = TextDatumGetCString(PG_GETARG_DATUM(0));
  if (!berth::is_show(command)) {
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("only SHOW and the name of a table")));
  }
  const berth::Rows rows = berth::begin_rows(fcinfo);
  berth::Question question;
  question.commands = &command;
  question.command_count = question.required = 1;
  question.timeout_ms = setting_timeout_ms;
  const berth::Registrations brokers = whom_to_ask(question, nullptr);
  berth::TypedRows answers(rows, brokers, command);
  berth::ask(question, answers);
  return static_cast<Datum>(0);
}

// berth.targets(): see targets.h.
Datum pgberth_targets_0_1(PG_FUNCTION_ARGS) {
  const berth::Rows rows = berth::begin_rows(fcinfo);
  const berth::Registrations brokers = berth::find_registrations(setting_text());
  for (int i = 0; i < brokers.count; i++) {
    const berth::Registration& broker = brokers.all[i];
    const char* texts[5] = {broker.id, broker.name, broker.version, broker.console, broker.secret};
    Datum values[9] = {};
    bool nulls[9] = {};
    for (int column = 0; column < 5; column++) {
      nulls[column] = !texts[column];
      if (texts[column]) values[column] = CStringGetTextDatum(texts[column]);
    }
    values[5] = TimestampTzGetDatum(broker.started_at);
    nulls[5] = !broker.has_started_at;
    values[6] = Int32GetDatum(broker.link_pid);
    values[7] = TimestampTzGetDatum(broker.last_heartbeat);
    nulls[6] = nulls[7] = !broker.registered;
    values[8] = CStringGetTextDatum(broker.registered ? "registered" : "setting");
    rows.put(values, nulls);
  }
  return static_cast<Datum>(0);
}
}
