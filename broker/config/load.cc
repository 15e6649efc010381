// Reads the files and hands their texts to the pure parts.
#include "config/load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "base/fault.h"
#include "config/build.h"
#include "config/clear.h"
#include "config/entries.h"
#include "config/files.h"
#include "config/hba.h"
#include "config/ldap_options.h"
#include "config/options.h"
#include "config/userlist.h"

namespace berth::config {

namespace {

constexpr size_t kMaxFileSize = size_t{256} << 20;

Result<std::string> read_file(const std::string& path, size_t most = kMaxFileSize) {
  const auto failed = [&] { return Error{fmt::format("cannot read \"{}\": {}", path, std::strerror(errno)), {}}; };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not block the start
  if (fd < 0) return failed();
  std::string text;
  char chunk[65536];
  ssize_t got;
  while ((got = read(fd, chunk, sizeof chunk)) != 0) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const Error error = failed();
      close(fd);
      return error;
    }
    text.append(chunk, static_cast<size_t>(got));
    if (text.size() > most) {
      close(fd);
      return Error{fmt::format("\"{}\" is larger than {} MB", path, most >> 20), {}};
    }
  }
  close(fd);
  wipe(chunk, sizeof chunk);
  return text;
}

// What others on this machine may do with a file that decides who comes in, or that holds secrets. Only a warning:
// the directory may keep them out, and PgBouncer starts with such files.
void look_at_rights(const std::string& path, bool secrets, Config& config, const Trusted& trusted) {
  struct stat facts;
  if (stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return;
  if (facts.st_mode & S_IWOTH) {
    config.warnings.push_back({path, 0, {}, fmt::format("everybody may change it: chmod o-rwx {}", path)});
  } else if (secrets && (facts.st_mode & S_IROTH)) {
    config.warnings.push_back(
        {path, 0, {}, fmt::format("it holds secrets and everybody may read it: chmod o-rwx {}", path)});
  }
  if (const std::string stranger = trusted.stranger(path); !stranger.empty()) {
    config.warnings.push_back({path,
                               0,
                               {},
                               fmt::format("it belongs to {}, who may change it: it should be root's or that of the "
                                           "broker's user",
                                           stranger)});
  }
}

// The files among `read` that have passwords: in [databases], or for a directory.
std::set<std::string> files_with_passwords(const Ini& ini) {
  std::set<std::string> out;
  for (const Setting& setting : ini.settings) {
    if (setting.key == "auth_ldap_options" && without_ldap_secrets(setting.value) != setting.value) {
      out.insert(setting.file);
    }
    if (setting.section != "databases") continue;
    const Result<std::vector<Pair>> pairs = parse_pairs(setting.value);
    if (!pairs) continue;
    for (const Pair& pair : pairs.value()) {
      if (pair.key == "password" && !pair.value.empty()) out.insert(setting.file);
    }
  }
  return out;
}

bool looks_at_users(AuthType type) {
  return type != AuthType::kTrust && type != AuthType::kAny && type != AuthType::kPam && type != AuthType::kLdap;
}

// A SCRAM secret proves nothing to a server by itself. (An md5 one does where the server asks for md5.)
void warn_of_secret(Config& config, const std::string& auth_user, Remark place) {
  if (auth_user.empty()) return;
  const auto* secret = config.find_secret(auth_user);
  if (!secret || secret->view().empty()) {
    place.text = fmt::format(
        "auth_file has no secret of \"{}\": auth_query can log in only where the server asks for none", auth_user);
  } else if (secret->view().starts_with("SCRAM-SHA-256$")) {
    place.text = fmt::format(
        "the secret of \"{}\" in auth_file is a SCRAM hash, by which auth_query can log in only after that "
        "user has logged in here: write the password in clear",
        auth_user);
  } else {
    return;
  }
  config.warnings.push_back(std::move(place));
}

void warn_of_secrets(Config& config) {
  if (config.options.auth_type == AuthType::kPam || config.options.auth_type == AuthType::kLdap) return;
  warn_of_secret(config, config.options.auth_user, config.where("auth_user"));
  std::set<std::string_view> seen{config.options.auth_user};
  for (const DatabaseEntry& database : config.databases) {
    if (seen.insert(database.auth_user).second) {
      warn_of_secret(config, database.auth_user, {config.path, 0, database.name, {}});
    }
  }
}

// Where auth_file does not matter for logins, a user list that cannot be read is only worth a warning.
void load_secrets(Built& built, const Trusted& trusted) {
  const std::string path = built.config.options.auth_file;
  if (path.empty()) return;
  std::vector<Remark>& problems =
      looks_at_users(built.config.options.auth_type) ? built.mistakes : built.config.warnings;
  const Result<std::string> text = read_file(path);
  if (!text) {
    problems.push_back(built.config.where("auth_file"));
    problems.back().text = text.error().text;
    return;
  }
  (looks_at_users(built.config.options.auth_type) ? built.config.files : built.config.optional_files).push_back(path);
  Userlist list = parse_userlist(text.value(), path);
  problems.insert(problems.end(), list.mistakes.begin(), list.mistakes.end());
  built.config.warnings.insert(built.config.warnings.end(), list.warnings.begin(), list.warnings.end());
  const bool asks = !built.config.auth_user(nullptr).empty();
  if (list.secrets.empty() && list.mistakes.empty() && looks_at_users(built.config.options.auth_type) && !asks) {
    built.config.warnings.push_back({path, 0, {}, "it names no user: nobody can log in"});
  }
  look_at_rights(path, !list.secrets.empty(), built.config, trusted);
  built.config.secrets = std::move(list.secrets);
}

// Rules that nobody can fit, because of settings elsewhere.
void warn_of_tls(Built& built, const Hba& hba) {
  const Options& options = built.config.options;
  for (const HbaRule& rule : hba.rules) {
    if (rule.record == HbaRecord::kHostSsl && options.client_tls_sslmode == "disable") {
      built.config.warnings.push_back(
          {hba.file, rule.line, {}, "hostssl fits no client: client_tls_sslmode is disable"});
    } else if (rule.method == HbaMethod::kCert && options.client_tls_ca_file.empty()) {
      built.config.warnings.push_back(
          {hba.file,
           rule.line,
           {},
           "cert lets nobody in: client_tls_ca_file is not set, so no certificate is asked for"});
    }
  }
}

// The rules are read only where they decide.
void load_hba(Built& built, const Trusted& trusted) {
  const Options& options = built.config.options;
  if (options.auth_type != AuthType::kHba || options.auth_hba_file.empty()) return;
  const ReadFile read = [&](const std::string& name) {
    built.config.files.push_back(name);
    return read_file(name, kHbaFileSizeMax);
  };
  const std::string& ident = options.auth_ident_file;
  ParsedHba parsed = parse_hba(options.auth_hba_file, ident, read);
  built.mistakes.insert(built.mistakes.end(), parsed.mistakes.begin(), parsed.mistakes.end());
  built.config.warnings.insert(built.config.warnings.end(), parsed.warnings.begin(), parsed.warnings.end());
  warn_of_tls(built, parsed.hba);
  warn_of_clear_rules(built.config, parsed.hba, built.config.warnings);
  const bool secrets = std::any_of(parsed.hba.rules.begin(), parsed.hba.rules.end(),
                                   [](const HbaRule& rule) { return !rule.ldap.bind_password.empty(); });
  look_at_rights(options.auth_hba_file, secrets, built.config, trusted);
  if (!ident.empty()) look_at_rights(ident, false, built.config, trusted);
  built.config.hba = std::make_shared<const Hba>(std::move(parsed.hba));
}

// Whole paths, so that what is written in the log and shown by SHOW CONFIG is what a reload reads.
void find_files(Built& built, const FileFinder& finder, std::vector<Remark>& refused) {
  Options& options = built.config.options;
  for (const OptionInfo& info : all_options()) {
    if (!names_a_file(info.name)) continue;
    FileFinder::Found found = finder.find_setting(info.name, option_value(options, info));
    assign_option(options, info, found.path);
    if (found.warning.empty()) continue;
    Remark remark = built.config.where(info.name);
    remark.text = std::move(found.warning);
    if (found.refused) refused.push_back(remark);
    built.config.warnings.push_back(std::move(remark));
  }
}

std::string whole_path(std::string_view name, const std::string& directory) {
  while (name.starts_with("./")) name.remove_prefix(2);
  return name.starts_with('/') || directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

}  // namespace

Result<std::shared_ptr<const Config>> load_config(const std::string& name, std::vector<Remark>* warnings,
                                                  Start start) {
  if (start.directory.empty()) start.directory = working_directory();
  const std::string path = whole_path(name, start.directory);
  std::map<std::string, FileFinder::Found> places;  // of the main file and what it includes, as named
  const FileFinder of_includes(path, start.directory, start.user);
  const ReadFile read = [&](const std::string& included) {
    // The main file itself is only where the caller says.
    FileFinder::Found found = included == path ? FileFinder::Found{path, {}} : of_includes.find(included);
    return read_file((places[included] = std::move(found)).path);
  };
  Ini ini = parse_ini(path, read);
  const std::set<std::string> with_passwords = files_with_passwords(ini);
  Built built = build_config(std::move(ini), path);
  const std::string& user = start.user.empty() ? built.config.options.user : start.user;
  built.config.started_in = start.directory;
  const Trusted trusted(user);
  std::vector<Remark> refused;  // perhaps why another file cannot be read
  for (const auto& [included, place] : places) {
    built.config.files.push_back(place.path);
    if (!place.warning.empty()) built.config.warnings.push_back({path, 0, "%include", place.warning});
    if (place.refused) refused.push_back(built.config.warnings.back());
    look_at_rights(place.path, with_passwords.contains(included), built.config, trusted);
  }
  find_files(built, FileFinder(path, start.directory, user), refused);
  load_secrets(built, trusted);
  if (built.mistakes.empty()) warn_of_secrets(built.config);
  load_hba(built, trusted);
  // What a reload reads, as SHOW CONFIG says it: SET conffile stays until another SET, or a file that names one.
  if (built.config.options.conffile.empty()) built.config.options.conffile = path;
  if (warnings) *warnings = built.config.warnings;
  if (!built.mistakes.empty() && !FAULT(bad_file_accepted)) {
    if (!warnings) built.mistakes.insert(built.mistakes.end(), refused.begin(), refused.end());
    return Error{describe(built.mistakes), {}};
  }
  return std::shared_ptr<const Config>(std::make_shared<Config>(std::move(built.config)));
}

}  // namespace berth::config
