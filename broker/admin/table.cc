#include "admin/table.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

#include "base/assert.h"
#include "wire/encode.h"

namespace berth::admin {

namespace {

constexpr uint32_t kNull = UINT32_MAX;  // length -1

int16_t type_size(ColumnType type) {
  switch (type) {
    case ColumnType::kInt4: return 4;
    case ColumnType::kInt8: return 8;
    case ColumnType::kBool: return 1;
    case ColumnType::kText:
    case ColumnType::kNumeric:
    case ColumnType::kBytea: break;
  }
  return -1;
}

int16_t format_of(const Formats& formats, size_t column) {
  if (formats.empty()) return 0;
  return formats.size() == 1 ? formats[0] : formats[column];
}

void put64(std::string& out, uint64_t value) {
  wire::put32(out, static_cast<uint32_t>(value >> 32));
  wire::put32(out, static_cast<uint32_t>(value));
}

// PostgreSQL's numeric in binary: digits to the base of 10,000, of which the first counts 10,000^weight.
void put_numeric(std::string& out, int64_t value) {
  uint64_t rest = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  uint16_t digits[5];
  uint16_t count = 0;
  while (rest > 0) {
    digits[count++] = static_cast<uint16_t>(rest % 10000);
    rest /= 10000;
  }
  wire::put32(out, 8 + 2u * count);
  wire::put16(out, count);
  wire::put16(out, count == 0 ? uint16_t{0} : static_cast<uint16_t>(count - 1));
  wire::put16(out, value < 0 ? 0x4000 : 0);
  wire::put16(out, 0);  // digits behind the point
  while (count > 0) wire::put16(out, digits[--count]);
}

void put_binary(std::string& out, ColumnType type, std::string_view text) {
  int64_t value = 0;
  if (type != ColumnType::kText && type != ColumnType::kBytea)
    std::from_chars(text.data(), text.data() + text.size(), value);
  switch (type) {
    case ColumnType::kText:
    case ColumnType::kBytea:
      wire::put32(out, static_cast<uint32_t>(text.size()));
      out += text;
      return;
    case ColumnType::kInt4: wire::put32(out, 4); return wire::put32(out, static_cast<uint32_t>(value));
    case ColumnType::kInt8: wire::put32(out, 8); return put64(out, static_cast<uint64_t>(value));
    case ColumnType::kNumeric: return put_numeric(out, value);
    case ColumnType::kBool:
      wire::put32(out, 1);
      out += text == "t" ? '\1' : '\0';
      return;
  }
}

}  // namespace

uint32_t type_oid(ColumnType type) {
  switch (type) {
    case ColumnType::kText: return 25;
    case ColumnType::kInt4: return 23;
    case ColumnType::kInt8: return 20;
    case ColumnType::kNumeric: return 1700;
    case ColumnType::kBytea: return 17;
    case ColumnType::kBool: return 16;
  }
  return 0;
}

void put_description(std::string& out, std::span<const Column> columns, const Formats& formats) {
  if (columns.empty()) return wire::put_empty(out, wire::kNoData);
  wire::Message message(out, wire::kRowDescription);
  wire::put16(out, static_cast<uint16_t>(columns.size()));
  for (size_t i = 0; i < columns.size(); ++i) {
    wire::put_cstring(out, columns[i].name);
    wire::put32(out, 0);  // of no table
    wire::put16(out, 0);
    wire::put32(out, type_oid(columns[i].type));
    wire::put16(out, static_cast<uint16_t>(type_size(columns[i].type)));
    wire::put32(out, UINT32_MAX);  // no type modifier
    wire::put16(out, static_cast<uint16_t>(format_of(formats, i)));
  }
}

void Table::cell(std::string_view value) {
  ASSERT(cells_ < columns_.size());
  ++cells_;
  wire::put32(row_, static_cast<uint32_t>(value.size()));
  row_ += value;
}

Table& Table::text(std::string_view value) {
  cell(value);
  return *this;
}

Table& Table::number(int64_t value) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  cell({digits, static_cast<size_t>(end - digits)});
  return *this;
}

Table& Table::null() {
  ASSERT(cells_ < columns_.size());
  ++cells_;
  wire::put32(row_, kNull);
  return *this;
}

Table& Table::time(Micros wall) {
  const time_t seconds = wall / kSecond;
  tm parts{};
  localtime_r(&seconds, &parts);
  char shown[64];
  cell({shown, strftime(shown, sizeof shown, "%Y-%m-%d %H:%M:%S %Z", &parts)});
  return *this;
}

Table& Table::instant(Micros wall) {
  const time_t seconds = wall / kSecond;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char shown[64];
  strftime(shown, sizeof shown, "%Y-%m-%dT%H:%M:%S", &parts);
  cell(fmt::format("{}.{:06}+00:00", shown, wall % kSecond));
  return *this;
}

Table& Table::boolean(bool value) {
  cell(value ? "t" : "f");
  return *this;
}

void Table::end_row() {
  ASSERT(cells_ == columns_.size());
  rows_.push_back(std::move(row_));
  row_.clear();
  cells_ = 0;
}

void Table::append(Table&& other) {
  ASSERT(other.columns_.size() == columns_.size() && other.cells_ == 0 && cells_ == 0);
  for (std::string& row : other.rows_) rows_.push_back(std::move(row));
  other.rows_.clear();
}

void Table::put_row(std::string& out, size_t row, const Formats& formats) const {
  ASSERT(row < rows_.size());
  wire::Message message(out, wire::kDataRow);
  wire::put16(out, static_cast<uint16_t>(columns_.size()));
  std::string_view rest = rows_[row];
  for (size_t i = 0; i < columns_.size(); ++i) {
    const uint32_t size = wire::read32(rest.data());
    rest.remove_prefix(4);
    const std::string_view value = size == kNull ? std::string_view() : rest.substr(0, size);
    rest.remove_prefix(value.size());
    if (size == kNull || format_of(formats, i) == 0) {
      wire::put32(out, size);
      out += value;
    } else {
      put_binary(out, columns_[i].type, value);
    }
  }
}

}  // namespace berth::admin
