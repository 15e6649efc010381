// See diff.h.
#include "config/diff.h"

#include <fmt/format.h>

#include "config/hba.h"
#include "config/options.h"

namespace berth::config {

namespace {

void diff_options(const Config& running, const Config& loaded, Diff& out) {
  for (const OptionInfo& info : all_options()) {
    const std::string before = option_value(running.options, info);
    const std::string after = option_value(loaded.options, info);
    if (before == after) continue;
    if (info.reloadable) {
      out.lines.push_back(fmt::format("{}: {} -> {}", info.name,
                                      before.empty() ? "(empty)" : option_shown(running.options, info),
                                      after.empty() ? "(empty)" : option_shown(loaded.options, info)));
    } else {
      out.needs_restart.emplace_back(info.name);
    }
  }
}

// What a server connection was opened with: servers of the old definition do not serve the new one.
bool same_server(const DatabaseEntry& a, const DatabaseEntry& b) {
  return a.dbname == b.dbname && a.hosts == b.hosts && a.port == b.port && a.user == b.user &&
         a.password == b.password && a.connect_query == b.connect_query && a.client_encoding == b.client_encoding &&
         a.datestyle == b.datestyle && a.timezone == b.timezone;
}

void diff_databases(const Config& running, const Config& loaded, Diff& out) {
  const auto own = [](const Config& config, const DatabaseEntry& entry) -> const DatabaseEntry* {
    const DatabaseEntry* found = config.find_database(entry.name);
    return found && found->name == entry.name ? found : nullptr;
  };
  for (const DatabaseEntry& before : running.databases) {
    const DatabaseEntry* after = own(loaded, before);
    if (!after) {
      out.lines.push_back(fmt::format("database \"{}\" removed", before.name));
      out.removed_databases.push_back(before.name);
    } else if (!(before == *after)) {
      const bool same = same_server(before, *after);
      out.lines.push_back(
          fmt::format("database \"{}\" changed{}", before.name, same ? "" : ", its servers are replaced"));
      if (!same) out.reconnect.push_back(before.name);
    }
  }
  for (const DatabaseEntry& after : loaded.databases) {
    if (!own(running, after)) out.lines.push_back(fmt::format("database \"{}\" added", after.name));
  }
}

void diff_users(const Config& running, const Config& loaded, Diff& out) {
  for (const UserEntry& before : running.users) {
    const UserEntry* after = loaded.find_user(before.name);
    if (!after) {
      out.lines.push_back(fmt::format("user \"{}\" removed from [users]", before.name));
    } else if (!(before == *after)) {
      out.lines.push_back(fmt::format("user \"{}\" changed", before.name));
    }
  }
  for (const UserEntry& after : loaded.users) {
    if (!running.find_user(after.name)) out.lines.push_back(fmt::format("user \"{}\" added to [users]", after.name));
  }
}

void diff_secrets(const Config& running, const Config& loaded, Diff& out) {
  size_t added = 0, removed = 0, changed = 0;
  for (const auto& [user, secret] : running.secrets) {
    const SecretString* after = loaded.find_secret(user);
    if (!after) ++removed;
    if (after && !(*after == secret)) ++changed;
  }
  for (const auto& [user, secret] : loaded.secrets) {
    if (!running.find_secret(user)) ++added;
  }
  if (added + removed + changed == 0) return;
  out.lines.push_back(
      fmt::format("auth_file: {} users added, {} removed, {} with another secret", added, removed, changed));
}

void diff_hba(const Config& running, const Config& loaded, Diff& out) {
  const bool same = running.hba && loaded.hba ? *running.hba == *loaded.hba : running.hba == loaded.hba;
  if (same) return;
  out.lines.push_back(loaded.hba ? fmt::format("auth_hba_file: changed, {} rules now", loaded.hba->rules.size())
                                 : std::string("auth_hba_file: its rules are no longer looked at"));
}

}  // namespace

Diff diff_configs(const Config& running, const Config& loaded) {
  Diff diff;
  diff_options(running, loaded, diff);
  diff_databases(running, loaded, diff);
  diff_users(running, loaded, diff);
  diff_secrets(running, loaded, diff);
  diff_hba(running, loaded, diff);
  return diff;
}

std::string cut_off(const Config& running, const Config& loaded) {
  if (running.explicit_options.empty() || !loaded.explicit_options.empty()) return {};
  return fmt::format(
      "{}: no setting in section [pgbouncer], and the running configuration has some: is the file complete? (If "
      "defaults are meant, write one of them, or start the broker anew.)",
      loaded.path);
}

std::shared_ptr<const Config> merge_reload(const Config& running, const Config& loaded) {
  auto merged = std::make_shared<Config>(loaded);
  for (const OptionInfo& info : all_options()) {
    if (!info.reloadable) copy_option(merged->options, running.options, info);
  }
  merged->index();
  return merged;
}

}  // namespace berth::config
