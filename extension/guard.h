// The border between C++ and PostgreSQL's errors.
//
// ereport(ERROR) is a longjmp: no destructor of the frames that it leaves runs. The extension is compiled without
// exceptions and without RTTI, and keeps only trivial objects on the stack; what must be given back whatever happens
// (connections of libpq, descriptors) is given back by the second argument of guarded():
//
//   PGconn* conn = PQconnectStartParams(...);
//   CHECK_FOR_INTERRUPTS();  // wrong: a cancel leaks the connection
//
//   guarded([&] { ...; CHECK_FOR_INTERRUPTS(); }, [&] { PQfinish(conn); });  // right
#pragma once

#include <type_traits>

#include "pg.h"

namespace berth {

// Runs body, then cleanup, also when body raises an error, which goes on afterwards. Cleanup must not raise one. What
// both share lives in memory (a struct that they refer to), never in a local variable of body.
template <typename Body, typename Cleanup>
void guarded(const Body& body, const Cleanup& cleanup) {
  static_assert(std::is_trivially_destructible_v<Body> && std::is_trivially_destructible_v<Cleanup>);
  PG_TRY();
  { body(); }
  PG_CATCH();
  {
    cleanup();
    PG_RE_THROW();
  }
  PG_END_TRY();
  cleanup();
}

}  // namespace berth
