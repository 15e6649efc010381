// berth.role_generation(): a number that grows whenever this backend hears of a change of any role. A broker that has
// fetched a role's secret by auth_query asks for it, over the same connection, before it uses what it remembers:
// while the number is the same, so are all roles. PostgreSQL sends what it takes at the commit of the change, before
// whoever made it gets its answer.
#include "pg.h"

extern "C" {
#include "utils/inval.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(pgberth_role_generation_0_2);
}

namespace {

int64 generation = 0;
bool listening = false;

// Also called, with a hash of 0, when this backend was too slow to be told of each change.
void on_role_changed(Datum, int, uint32) {
  generation++;
}

}  // namespace

Datum pgberth_role_generation_0_2(PG_FUNCTION_ARGS) {
  if (!listening) {
    // For the life of the backend: there is no way to take it back, and the library is never unloaded.
    CacheRegisterSyscacheCallback(AUTHOID, on_role_changed, Datum(0));
    listening = true;
  }
  AcceptInvalidationMessages();
  PG_RETURN_INT64(generation);
}
