// PostgreSQL's headers, in the one order that works from C++, and what differs between PostgreSQL 14 and 18. Every
// file of the extension includes this one first; headers of the C++ library come before it, since PostgreSQL's macros
// can hurt them.
#pragma once

extern "C" {
// clang-format off
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "catalog/pg_type.h"
#include "catalog/pg_authid.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#include <libpq-fe.h>
// clang-format on
}

#if PG_VERSION_NUM < 140000
#error "pgberth needs PostgreSQL 14 or later"
#endif

namespace berth {

// An empty set for `events` events. It holds a descriptor: FreeWaitEventSet gives it back, after an error too.
inline WaitEventSet* create_wait_set(int events) {
#if PG_VERSION_NUM >= 170000
  return CreateWaitEventSet(CurrentResourceOwner, events);
#else
  return CreateWaitEventSet(CurrentMemoryContext, events);
#endif
}

// Whether the backend of that process, with that start (of pg_stat_activity), lives. Its entry is looked at in place:
// to ask for one of them PostgreSQL would copy all.
inline bool backend_lives(int pid, TimestampTz started) {
  const PGPROC* process = BackendPidGetProc(pid);
  if (!process || !MyBEEntry) return false;
#if PG_VERSION_NUM >= 170000
  volatile PgBackendStatus* entry = MyBEEntry + (GetNumberFromPGProc(process) - MyProcNumber);
#else
  if (process->backendId == InvalidBackendId) return false;
  volatile PgBackendStatus* entry = MyBEEntry + (process->backendId - MyBackendId);
#endif
  for (;;) {
    int before, after;
    pgstat_begin_read_activity(entry, before);
    const bool same = entry->st_procpid == pid && entry->st_proc_start_timestamp == started;
    pgstat_end_read_activity(entry, after);
    if (pgstat_read_activity_complete(before, after)) return same;
    CHECK_FOR_INTERRUPTS();
  }
}

// The elements of a text[] as C strings, nullptr for NULL. In the current memory context.
inline const char** strings_of(ArrayType* array, int* count) {
  Datum* values = nullptr;
  bool* nulls = nullptr;
  deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, count);
  const char** strings = static_cast<const char**>(palloc0(sizeof(char*) * static_cast<Size>(*count + 1)));
  for (int i = 0; i < *count; i++) {
    if (!nulls[i]) strings[i] = TextDatumGetCString(values[i]);
  }
  return strings;
}

}  // namespace berth
