// Where the files are that a configuration names, and what their owners and rights say of them. Opens none of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace berth::config {

// Whether the setting is the name of a file that is read (not of one that is written, as logfile is).
bool names_a_file(std::string_view setting);

// The directory of this process; empty: it is gone.
std::string working_directory();

// What the configuration's files may belong to without a word: root and the broker's user. `user` is the setting of
// that name, or what -u says; empty: the process's own.
class Trusted {
 public:
  explicit Trusted(std::string user) : user_(std::move(user)) {}
  // "", or who else may change this file or directory: "everybody", "group number 7", "user number 7".
  std::string who_else_may_write(const std::string& path) const;
  // "", or the stranger whose file it is. Its group is not looked at.
  std::string stranger(const std::string& path) const;

 private:
  std::string user_;
};

// A relative name starts at the folder of the main file. What is not there may stand where the broker was started, as
// with PgBouncer, if its name has no folder, it is no symbolic link, and nobody but root and the broker's user can
// have put it there; that is worth a warning, for started elsewhere it would be missing.
class FileFinder {
 public:
  // Both absolute; `directory` is where the broker was started, empty if nobody knows.
  FileFinder(const std::string& main, std::string directory, std::string user);
  struct Found {
    std::string path;
    std::string warning;
    bool refused = false;  // the warning says why another file is not taken
  };
  // The whole path, also of what is nowhere; an empty name stays empty.
  Found find(const std::string& name) const;
  // The value of such a setting: some have words that are no names.
  Found find_setting(std::string_view setting, const std::string& value) const;

 private:
  // Of what exists where the broker was started: "", or the reason.
  std::string why_not_taken(const std::string& name) const;

  std::string beside_;  // with the slash at its end
  std::string directory_;
  Trusted trusted_;
};

}  // namespace berth::config
