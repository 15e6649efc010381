// The settings of options.def as a table: each knows its name, default, class, limits and documentation, and how to
// read and write its field of Options. The parser, SHOW CONFIG, SET, the reload's diff and docs/config.md go through
// it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "config/config.h"

namespace berth::config {

enum class OptionKind : uint8_t { kBool, kNumber, kTime, kText, kPoolMode, kAuthType };
// See the head of options.def.
enum class OptionClass : uint8_t { kHonoured, kNoEffect, kDoor };

struct OptionInfo {
  std::string_view name;
  OptionKind kind;
  std::string_view preset;  // the default as it would stand in the file
  OptionClass effect;
  bool reloadable;
  std::string_view doc;
  int64_t min = 0;  // numbers only
  int64_t max = 0;
  // The field, by kind: exactly one is set.
  bool Options::*as_bool = nullptr;
  int64_t Options::*as_number = nullptr;  // kTime too
  std::string Options::*as_text = nullptr;
  PoolMode Options::*as_pool_mode = nullptr;
  AuthType Options::*as_auth_type = nullptr;
};

// In the order of options.def.
std::span<const OptionInfo> all_options();
// Null for a name that is unknown. Names are compared exactly, as PgBouncer does.
const OptionInfo* find_option(std::string_view name);

// As SHOW CONFIG prints it: truth values 0 or 1, times in seconds, numbers in decimal.
std::string option_value(const Options& options, const OptionInfo& info);
// The same for people and the log: without the secrets in it.
std::string option_shown(const Options& options, const OptionInfo& info);
// Sets the field from text. Empty: done, else why not. Checks this one value, not how it fits the others (rules.h).
std::string assign_option(Options& options, const OptionInfo& info, std::string_view text);
void copy_option(Options& to, const Options& from, const OptionInfo& info);

}  // namespace berth::config
