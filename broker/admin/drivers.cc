#include "admin/drivers.h"

#include <array>

#include "admin/version.h"
#include "base/assert.h"
#include "pool/params.h"

namespace berth::admin {

namespace {
constexpr DriverParameter kParameters[] = {
    {"server_version", kServerVersion, true, "server_version"},
    {"client_encoding", "UTF8", true, "client_encoding"},
    {"server_encoding", "UTF8", true, "server_encoding"},
    {"datestyle", "ISO", true, "DateStyle"},
    {"timezone", "GMT", true, "TimeZone"},
    {"standard_conforming_strings", "on", true, "standard_conforming_strings"},
    {"is_superuser", "on", true, "is_superuser"},
    {"integer_datetimes", "on", true, "integer_datetimes"},
    {"intervalstyle", "postgres", false, ""},
    {"application_name", "", false, ""},
    {"search_path", "", false, ""},
    {"extra_float_digits", "1", false, ""},
    {"bytea_output", "hex", false, ""},
    {"client_min_messages", "notice", false, ""},
    {"default_transaction_isolation", "read committed", false, ""},
    {"transaction_isolation", "read committed", false, ""},
    {"default_transaction_read_only", "off", false, ""},
    {"transaction_read_only", "off", false, ""},
    {"statement_timeout", "0", false, ""},
    {"lock_timeout", "0", false, ""},
    {"idle_in_transaction_session_timeout", "0", false, ""},
    {"max_identifier_length", "63", false, ""},
};

// A column for each, so that its name has static storage.
constexpr auto kColumns = [] {
  std::array<Column, std::size(kParameters)> columns;
  for (size_t i = 0; i < columns.size(); ++i) columns[i] = {kParameters[i].name, ColumnType::kText};
  return columns;
}();
}  // namespace

std::span<const DriverParameter> driver_parameters() {
  return kParameters;
}

const DriverParameter* find_driver_parameter(std::string_view name) {
  for (const DriverParameter& parameter : kParameters) {
    if (pool::same_name(parameter.name, name)) return &parameter;
  }
  return nullptr;
}

std::span<const Column> driver_columns(std::string_view name) {
  const DriverParameter* known = find_driver_parameter(name);
  ASSERT(known);
  return std::span(kColumns).subspan(static_cast<size_t>(known - kParameters), 1);
}

}  // namespace berth::admin
