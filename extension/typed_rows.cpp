#include "typed_rows.h"

#include <cstring>

namespace berth {

namespace {

// Tables whose rows belong to nobody and are for whoever may use the schema; as berth.visible() has it.
constexpr const char* kForAll[] = {"SHOW BROKER", "SHOW DATABASES", "SHOW STATS",   "SHOW DISCONNECTS",
                                   "SHOW LISTS",  "SHOW STATE",     "SHOW VERSION", "SHOW BERTH VERSION"};
constexpr const char* kWord = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_";

Datum value_of(const char* text, Oid type) {
  switch (type) {
    case TEXTOID: return CStringGetTextDatum(text);
    case INT4OID: return DirectFunctionCall1(int4in, CStringGetDatum(text));
    case INT8OID: return DirectFunctionCall1(int8in, CStringGetDatum(text));
    case TIMESTAMPTZOID:
      return DirectFunctionCall3(timestamptz_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
                                 Int32GetDatum(-1));
    default: elog(ERROR, "a column of this type cannot be filled");
  }
}

bool fillable(Oid type) {
  return type == TEXTOID || type == INT4OID || type == INT8OID || type == TIMESTAMPTZOID;
}

// nullptr for what is null or empty.
const char* text_at(const PGresult* result, int row, int column) {
  if (column < 0 || PQgetlength(result, row, column) == 0) return nullptr;
  return valid_text(PQgetvalue(result, row, column), PQgetlength(result, row, column));
}

}  // namespace

TypedRows::TypedRows(const Rows& rows, const Registrations& brokers, const char* command)
    : rows_(rows), brokers_(brokers), nobodys_visible_(false) {
  for (int column = 0; column < rows.columns->natts; column++) {
    if (!fillable(TupleDescAttr(rows.columns, column)->atttypid)) {
      ereport(ERROR,
              (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("a column is text, int4, int8 or timestamptz here")));
    }
  }
  all_visible_ = has_privs_of_role(GetOuterUserId(), ROLE_PG_READ_ALL_STATS);
  for (const char* name : kForAll) nobodys_visible_ = nobodys_visible_ || strcmp(name, command) == 0;
  scratch_ = AllocSetContextCreate(CurrentMemoryContext, "pgberth rows", ALLOCSET_DEFAULT_SIZES);
}

bool TypedRows::visible(const PGresult* result, int row, int user) const {
  if (all_visible_) return true;
  const char* name = text_at(result, row, user);
  if (!name) return nobodys_visible_;
  const Oid role = get_role_oid(name, true);
  return OidIsValid(role) && has_privs_of_role(GetOuterUserId(), role);
}

void TypedRows::on_result(int target, int, const PGresult* result) {
  const int width = rows_.columns->natts;
  int* from = static_cast<int*>(palloc(sizeof(int) * static_cast<Size>(width)));
  Datum* values = static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<Size>(width)));
  bool* nulls = static_cast<bool*>(palloc(sizeof(bool) * static_cast<Size>(width)));
  for (int column = 0; column < width; column++) {
    from[column] = PQfnumber(result, NameStr(TupleDescAttr(rows_.columns, column)->attname));
  }
  const int user = PQfnumber(result, "user");
  const MemoryContext before = MemoryContextSwitchTo(scratch_);
  for (int row = 0; row < PQntuples(result); row++) {
    CHECK_FOR_INTERRUPTS();
    if (!visible(result, row, user)) continue;
    for (int column = 0; column < width; column++) {
      const FormData_pg_attribute* attribute = TupleDescAttr(rows_.columns, column);
      const bool is_broker = strcmp(NameStr(attribute->attname), "broker") == 0;
      const char* text = is_broker ? brokers_.all[target].name : text_at(result, row, from[column]);
      nulls[column] = !text;
      if (text) values[column] = value_of(text, attribute->atttypid);
    }
    rows_.put(values, nulls);
    MemoryContextReset(scratch_);
  }
  MemoryContextSwitchTo(before);
}

bool is_show(const char* command) {
  if (strncmp(command, "SHOW ", 5) != 0) return false;
  const char* at = command + 5;
  for (int word = 0; word < 2; word++) {
    const size_t length = strspn(at, kWord);
    if (length == 0) return false;
    at += length;
    if (!*at) return true;
    if (*at++ != ' ') return false;
  }
  return false;
}

}  // namespace berth
