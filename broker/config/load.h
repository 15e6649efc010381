// Reading the configuration: the ini file with all its includes, the user list, the rules of auth_hba_file. The only
// part of config/ that opens files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace berth::config {

// How the broker was started, which a reload does not change.
struct Start {
  std::string directory;  // the working directory; empty: the current one
  std::string user;       // of -u, which goes before the setting `user`
};

// The Error's text has every mistake of the file, each as a line "file:line: key: why". What does not keep the broker
// from starting is in Config::warnings, which the caller logs. Of a file with mistakes nothing is left but the Error;
// who wants its warnings as well gives `warnings`, which gets those of any file. All names of files are whole paths
// then (files.h).
Result<std::shared_ptr<const Config>> load_config(const std::string& path, std::vector<Remark>* warnings = nullptr,
                                                  Start start = {});

}  // namespace berth::config
