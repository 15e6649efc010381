// A table that the console answers with: typed columns and rows of text, encoded as RowDescription and DataRow. The
// types are part of the contract with dashboards: a number sent as another type breaks them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace berth::admin {

enum class ColumnType : uint8_t { kText, kInt4, kInt8, kNumeric, kBytea, kBool };
uint32_t type_oid(ColumnType type);

struct Column {
  std::string_view name;
  ColumnType type = ColumnType::kText;
};

// 0 text, 1 binary: one for each column, or one for all, or none (text), as a Bind message gives them.
using Formats = std::vector<int16_t>;

// Appends a RowDescription, or NoData where there are no columns.
void put_description(std::string& out, std::span<const Column> columns, const Formats& formats);

class Table {
 public:
  Table() = default;
  explicit Table(std::span<const Column> columns) : columns_(columns) {}

  // Cells of the current row, from left to right; end_row() asserts that each column has one.
  Table& text(std::string_view value);
  Table& number(int64_t value);
  Table& null();
  // Wall-clock text of a moment; PgBouncer sends times as text.
  Table& time(Micros wall);
  // The same as ISO 8601 with microseconds and offset, which PostgreSQL reads as a timestamptz: ours.
  Table& instant(Micros wall);
  Table& boolean(bool value);
  void end_row();

  // Takes over the rows of a table of the same columns.
  void append(Table&& other);
  std::span<const Column> columns() const { return columns_; }
  size_t size() const { return rows_.size(); }
  void put_row(std::string& out, size_t row, const Formats& formats) const;

 private:
  void cell(std::string_view value);

  std::span<const Column> columns_;  // of static storage
  std::vector<std::string> rows_;    // each the cells of a DataRow in text form: length, bytes, length, bytes ...
  std::string row_;
  size_t cells_ = 0;
};

}  // namespace berth::admin
