// Helpers for the tests of config/: an ini as text (with includes as a map), no files.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/build.h"
#include "config/ini.h"

namespace berth::config {

inline ReadFile files(std::map<std::string, std::string> texts) {
  return [texts = std::move(texts)](const std::string& path) -> Result<std::string> {
    const auto found = texts.find(path);
    if (found == texts.end()) return Error{"cannot read \"" + path + "\"", {}};
    return found->second;
  };
}

inline Ini ini_of(const std::string& text) {
  return parse_ini("a.ini", files({{"a.ini", text}}));
}
inline Built build(const std::string& text) {
  return build_config(ini_of(text), "a.ini");
}

inline std::vector<std::string> formatted(const std::vector<Remark>& remarks) {
  std::vector<std::string> out;
  for (const Remark& remark : remarks) out.push_back(remark.format());
  return out;
}

}  // namespace berth::config
