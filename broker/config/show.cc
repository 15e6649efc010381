// See show.h.
#include "config/show.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/files.h"
#include "config/hba.h"
#include "config/options.h"
#include "config/rules.h"

namespace berth::config {

std::vector<ShowRow> show_config(const Config& config) {
  std::vector<ShowRow> rows;
  for (const OptionInfo& info : all_options()) {
    ShowRow row{std::string(info.name), option_shown(config.options, info), std::string(info.preset),
                info.reloadable};
    row.ignored = info.effect == OptionClass::kNoEffect && row.value != option_value(Options{}, info);
    rows.push_back(std::move(row));
  }
  std::sort(rows.begin(), rows.end(), [](const ShowRow& a, const ShowRow& b) { return a.key < b.key; });
  return rows;
}

Result<std::shared_ptr<const Config>> set_option(const Config& config, std::string_view key, std::string_view value) {
  const OptionInfo* info = find_option(key);
  if (!info) return Error{fmt::format("unknown setting \"{}\"", key), {}};
  if (!info->reloadable) {
    return Error{fmt::format("\"{}\" cannot be changed while the broker runs: change the file and restart", key), {}};
  }
  auto changed = std::make_shared<Config>(config);
  if (key == "server_tls_sslmode") changed->option_places[std::string(key)] = {{}, 1, std::string(key), {}};
  std::string path;
  if (names_a_file(key)) {
    value = path =
        FileFinder(config.path, config.started_in, config.options.user).find_setting(key, std::string(value)).path;
  }
  const std::string why = assign_option(changed->options, *info, value);
  if (!why.empty()) return Error{fmt::format("{}: {}", key, why), {}};
  choose_server_sslmode(*changed);
  std::vector<Remark> ignored;
  const auto where = [](std::string_view name) { return Remark{{}, 0, std::string(name), {}}; };
  const std::vector<Remark> mistakes = check_rules(*changed, where, ignored);
  if (!mistakes.empty()) return Error{mistakes.front().format(), {}};
  if (key == "auth_hba_file" || key == "auth_ident_file") changed->hba.reset();  // what is loaded is another file's
  if (changed->options.auth_type == AuthType::kHba && !changed->hba) {
    return Error{
        fmt::format("{}: rules are read with the configuration file only: change it there, then RELOAD", key), {}};
  }
  changed->index();
  return std::shared_ptr<const Config>(std::move(changed));
}

}  // namespace berth::config
