// What drivers and tools ask of any server at connect or reset, and the console answers so that they go on: a few
// parameters with fixed values, SET that has no effect, transaction commands that do nothing.
#pragma once

#include <span>
#include <string_view>

#include "admin/table.h"

namespace berth::admin {

struct DriverParameter {
  std::string_view name;  // in small letters
  std::string_view value;
  bool at_login;  // told by ParameterStatus, under `told_as`
  std::string_view told_as;
};
std::span<const DriverParameter> driver_parameters();
// Any case. Null: not one of them.
const DriverParameter* find_driver_parameter(std::string_view name);
// The one column of SHOW name, which must be one of them.
std::span<const Column> driver_columns(std::string_view name);

}  // namespace berth::admin
