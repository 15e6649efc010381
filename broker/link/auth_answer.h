// What auth_query asks PostgreSQL, and what the rows of an answer mean. Pure: it reads bodies of messages, in the
// order in which auth_wire.h lets them come. A row is read when it comes, and nothing of it is kept but what it
// means.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "auth/exchange.h"
#include "auth/secrets.h"
#include "base/time.h"
#include "link/auth_machine.h"

namespace berth::link {

// What came of a connection.
struct AuthHappened {
  enum class Kind : uint8_t { kNothing, kConnected, kProbed, kChecked, kRow, kRefused, kWork, kLost };
  Kind kind = Kind::kNothing;
  bool generations = false;          // of kProbed
  auth::MockProfile usual;           // likewise
  int64_t generation = 0;            // of kChecked
  Micros server_now = 0;             // likewise
  AuthRow row;                       // of kRow
  std::unique_ptr<auth::Work> work;  // of kWork: the login goes on when it has been done
  std::string error;                 // of kRefused and kLost: one line
  std::string sqlstate;              // of kLost: with which the server refused the login; empty: it did not
};

enum class AuthQuestion : uint8_t {
  kProbe,     // whether the extension is there, and what secrets look like here
  kCheck,     // the number that grows when a role changes
  kStandard,  // a user, by the default query
  kOwn,       // a user, by a query of the operator's
};

// The statement of a question; of kOwn it is the operator's.
std::string_view auth_sql(AuthQuestion question);
inline bool is_of_user(AuthQuestion question) {
  return question >= AuthQuestion::kStandard;
}

class AuthAnswer {
 public:
  AuthAnswer(AuthQuestion question, std::string user) : question_(question), user_(std::move(user)) {}

  // Bodies of RowDescription and DataRow. Empty, or why the connection is of no use any more: what no PostgreSQL
  // says.
  std::string_view on_columns(std::string_view body);
  std::string_view on_row(std::string_view body);
  // ErrorResponse instead of the rest.
  void on_error(std::string_view sqlstate, std::string text);
  // The server is ready again.
  AuthHappened take();

 private:
  static constexpr size_t kColumnsMost = 4;
  // The columns of one row; no data: null.
  struct Row {
    std::string_view at[kColumnsMost];
    bool null[kColumnsMost] = {};
  };
  bool read(std::string_view body, Row& row) const;
  size_t columns_expected() const;
  std::string_view read_probe(const Row& row);
  std::string_view read_check(const Row& row);
  std::string_view read_user(const Row& row);
  void refuse(std::string why);

  const AuthQuestion question_;
  const std::string user_;  // whom it is about
  bool described_ = false;
  size_t rows_ = 0;
  AuthHappened happened_;  // kNothing until it is known
};

}  // namespace berth::link
