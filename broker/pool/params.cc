#include "pool/params.h"

#include <algorithm>
#include <array>

#include "base/siphash.h"

namespace berth::pool {

static SharedTable<ParamData>& table() {
  static auto* instance = new SharedTable<ParamData>;  // lives as long as the process: workers may end in any order
  return *instance;
}

static char fold(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

static bool name_less(std::string_view a, std::string_view b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                      [](char x, char y) { return fold(x) < fold(y); });
}

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return fold(x) == fold(y); });
}

template <size_t N>
static bool one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::any_of(names.begin(), names.end(), [name](std::string_view other) { return same_name(name, other); });
}

bool is_fixed_parameter(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kFixed = {
      "server_version", "server_encoding",       "is_superuser", "integer_datetimes",
      "in_hot_standby", "session_authorization", "lc_collate",   "pgberth.version"};
  return one_of(name, kFixed);
}

// PostgreSQL reports none of these: here they are those of a client's start.
static constexpr std::array<std::string_view, 6> kUnreportedPlan = {
    "array_nulls", "backslash_quote", "lc_monetary", "timezone_abbreviations", "transform_null_equals", "xmloption"};

bool is_plan_parameter(std::string_view name) {
  static constexpr std::array<std::string_view, 6> kReported = {
      "DateStyle", "IntervalStyle", "TimeZone", "search_path", "client_encoding", "standard_conforming_strings"};
  return one_of(name, kReported) || one_of(name, kUnreportedPlan);
}

const std::string* ParamData::find(std::string_view name) const {
  const auto at = std::lower_bound(values.begin(), values.end(), name, [](const auto& entry, std::string_view key) {
    return name_less(entry.first, key);
  });
  return at != values.end() && same_name(at->first, name) ? &at->second : nullptr;
}

Params make_params(std::vector<std::pair<std::string, std::string>> values) {
  std::stable_sort(values.begin(), values.end(),
                   [](const auto& a, const auto& b) { return name_less(a.first, b.first); });
  ParamData data;
  for (auto& entry : values) {  // the last of several wins
    if (!data.values.empty() && same_name(data.values.back().first, entry.first)) {
      data.values.back().second = std::move(entry.second);
    } else {
      data.values.push_back(std::move(entry));
    }
  }
  std::string text;
  std::vector<std::pair<std::string, std::string>> plan;
  for (const auto& [name, value] : data.values) {
    text.append(name).append(1, '\0').append(value).append(1, '\0');
    if (is_plan_parameter(name)) plan.emplace_back(name, value);
  }
  data.hash = siphash(process_key(), text);
  if (plan.size() != data.values.size()) data.plan = make_params(std::move(plan));
  return Params(table().intern(std::move(data)));
}

Params with_value(const Params& base, std::string_view name, std::string_view value) {
  if (base) {
    const std::string* now = base->find(name);
    if (now && *now == value) return base;
  }
  auto values = base ? base->values : std::vector<std::pair<std::string, std::string>>{};
  values.emplace_back(name, value);
  return make_params(std::move(values));
}

Params without_value(const Params& base, std::string_view name) {
  if (!base || !base->find(name)) return base;
  auto values = base->values;
  std::erase_if(values, [name](const auto& entry) { return same_name(entry.first, name); });
  return make_params(std::move(values));
}

const Params& plan_params(const Params& params) {
  return params && params->plan ? params->plan : params;
}

std::string quote_literal(std::string_view text) {
  // E'' reads the same whatever standard_conforming_strings says.
  std::string out = text.find('\\') == std::string_view::npos ? "'" : "E'";
  for (char c : text) {
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + "'";
}

std::string quote_identifier(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

namespace {

// SELECT set_config(...), set_config(...), ...
class SettingsSelect {
 public:
  explicit SettingsSelect(SettingsLast last) : local_(last == SettingsLast::kTransaction ? ",true)" : ",false)") {}
  // `value` is SQL: a literal, NULL, or an expression.
  void set(std::string_view name, std::string_view value) {
    sql_ += sql_.empty() ? "SELECT " : ",";
    sql_ += "pg_catalog.set_config(" + quote_literal(name) + ",";
    sql_.append(value).append(local_);
  }
  static std::string current(std::string_view name) {
    return "pg_catalog.current_setting(" + quote_literal(name) + ")";
  }
  std::string take() { return std::move(sql_); }

 private:
  std::string_view local_;
  std::string sql_;
};

}  // namespace

static std::string saved_name(std::string_view name) {
  return "pgberth_saved." + std::string(name);
}

std::string lend_settings_sql(const Params& want) {
  SettingsSelect select(SettingsLast::kTransaction);
  for (const auto& [name, value] : want->values) {
    select.set(saved_name(name), SettingsSelect::current(name));
    select.set(name, quote_literal(value));
  }
  for (const std::string_view name : kUnreportedPlan) {
    if (want->find(name)) continue;
    select.set(saved_name(name), SettingsSelect::current(name));
    select.set(name, "NULL");
  }
  return select.take();
}

std::string return_settings_sql(const Params& want) {
  SettingsSelect select(SettingsLast::kTransaction);
  for (const auto& [name, value] : want->values) select.set(name, SettingsSelect::current(saved_name(name)));
  for (const std::string_view name : kUnreportedPlan) {
    if (!want->find(name)) select.set(name, SettingsSelect::current(saved_name(name)));
  }
  return select.take();
}

std::string difference_sql(const Params& have, const Params& want, SettingsLast last) {
  if (have == want) return {};
  SettingsSelect select(last);
  if (have) {
    for (const auto& [name, value] : have->values) {
      if (!is_fixed_parameter(name) && !(want && want->find(name))) select.set(name, "NULL");
    }
  }
  if (want) {
    for (const auto& [name, value] : want->values) {
      const std::string* now = have ? have->find(name) : nullptr;
      if (!is_fixed_parameter(name) && !(now && *now == value)) select.set(name, quote_literal(value));
    }
  }
  return select.take();
}

}  // namespace berth::pool
