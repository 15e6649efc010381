// A key that no list knows: which known one was meant, and whether the file may go without it. Who mistypes a setting
// that protects believes to be protected, so such a key refuses the file, as every unknown key does in PgBouncer.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace berth::config {

struct UnknownKey {
  bool refuses = false;
  std::string text;  // for a Remark
};

UnknownKey judge_unknown_key(std::string_view key, std::span<const std::string_view> known);

}  // namespace berth::config
