// See entries.h: the parameters of both sections are tables of names and what to do with a value.
#include "config/entries.h"

#include <fmt/format.h>

#include "config/unknown.h"
#include "config/values.h"

namespace berth::config {

namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

void skip_space(std::string_view& text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
}

// The text behind an opening quote, up to its closing one. False: it is not closed, or followed by other text.
bool take_quoted(std::string_view& text, std::string& value) {
  for (;;) {
    const size_t quote = text.find('\'');
    if (quote == std::string_view::npos) return false;
    value.append(text.substr(0, quote));
    text.remove_prefix(quote + 1);
    if (text.empty() || text.front() != '\'') break;
    value.push_back('\'');
    text.remove_prefix(1);
  }
  return text.empty() || is_space(text.front());
}

constexpr int64_t kMaxServers = 1'000'000;
constexpr int64_t kMaxClients = 10'000'000;

// -1 means "not set" in both sections, as PgBouncer documents it for query_wait_timeout; it prints it for the sizes
// too.
bool is_unset(std::string_view value) {
  return value == "-1";
}

// The functions below store what a value means, and return why it is wrong, or nothing.
using Why = std::string;

Why store_size(const std::string& value, int64_t max, int64_t& field) {
  if (is_unset(value)) return field = -1, Why();
  const Result<int64_t> parsed = parse_number(value, 0, max);
  if (!parsed) return parsed.error().text;
  field = parsed.value();
  return {};
}

Why store_size(const std::string& value, int64_t max, std::optional<int64_t>& field) {
  int64_t size = -1;
  const Why why = store_size(value, max, size);
  if (!why.empty()) return why;
  field = size < 0 ? std::nullopt : std::optional<int64_t>(size);
  return {};
}

Why store_time(const std::string& value, std::optional<Micros>& field) {
  if (is_unset(value)) return field.reset(), Why();
  const Result<Micros> parsed = parse_time(value);
  if (!parsed) return parsed.error().text;
  field = parsed.value();
  return {};
}

Why store_mode(const std::string& value, std::optional<PoolMode>& field) {
  const Result<PoolMode> parsed = parse_pool_mode(value);
  if (!parsed) return parsed.error().text;
  field = parsed.value();
  return {};
}

Why store_port(const std::string& value, int& field) {
  const Result<int64_t> parsed = parse_number(value, 1, 65535);
  if (!parsed) return parsed.error().text;
  field = static_cast<int>(parsed.value());
  return {};
}

Why store_load_balance(const std::string& value, LoadBalance& field) {
  const Result<LoadBalance> parsed = parse_load_balance(value);
  if (!parsed) return parsed.error().text;
  field = parsed.value();
  return {};
}

Why store_text(const std::string& value, std::string& field) {
  return field = value, Why();
}

// A name of a parameter, and how to store it. The text after store() returns is a mistake.
template <typename Entry>
struct Parameter {
  std::string_view name;
  Why (*store)(Entry&, const std::string&);
};

using Db = DatabaseEntry;
constexpr Parameter<Db> kDatabaseParameters[] = {
    {"dbname", [](Db& e, const std::string& v) { return store_text(v, e.dbname); }},
    {"host", [](Db& e, const std::string& v) { return e.hosts = split_list(v), Why(); }},
    {"port", [](Db& e, const std::string& v) { return store_port(v, e.port); }},
    {"user", [](Db& e, const std::string& v) { return store_text(v, e.user); }},
    {"password", [](Db& e, const std::string& v) { return e.password = v, Why(); }},
    {"pool_size", [](Db& e, const std::string& v) { return store_size(v, kMaxServers, e.pool_size); }},
    {"min_pool_size", [](Db& e, const std::string& v) { return store_size(v, kMaxServers, e.min_pool_size); }},
    {"reserve_pool_size",
     [](Db& e, const std::string& v) { return store_size(v, kMaxServers, e.reserve_pool_size); }},
    {"reserve_pool", [](Db& e, const std::string& v) { return store_size(v, kMaxServers, e.reserve_pool_size); }},
    {"connect_query", [](Db& e, const std::string& v) { return store_text(v, e.connect_query); }},
    {"pool_mode", [](Db& e, const std::string& v) { return store_mode(v, e.pool_mode); }},
    {"max_db_connections",
     [](Db& e, const std::string& v) { return store_size(v, kMaxServers, e.max_db_connections); }},
    {"max_db_client_connections",
     [](Db& e, const std::string& v) { return store_size(v, kMaxClients, e.max_db_client_connections); }},
    {"server_lifetime", [](Db& e, const std::string& v) { return store_time(v, e.server_lifetime); }},
    {"query_wait_timeout", [](Db& e, const std::string& v) { return store_time(v, e.query_wait_timeout); }},
    {"client_encoding", [](Db& e, const std::string& v) { return store_text(v, e.client_encoding); }},
    {"datestyle", [](Db& e, const std::string& v) { return store_text(v, e.datestyle); }},
    {"timezone", [](Db& e, const std::string& v) { return store_text(v, e.timezone); }},
    {"load_balance_hosts", [](Db& e, const std::string& v) { return store_load_balance(v, e.load_balance_hosts); }},
    {"auth_user", [](Db& e, const std::string& v) { return store_text(v, e.auth_user); }},
    {"auth_query", [](Db& e, const std::string& v) { return store_text(v, e.auth_query); }},
    {"auth_dbname", [](Db& e, const std::string& v) { return store_text(v, e.auth_dbname); }},
};

using User = UserEntry;
constexpr Parameter<User> kUserParameters[] = {
    {"pool_size", [](User& e, const std::string& v) { return store_size(v, kMaxServers, e.pool_size); }},
    {"reserve_pool_size",
     [](User& e, const std::string& v) { return store_size(v, kMaxServers, e.reserve_pool_size); }},
    {"pool_mode", [](User& e, const std::string& v) { return store_mode(v, e.pool_mode); }},
    {"max_user_connections",
     [](User& e, const std::string& v) { return store_size(v, kMaxServers, e.max_user_connections); }},
    {"max_user_client_connections",
     [](User& e, const std::string& v) { return store_size(v, kMaxClients, e.max_user_client_connections); }},
    {"query_timeout", [](User& e, const std::string& v) { return store_time(v, e.query_timeout); }},
    {"idle_transaction_timeout",
     [](User& e, const std::string& v) { return store_time(v, e.idle_transaction_timeout); }},
    {"transaction_timeout", [](User& e, const std::string& v) { return store_time(v, e.transaction_timeout); }},
    {"client_idle_timeout", [](User& e, const std::string& v) { return store_time(v, e.client_idle_timeout); }},
    {"query_wait_timeout", [](User& e, const std::string& v) { return store_time(v, e.query_wait_timeout); }},
};

template <typename Entry, size_t count>
void store_pairs(const Setting& setting, const Parameter<Entry> (&parameters)[count], ParsedEntry<Entry>& out) {
  const Result<std::vector<Pair>> pairs = parse_pairs(setting.value);
  if (!pairs) {
    out.mistakes.push_back({setting.file, setting.line, setting.key, pairs.error().text});
    return;
  }
  for (const Pair& pair : pairs.value()) {
    const std::string where = fmt::format("{}: {}", setting.key, pair.key);
    const Parameter<Entry>* parameter = nullptr;
    for (const Parameter<Entry>& known : parameters) {
      if (known.name == pair.key) parameter = &known;
    }
    if (!parameter) {
      std::vector<std::string_view> names;
      for (const Parameter<Entry>& known : parameters) names.push_back(known.name);
      UnknownKey judged = judge_unknown_key(pair.key, names);
      (judged.refuses ? out.mistakes : out.warnings).push_back({setting.file, setting.line, where, judged.text});
      continue;
    }
    const Why why = parameter->store(out.entry, pair.value);
    if (!why.empty()) out.mistakes.push_back({setting.file, setting.line, where, why});
  }
}

}  // namespace

Result<std::vector<Pair>> parse_pairs(std::string_view text) {
  std::vector<Pair> pairs;
  for (skip_space(text); !text.empty(); skip_space(text)) {
    Pair pair;
    while (!text.empty() && text.front() != '=' && !is_space(text.front())) {
      pair.key.push_back(text.front());
      text.remove_prefix(1);
    }
    skip_space(text);
    if (pair.key.empty() || text.empty() || text.front() != '=') {
      return Error{fmt::format("expected key=value pairs, pair {} is not one", pairs.size() + 1), {}};
    }
    text.remove_prefix(1);
    skip_space(text);
    if (text.empty())
      return Error{fmt::format("{} has no value (write {}='' for an empty one)", pair.key, pair.key), {}};
    if (text.front() == '\'') {
      text.remove_prefix(1);
      if (!take_quoted(text, pair.value)) {
        return Error{fmt::format("the quotes of {} do not match (a quote inside is written '')", pair.key), {}};
      }
    } else {
      while (!text.empty() && !is_space(text.front())) {
        pair.value.push_back(text.front());
        text.remove_prefix(1);
      }
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

ParsedEntry<DatabaseEntry> parse_database(const Setting& setting) {
  ParsedEntry<DatabaseEntry> out;
  out.entry.name = setting.key;
  out.entry.is_fallback = setting.key == "*";
  if (setting.key == "pgbouncer") {
    out.mistakes.push_back({setting.file, setting.line, setting.key, "this name is reserved for the console"});
  }
  store_pairs(setting, kDatabaseParameters, out);
  if (out.entry.dbname.empty() && !out.entry.is_fallback) out.entry.dbname = setting.key;
  return out;
}

ParsedEntry<UserEntry> parse_user(const Setting& setting) {
  ParsedEntry<UserEntry> out;
  out.entry.name = setting.key;
  store_pairs(setting, kUserParameters, out);
  return out;
}

}  // namespace berth::config
