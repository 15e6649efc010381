// Rows of a console's table as SQL wants them: the columns that the caller lists, by name, in the types that it gives
// them. What the views over one table are made of, without a detour by jsonb.
#pragma once

#include "console_client.h"
#include "rows.h"
#include "targets.h"

namespace berth {

class TypedRows final : public Answers {
 public:
  // Raises an error if a column has another type than the few that it fills.
  TypedRows(const Rows& rows, const Registrations& brokers, const char* command);

  void on_result(int target, int command, const PGresult* result) override;
  void on_problem(int, int, const char*) override {}  // a warning has told of it

 private:
  const Rows& rows_;
  const Registrations& brokers_;
  bool all_visible_;      // whoever's they are
  bool nobodys_visible_;  // those of no user, too
  MemoryContext scratch_;

  bool visible(const PGresult* result, int row, int user) const;
};

// SHOW and the name of a table, which changes nothing.
bool is_show(const char* command);

}  // namespace berth
