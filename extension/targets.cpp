#include "targets.h"

#include <cstring>

#include "guard.h"

namespace berth {

namespace {

// A registration counts while the backend that made it lives. Names and operators are written out: it is planned once
// for each backend, whatever the caller's search_path.
constexpr const char* kRegistered =
    "SELECT r.id, r.name, r.version, r.console, r.secret, r.started_at, r.backend_pid, r.last_heartbeat"
    "  FROM berth.broker_registration r"
    "  JOIN LATERAL pg_catalog.pg_stat_get_activity(r.backend_pid) a"
    "    ON a.backend_start OPERATOR(pg_catalog.=) r.backend_start"
    " ORDER BY r.name, r.id";
SPIPlanPtr registered_plan = nullptr;

// Host and port of a connection string, as host:port; nullptr if it is none. It names a broker that is known by its
// address only.
const char* address_of(const char* conninfo) {
  PQconninfoOption* options = PQconninfoParse(conninfo, nullptr);
  if (!options) return nullptr;
  const char* host = "local";
  const char* port = DEF_PGPORT_STR;
  for (const PQconninfoOption* option = options; option->keyword; option++) {
    if (option->val && strcmp(option->keyword, "host") == 0) host = option->val;
    if (option->val && strcmp(option->keyword, "port") == 0) port = option->val;
  }
  char* text = nullptr;
  guarded([&] { text = psprintf("%s:%s", host, port); }, [&] { PQconninfoFree(options); });
  return text;
}

const char* text_at(HeapTuple row, TupleDesc columns, int column) {
  bool null = false;
  const Datum value = SPI_getbinval(row, columns, column, &null);
  return null ? nullptr : TextDatumGetCString(value);
}

void read(HeapTuple row, TupleDesc columns, Registration& broker) {
  bool null = false;
  broker.id = text_at(row, columns, 1);
  broker.name = text_at(row, columns, 2);
  broker.version = text_at(row, columns, 3);
  broker.console = text_at(row, columns, 4);
  broker.secret = text_at(row, columns, 5);
  broker.registered = true;
  broker.started_at = DatumGetTimestampTz(SPI_getbinval(row, columns, 6, &null));
  broker.has_started_at = !null;
  broker.link_pid = DatumGetInt32(SPI_getbinval(row, columns, 7, &null));
  broker.last_heartbeat = DatumGetTimestampTz(SPI_getbinval(row, columns, 8, &null));
}

Registration* room_for(int count) {
  Registration* all = static_cast<Registration*>(palloc(sizeof(Registration) * static_cast<Size>(count + 1)));
  for (int i = 0; i <= count; i++) all[i] = Registration();
  return all;
}

// With room for `more`.
Registrations registered(int more) {
  Registrations found;
  const MemoryContext here = CurrentMemoryContext;
  if (SPI_connect() != SPI_OK_CONNECT) elog(ERROR, "SPI_connect failed");
  if (!registered_plan) {
    SPIPlanPtr plan = SPI_prepare(kRegistered, 0, nullptr);
    if (!plan || SPI_keepplan(plan) != 0) elog(ERROR, "SPI_prepare failed");
    registered_plan = plan;
  }
  // Not read-only: it sees what this transaction has done.
  if (SPI_execute_plan(registered_plan, nullptr, nullptr, false, 0) != SPI_OK_SELECT) {
    elog(ERROR, "SPI_execute_plan failed");
  }
  MemoryContextSwitchTo(here);
  const int count = static_cast<int>(SPI_processed);
  found.all = room_for(count + more);
  for (; found.count < count; found.count++) {
    read(SPI_tuptable->vals[found.count], SPI_tuptable->tupdesc, found.all[found.count]);
  }
  SPI_finish();
  MemoryContextSwitchTo(here);
  return found;
}

bool known(const Registrations& found, int count, const char* address) {
  for (int i = 0; i < count; i++) {
    const char* other = *found.all[i].console ? address_of(found.all[i].console) : nullptr;
    if (other && strcmp(other, address) == 0) return true;
  }
  return false;
}

const char* trimmed(char* text) {
  text += strspn(text, " \t\r\n");
  for (size_t length = strlen(text); length > 0 && strchr(" \t\r\n", text[length - 1]); length--)
    text[length - 1] = 0;
  return text;
}

}  // namespace

Registrations find_registrations(const char* setting) {
  int entries = 1;
  for (const char* at = setting; *at; at++) entries += *at == ';';
  Registrations found;
  if (RecoveryInProgress()) {
    found.all = room_for(entries);  // an unlogged table cannot even be read there
  } else {
    found = registered(entries);
  }
  const int registered_count = found.count;
  char* rest = pstrdup(setting);
  for (char* entry = strtok_r(rest, ";", &rest); entry; entry = strtok_r(nullptr, ";", &rest)) {
    const char* conninfo = trimmed(entry);
    if (!*conninfo) continue;
    const char* name = address_of(conninfo);
    if (!name) name = "berth.brokers";
    if (known(found, registered_count, name)) continue;
    Registration& broker = found.all[found.count++];
    broker.id = broker.name = name;
    broker.console = conninfo;
  }
  return found;
}

}  // namespace berth
