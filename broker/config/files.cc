// See files.h.
#include "config/files.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace berth::config {

namespace {

constexpr std::string_view kSettings[] = {
    "auth_file",           "auth_hba_file",        "auth_ident_file",      "client_tls_ca_file",
    "client_tls_key_file", "client_tls_cert_file", "client_tls_dheparams", "conffile",
    "server_tls_ca_file",  "server_tls_key_file",  "server_tls_cert_file"};

bool is_word(std::string_view setting, std::string_view value) {
  if (setting == "client_tls_dheparams") return value == "auto" || value == "none" || value == "legacy";
  return setting == "server_tls_ca_file" && value == "system";
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string with_slash(std::string directory) {
  if (!directory.ends_with('/')) directory += '/';
  return directory;
}

}  // namespace

bool names_a_file(std::string_view setting) {
  return std::find(std::begin(kSettings), std::end(kSettings), setting) != std::end(kSettings);
}

std::string working_directory() {
  char path[PATH_MAX];
  return getcwd(path, sizeof path) && path[0] == '/' ? path : "";
}

// The system's list of users may be far away: it is asked only about what is neither root's nor our own.
std::string Trusted::stranger(const std::string& path) const {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0 || found.st_uid == 0 || found.st_uid == geteuid()) return {};
  const passwd* entry = user_.empty() ? nullptr : getpwnam(user_.c_str());
  if (entry && entry->pw_uid == found.st_uid) return {};
  return fmt::format("user number {}", found.st_uid);
}

std::string Trusted::who_else_may_write(const std::string& path) const {
  struct stat found {};
  if (stat(path.c_str(), &found) != 0) return {};
  if (found.st_mode & S_IWOTH) return "everybody";
  if ((found.st_mode & S_IWGRP) && found.st_gid != 0 && found.st_gid != getegid()) {
    const passwd* entry = user_.empty() ? nullptr : getpwnam(user_.c_str());
    if (!entry || entry->pw_gid != found.st_gid) return fmt::format("group number {}", found.st_gid);
  }
  return stranger(path);
}

FileFinder::FileFinder(const std::string& main, std::string directory, std::string user)
    : directory_(directory.empty() ? directory : with_slash(std::move(directory))), trusted_(std::move(user)) {
  const size_t slash = main.rfind('/');
  if (slash != std::string::npos) beside_ = main.substr(0, slash + 1);
}

FileFinder::Found FileFinder::find(const std::string& name) const {
  if (name.empty() || name[0] == '/') return {name, {}};
  const std::string here = beside_ + name, there = directory_ + name;
  struct stat of_here {
  }, of_there{};
  if (directory_.empty() || stat(there.c_str(), &of_there) != 0) return {here, {}};
  if (stat(here.c_str(), &of_here) == 0) {
    if (same_file(of_here, of_there)) return {here, {}};
    return {here, fmt::format("there is another \"{}\", where the broker was started: \"{}\" is taken, beside the "
                              "configuration file",
                              there, here)};
  }
  if (const std::string why = why_not_taken(name); !why.empty()) {
    return {here, fmt::format("\"{}\" is not taken, because {}: write the whole path", there, why), true};
  }
  return {there,
          fmt::format("\"{}\" is taken, because the broker was started there: write the whole path, so that it "
                      "is found from everywhere",
                      there)};
}

// Folders on the way, and where a link leads, may be anybody's: so neither is followed, and one folder is looked at.
std::string FileFinder::why_not_taken(const std::string& name) const {
  if (name.find('/') != std::string::npos) return "the name of a file there may have no folder";
  const std::string there = directory_ + name;
  struct stat found {};
  if (lstat(there.c_str(), &found) != 0 || S_ISLNK(found.st_mode)) return "it is a symbolic link";
  for (const std::string& path : {directory_, there}) {
    const std::string who = trusted_.who_else_may_write(path);
    if (!who.empty()) return fmt::format("{} may write \"{}\"", who, path);
  }
  return {};
}

FileFinder::Found FileFinder::find_setting(std::string_view setting, const std::string& value) const {
  if (is_word(setting, value)) return {value, {}};
  return find(value);
}

}  // namespace berth::config
