// Session parameters as values: which settings a client or a server has. A set is immutable and interned (Held), so
// "the server already has what this client needs" is one comparison of addresses.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/shared_table.h"

namespace berth::pool {

struct ParamData;
using Params = Held<ParamData>;

struct ParamData {
  std::vector<std::pair<std::string, std::string>> values;  // sorted by folded name, one each
  uint64_t hash = 0;
  // The part that changes what a Parse means (literals are folded, names are looked up at Parse): the set of only
  // those parameters. Null when this set has nothing else itself.
  Params plan;

  bool same(const ParamData& other) const { return values == other.values; }
  const std::string* find(std::string_view name) const;
};

// Names compare without regard to ASCII case, as in PostgreSQL.
bool same_name(std::string_view a, std::string_view b);
// Reported by PostgreSQL, but not to be set: server_version, is_superuser and so on.
bool is_fixed_parameter(std::string_view name);
// DateStyle, IntervalStyle, TimeZone, search_path, client_encoding, standard_conforming_strings.
bool is_plan_parameter(std::string_view name);

Params make_params(std::vector<std::pair<std::string, std::string>> values);
// `base` with one value changed or added.
Params with_value(const Params& base, std::string_view name, std::string_view value);
Params without_value(const Params& base, std::string_view name);
// The set that decides what a Parse means under `params`. Equal for two sets that differ only in, say,
// application_name.
const Params& plan_params(const Params& params);

// What is lent for a moment lasts for the transaction: a setting of the session would take the place of the client's
// SET LOCAL, and stay behind its COMMIT.
enum class SettingsLast : bool { kSession, kTransaction };

// The one SELECT that makes a session with `have` into one with `want`; empty when nothing differs. Fixed parameters
// are left alone. Values travel by set_config(), which takes them as a configuration file does (a list of schemas
// stays a list); a NULL value resets, which is what happens to parameters that `want` does not name.
std::string difference_sql(const Params& have, const Params& want, SettingsLast last = SettingsLast::kSession);
// Where the session's values are not known: a SELECT that puts those that `want` names aside, in parameters of the
// broker's, and sets `want`'s; and one that puts them back. In the same transaction. What PostgreSQL does not report
// is the server's own where `want` does not name it; search_path is left alone then.
std::string lend_settings_sql(const Params& want);
std::string return_settings_sql(const Params& want);
std::string quote_literal(std::string_view text);
std::string quote_identifier(std::string_view text);

}  // namespace berth::pool
