// PostgreSQL's headers, in the one order that works from C++, and what differs between PostgreSQL 14 and 18. Every
// file of the extension includes this one first; headers of the C++ library come before it, since PostgreSQL's macros
// can hurt them.
#pragma once

extern "C" {
// clang-format off
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
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
