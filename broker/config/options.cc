// The table, made from options.def.
#include "config/options.h"

#include <array>

#include "config/ldap_options.h"
#include "config/values.h"

namespace berth::config {

namespace {

constexpr OptionClass HONOURED = OptionClass::kHonoured;
constexpr OptionClass NO_EFFECT = OptionClass::kNoEffect;
constexpr OptionClass DOOR = OptionClass::kDoor;
constexpr bool RELOAD = true;
constexpr bool START = false;

OptionInfo of_enum(OptionInfo info, PoolMode Options::*field, PoolMode preset) {
  info.kind = OptionKind::kPoolMode;
  info.preset = to_string(preset);
  info.as_pool_mode = field;
  return info;
}
OptionInfo of_enum(OptionInfo info, AuthType Options::*field, AuthType preset) {
  info.kind = OptionKind::kAuthType;
  info.preset = to_string(preset);
  info.as_auth_type = field;
  return info;
}

const auto& table() {
  static const auto kTable = std::to_array<OptionInfo>({
#define BERTH_BOOL(name, preset, kind, reload, doc) \
  {#name, OptionKind::kBool, #preset, kind, reload, doc, 0, 1, &Options::name, nullptr, nullptr, nullptr, nullptr},
#define BERTH_INT(name, preset, min, max, kind, reload, doc)              \
  {#name,   OptionKind::kNumber, #preset, kind,    reload, doc, min, max, \
   nullptr, &Options::name,      nullptr, nullptr, nullptr},
#define BERTH_TIME(name, preset, kind, reload, doc) \
  {#name, OptionKind::kTime, #preset, kind, reload, doc, 0, 0, nullptr, &Options::name, nullptr, nullptr, nullptr},
#define BERTH_TEXT(name, preset, kind, reload, doc) \
  {#name, OptionKind::kText, preset, kind, reload, doc, 0, 0, nullptr, nullptr, &Options::name, nullptr, nullptr},
#define BERTH_ENUM(type, name, preset, kind, reload, doc) \
  of_enum({#name, OptionKind::kText, {}, kind, reload, doc}, &Options::name, type::preset),
#include "config/options.def"
#undef BERTH_BOOL
#undef BERTH_INT
#undef BERTH_TIME
#undef BERTH_TEXT
#undef BERTH_ENUM
  });
  return kTable;
}

// Stores what a parse gave, or says why it gave nothing.
template <typename Parsed, typename Field>
std::string store(const Result<Parsed>& parsed, Field& field) {
  if (!parsed) return parsed.error().text;
  field = parsed.value();
  return {};
}

}  // namespace

std::span<const OptionInfo> all_options() {
  return table();
}

const OptionInfo* find_option(std::string_view name) {
  for (const OptionInfo& info : table()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

std::string option_value(const Options& options, const OptionInfo& info) {
  switch (info.kind) {
    case OptionKind::kBool: return options.*info.as_bool ? "1" : "0";
    case OptionKind::kNumber: return std::to_string(options.*info.as_number);
    case OptionKind::kTime: return format_time(options.*info.as_number);
    case OptionKind::kText: return options.*info.as_text;
    case OptionKind::kPoolMode: return std::string(to_string(options.*info.as_pool_mode));
    case OptionKind::kAuthType: return std::string(to_string(options.*info.as_auth_type));
  }
  ASSERT(false);
  return {};
}

std::string option_shown(const Options& options, const OptionInfo& info) {
  std::string value = option_value(options, info);
  return info.name == "auth_ldap_options" ? without_ldap_secrets(value) : value;
}

std::string assign_option(Options& options, const OptionInfo& info, std::string_view text) {
  switch (info.kind) {
    case OptionKind::kBool: return store(parse_bool(text), options.*info.as_bool);
    case OptionKind::kNumber: return store(parse_number(text, info.min, info.max), options.*info.as_number);
    case OptionKind::kTime: return store(parse_time(text), options.*info.as_number);
    case OptionKind::kText: options.*info.as_text = std::string(text); return {};
    case OptionKind::kPoolMode: return store(parse_pool_mode(text), options.*info.as_pool_mode);
    case OptionKind::kAuthType: return store(parse_auth_type(text), options.*info.as_auth_type);
  }
  ASSERT(false);
  return {};
}

void copy_option(Options& to, const Options& from, const OptionInfo& info) {
  switch (info.kind) {
    case OptionKind::kBool: to.*info.as_bool = from.*info.as_bool; return;
    case OptionKind::kNumber:
    case OptionKind::kTime: to.*info.as_number = from.*info.as_number; return;
    case OptionKind::kText: to.*info.as_text = from.*info.as_text; return;
    case OptionKind::kPoolMode: to.*info.as_pool_mode = from.*info.as_pool_mode; return;
    case OptionKind::kAuthType: to.*info.as_auth_type = from.*info.as_auth_type; return;
  }
}

}  // namespace berth::config
