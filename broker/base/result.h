// Result<T>: a value, or an Error that a peer, a user or the operating system caused.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/assert.h"

namespace berth {

// One text for people and, where a client reads it, its SQLSTATE (five characters; empty when none applies).
struct Error {
  std::string text;
  std::string sqlstate;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT: implicit, so that `return value;` reads naturally
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: likewise
  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& value() {
    ASSERT(value_);
    return *value_;
  }
  const T& value() const {
    ASSERT(value_);
    return *value_;
  }
  const Error& error() const {
    ASSERT(!value_);
    return error_;
  }

 private:
  std::optional<T> value_;
  Error error_;
};

}  // namespace berth
