#include "targets.h"

#include <cstring>

#include "guard.h"

namespace berth {

namespace {

// The columns of berth.broker_registration.
enum Column {
  kId,
  kName,
  kVersion,
  kConsole,
  kSecret,
  kStartedAt,
  kBackendPid,
  kBackendStart,
  kRegisteredAt,
  kLastHeartbeat,
  kColumns
};

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

Registration* room_for(int count) {
  Registration* all = static_cast<Registration*>(palloc(sizeof(Registration) * static_cast<Size>(count + 1)));
  for (int i = 0; i <= count; i++) all[i] = Registration();
  return all;
}

void read(const Datum* values, const bool* nulls, Registration& broker) {
  broker.id = TextDatumGetCString(values[kId]);
  broker.name = TextDatumGetCString(values[kName]);
  broker.version = TextDatumGetCString(values[kVersion]);
  broker.console = TextDatumGetCString(values[kConsole]);
  broker.secret = TextDatumGetCString(values[kSecret]);
  broker.registered = true;
  broker.has_started_at = !nulls[kStartedAt];
  if (broker.has_started_at) broker.started_at = DatumGetTimestampTz(values[kStartedAt]);
  broker.link_pid = DatumGetInt32(values[kBackendPid]);
  broker.last_heartbeat = DatumGetTimestampTz(values[kLastHeartbeat]);
}

bool before(const Registration& one, const Registration& other) {
  const int order = strcmp(one.name, other.name);
  return order < 0 || (order == 0 && strcmp(one.id, other.id) < 0);
}

// Puts a registration into its place, by name.
void insert(Registrations& found, int& room, const Registration& broker) {
  if (found.count == room) {
    Registration* more = room_for(2 * room);
    for (int i = 0; i < room; i++) more[i] = found.all[i];
    found.all = more;
    room *= 2;
  }
  int at = found.count++;
  for (; at > 0 && before(broker, found.all[at - 1]); at--) found.all[at] = found.all[at - 1];
  found.all[at] = broker;
}

// A registration counts while the backend that made it lives. The table is read without a query, since every view
// pays for it; who may call is decided by the rights on the functions.
Registrations registered() {
  int room = 8;
  Registrations found = {room_for(room), 0};
  const Oid schema = get_namespace_oid("berth", false);
  const Oid table = get_relname_relid("broker_registration", schema);
  if (!OidIsValid(table)) elog(ERROR, "berth.broker_registration is not there");
  const Relation relation = table_open(table, AccessShareLock);
  const TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, nullptr);
  TupleTableSlot* slot = table_slot_create(relation, nullptr);
  while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
    slot_getsomeattrs(slot, kColumns);
    const int pid = DatumGetInt32(slot->tts_values[kBackendPid]);
    if (!backend_lives(pid, DatumGetTimestampTz(slot->tts_values[kBackendStart]))) continue;
    Registration broker;
    read(slot->tts_values, slot->tts_isnull, broker);
    insert(found, room, broker);
  }
  ExecDropSingleTupleTableSlot(slot);
  table_endscan(scan);
  table_close(relation, AccessShareLock);
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
  Registrations found = {room_for(1), 0};
  if (!RecoveryInProgress()) found = registered();  // an unlogged table cannot even be read there
  if (!*setting) return found;
  int entries = 1;
  for (const char* at = setting; *at; at++) entries += *at == ';';
  const int registered_count = found.count;
  Registration* all = room_for(registered_count + entries);
  for (int i = 0; i < registered_count; i++) all[i] = found.all[i];
  found.all = all;
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
