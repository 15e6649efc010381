#include "link/targets.h"

#include <algorithm>
#include <charconv>

#include "auth/secrets.h"

namespace berth::link {

bool Target::operator==(const Target& other) const {
  const auto equal = [](const config::Pair& a, const config::Pair& b) {
    return a.key == b.key && a.value == b.value;
  };
  return names == other.names && same_place(other) && user == other.user && password == other.password &&
         std::equal(more.begin(), more.end(), other.more.begin(), other.more.end(), equal);
}

namespace {

constexpr std::string_view kConsoleNames[] = {"pgbouncer", "pgberth"};

// Only a clear password can be used: the link's libpq cannot log in with a hash. auth_query's logins look for one by
// themselves (LearnedUsers::proof).
SecretString clear_password(const config::Config& config, const std::string& user) {
  const SecretString* text = config.find_secret(user);
  if (!text || auth::parse_secret(text->view()).kind != auth::SecretKind::kPlain) return {};
  return *text;
}

std::string default_host(const config::Config& config) {
  return config.options.unix_socket_dir.empty() ? "/tmp" : config.options.unix_socket_dir;
}

void add(std::vector<Target>& targets, Target target) {
  for (Target& known : targets) {
    if (!known.same_place(target)) continue;
    known.names.insert(known.names.end(), target.names.begin(), target.names.end());
    return;
  }
  targets.push_back(std::move(target));
}

void add_entry(std::vector<Target>& targets, const config::Config& config, const config::DatabaseEntry& entry,
               const std::string& name) {
  const std::string& user = !config.options.link_user.empty() ? config.options.link_user
                            : !entry.user.empty()             ? entry.user
                                                              : config.auth_user(&entry);
  for (Target& target : targets_of_entry(config, entry, name, user)) add(targets, std::move(target));
}

// `link` = connection string. It was checked when it was read, save what only libpq knows.
Target explicit_target(const config::Config& config) {
  Target target;
  const Result<std::vector<config::Pair>> pairs = config::parse_pairs(config.options.link);
  if (!pairs) return target;
  for (const config::Pair& pair : pairs.value()) {
    if (pair.key == "host") {
      target.host = pair.value;
    } else if (pair.key == "port") {
      std::from_chars(pair.value.data(), pair.value.data() + pair.value.size(), target.port);
    } else if (pair.key == "dbname") {
      target.dbname = pair.value;
    } else if (pair.key == "user") {
      target.user = pair.value;
    } else {
      target.more.push_back(pair);
    }
  }
  if (target.host.empty()) target.host = default_host(config);
  if (target.user.empty()) target.user = config.options.link_user;
  if (target.dbname.empty()) target.dbname = target.user;
  target.names = {target.dbname};
  target.password = clear_password(config, target.user);
  return target;
}

}  // namespace

std::vector<Target> targets_of_entry(const config::Config& config, const config::DatabaseEntry& entry,
                                     const std::string& name, const std::string& user) {
  Target target;
  target.names = {name};
  target.port = entry.port;
  target.dbname = entry.dbname.empty() ? name : entry.dbname;
  target.user = user;
  if (target.user == entry.user) target.password = entry.password;
  if (target.password.empty()) target.password = clear_password(config, target.user);
  std::vector<Target> targets;
  const std::vector<std::string> local = {default_host(config)};
  for (const std::string& host : entry.hosts.empty() ? local : entry.hosts) {
    target.host = host;
    targets.push_back(target);
  }
  return targets;
}

std::vector<Target> targets_of(const config::Config& config, const std::vector<std::string>& in_use) {
  std::vector<Target> targets;
  if (config.options.link == "off") return targets;
  if (config.options.link != "auto") return {explicit_target(config)};
  for (const config::DatabaseEntry& entry : config.databases) {
    if (!entry.is_fallback) add_entry(targets, config, entry, entry.name);
  }
  for (const std::string& name : in_use) {
    if (config.find_own_database(name)) continue;
    if (std::find(std::begin(kConsoleNames), std::end(kConsoleNames), name) != std::end(kConsoleNames)) continue;
    if (const config::DatabaseEntry* fallback = config.find_database(name))
      add_entry(targets, config, *fallback, name);
  }
  return targets;
}

}  // namespace berth::link
