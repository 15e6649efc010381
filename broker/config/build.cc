// See build.h: each setting goes to its section; then the rules look at the whole.
#include "config/build.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "config/entries.h"
#include "config/options.h"
#include "config/rules.h"
#include "config/unknown.h"

namespace berth::config {

namespace {

class Builder {
 public:
  Builder(Ini& ini, const std::string& path, Built& out) : ini_(ini), out_(out) {
    out_.config.path = path;
    out_.config.options.conffile = path;
    out_.mistakes = std::move(ini.mistakes);
  }

  void build() {
    for (const Setting& setting : ini_.settings) {
      if (setting.section == "pgbouncer") {
        take_option(setting);
      } else if (setting.section == "databases") {
        take_entry(setting, parse_database(setting), out_.config.databases, database_at_);
      } else if (setting.section == "users") {
        take_entry(setting, parse_user(setting), out_.config.users, user_at_);
      } else {
        take_other(setting);
      }
    }
    // What an editor or a copy that was cut off leaves behind: on a reload it would take everything away. A section
    // in which all settings have their defaults is PgBouncer's own minimal file; a reload is more careful (diff.h).
    if (!ini_.has_broker_section && out_.mistakes.empty()) {
      out_.mistakes.push_back({out_.config.path, 0, {}, "no section [pgbouncer]: is the file complete?"});
    }
    for (const auto& [key, setting] : option_at_) {
      out_.config.option_places[key] = {setting->file, setting->line, key, {}};
    }
    warn_of_no_effect();
    choose_server_sslmode(out_.config);
    out_.config.index();  // the rules look things up
    const auto where = [this](std::string_view key) { return out_.config.where(key); };
    std::vector<Remark> mistakes = check_rules(out_.config, where, out_.config.warnings);
    out_.mistakes.insert(out_.mistakes.end(), mistakes.begin(), mistakes.end());
  }

 private:
  // A name that comes twice: the later line replaces the earlier, as in PgBouncer.
  template <typename Entry>
  void take_entry(const Setting& setting, ParsedEntry<Entry> parsed, std::vector<Entry>& entries,
                  StringMap<size_t>& at) {
    std::vector<Remark>& warnings = out_.config.warnings;
    warnings.insert(warnings.end(), parsed.warnings.begin(), parsed.warnings.end());
    out_.mistakes.insert(out_.mistakes.end(), parsed.mistakes.begin(), parsed.mistakes.end());
    const auto [found, is_new] = at.try_emplace(setting.key, entries.size());
    if (is_new) {
      entries.push_back(std::move(parsed.entry));
    } else {
      entries[found->second] = std::move(parsed.entry);
      warnings.push_back({setting.file, setting.line, setting.key, "named before, this line counts"});
    }
  }

  void take_option(const Setting& setting) {
    const OptionInfo* info = find_option(setting.key);
    if (!info) {
      take_unknown(setting);
      return;
    }
    const std::string why = assign_option(out_.config.options, *info, setting.value);
    if (!why.empty()) out_.mistakes.push_back({setting.file, setting.line, setting.key, why});
    const auto [found, is_new] = option_at_.try_emplace(setting.key, &setting);
    found->second = &setting;
    if (is_new) out_.config.explicit_options.push_back(setting.key);
  }

  void take_unknown(const Setting& setting) {
    std::vector<std::string_view> known;
    for (const OptionInfo& info : all_options()) known.push_back(info.name);
    UnknownKey judged = judge_unknown_key(setting.key, known);
    std::vector<Remark>& list = judged.refuses ? out_.mistakes : out_.config.warnings;
    list.push_back({setting.file, setting.line, setting.key, std::move(judged.text)});
  }

  // Who writes a default takes away nothing by it, so that needs no words.
  void warn_of_no_effect() {
    const Options defaults;
    for (const std::string& key : out_.config.explicit_options) {
      const OptionInfo& info = *find_option(key);
      if (info.effect != OptionClass::kNoEffect) continue;
      if (option_value(out_.config.options, info) == option_value(defaults, info)) continue;
      const Setting& setting = *option_at_.find(key)->second;
      out_.config.warnings.push_back(
          {setting.file, setting.line, key, fmt::format("it has no effect here: {}", info.doc)});
    }
  }

  void take_other(const Setting& setting) {
    if (!other_sections_.insert(setting.section).second) return;
    const bool known = setting.section == "peers";
    out_.config.warnings.push_back(
        {setting.file, setting.line, fmt::format("[{}]", setting.section),
         known ? "it has no effect here: cancel requests are not passed on to other processes"
               : "unknown section, it is ignored"});
  }

  Ini& ini_;
  Built& out_;
  StringMap<const Setting*> option_at_;
  StringMap<size_t> database_at_;
  StringMap<size_t> user_at_;
  std::set<std::string> other_sections_;
};

}  // namespace

Built build_config(Ini ini, const std::string& path) {
  Built built;
  Builder(ini, path, built).build();
  return built;
}

std::string describe(const std::vector<Remark>& mistakes) {
  std::string text;
  for (const Remark& mistake : mistakes) {
    if (!text.empty()) text += '\n';
    text += mistake.format();
  }
  return text;
}

}  // namespace berth::config
