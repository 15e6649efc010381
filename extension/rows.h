// The set of rows that a function in C returns, materialized.
#pragma once

#include "pg.h"

namespace berth {

struct Rows {
  Tuplestorestate* store = nullptr;
  TupleDesc columns = nullptr;

  void put(Datum* values, bool* nulls) const { tuplestore_putvalues(store, columns, values, nulls); }
};

// Its columns are those of the function, or of the list behind it where it returns records.
Rows begin_rows(FunctionCallInfo fcinfo);

}  // namespace berth
