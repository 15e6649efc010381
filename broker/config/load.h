// Reading the configuration: the ini file with all its includes, the user list, the rules of auth_hba_file. The only
// part of config/ that opens files.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "config/config.h"

namespace berth::config {

// The Error's text has every mistake of the file, each as a line "file:line: key: why". What does not keep the broker
// from starting is in Config::warnings, which the caller logs.
Result<std::shared_ptr<const Config>> load_config(const std::string& path);

}  // namespace berth::config
