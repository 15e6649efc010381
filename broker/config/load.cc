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
#include "config/hba.h"
#include "config/ldap_options.h"
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
void look_at_rights(const std::string& path, bool secrets, Config& config) {
  struct stat facts;
  if (stat(path.c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) return;
  if (facts.st_mode & S_IWOTH) {
    config.warnings.push_back({path, 0, {}, fmt::format("everybody may change it: chmod o-rwx {}", path)});
  } else if (secrets && (facts.st_mode & S_IROTH)) {
    config.warnings.push_back(
        {path, 0, {}, fmt::format("it holds secrets and everybody may read it: chmod o-rwx {}", path)});
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

// A relative name starts at the working directory, as in PgBouncer. What is not there may stand beside the main file.
class Finder {
 public:
  explicit Finder(const std::string& main) {
    const size_t slash = main.rfind('/');
    if (slash != std::string::npos) beside_ = main.substr(0, slash + 1);
  }
  std::string find(const std::string& path) const {
    if (path.empty() || path[0] == '/' || beside_.empty() || access(path.c_str(), F_OK) == 0) return path;
    const std::string other = beside_ + path;
    return access(other.c_str(), F_OK) == 0 ? other : path;
  }

 private:
  std::string beside_;
};

bool looks_at_users(AuthType type) {
  return type != AuthType::kTrust && type != AuthType::kAny && type != AuthType::kPam && type != AuthType::kLdap;
}

// A SCRAM secret proves nothing to a server by itself. (An md5 one does where the server asks for md5.)
void warn_of_hash(Config& config, const std::string& auth_user) {
  const auto* secret = auth_user.empty() ? nullptr : config.find_secret(auth_user);
  if (!secret) return;
  if (!secret->view().starts_with("SCRAM-SHA-256$")) return;
  config.warnings.push_back(
      {config.path, 0, "auth_user",
       fmt::format(
           "the secret of \"{}\" in auth_file is a SCRAM hash, by which auth_query can log in only after that "
           "user has logged in here: write the password in clear",
           auth_user)});
}

// Where auth_file does not matter for logins, a user list that cannot be read is only worth a warning.
void load_secrets(Built& built, const Finder& finder) {
  if (built.config.options.auth_file.empty()) return;
  const std::string path = finder.find(built.config.options.auth_file);
  std::vector<Remark>& problems =
      looks_at_users(built.config.options.auth_type) ? built.mistakes : built.config.warnings;
  const Result<std::string> text = read_file(path);
  if (!text) {
    problems.push_back({built.config.path, 0, "auth_file", text.error().text});
    return;
  }
  Userlist list = parse_userlist(text.value(), path);
  problems.insert(problems.end(), list.mistakes.begin(), list.mistakes.end());
  built.config.warnings.insert(built.config.warnings.end(), list.warnings.begin(), list.warnings.end());
  const bool asks = !built.config.auth_user(nullptr).empty();
  if (list.secrets.empty() && list.mistakes.empty() && looks_at_users(built.config.options.auth_type) && !asks) {
    built.config.warnings.push_back({path, 0, {}, "it names no user: nobody can log in"});
  }
  look_at_rights(path, !list.secrets.empty(), built.config);
  built.config.secrets = std::move(list.secrets);
  warn_of_hash(built.config, built.config.options.auth_user);
  for (const DatabaseEntry& database : built.config.databases) warn_of_hash(built.config, database.auth_user);
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
void load_hba(Built& built, const Finder& finder) {
  const Options& options = built.config.options;
  if (options.auth_type != AuthType::kHba || options.auth_hba_file.empty()) return;
  const ReadFile read = [](const std::string& name) { return read_file(name, kHbaFileSizeMax); };
  const std::string ident = options.auth_ident_file.empty() ? std::string() : finder.find(options.auth_ident_file);
  ParsedHba parsed = parse_hba(finder.find(options.auth_hba_file), ident, read);
  built.mistakes.insert(built.mistakes.end(), parsed.mistakes.begin(), parsed.mistakes.end());
  built.config.warnings.insert(built.config.warnings.end(), parsed.warnings.begin(), parsed.warnings.end());
  warn_of_tls(built, parsed.hba);
  warn_of_clear_rules(built.config, parsed.hba, built.config.warnings);
  const bool secrets = std::any_of(parsed.hba.rules.begin(), parsed.hba.rules.end(),
                                   [](const HbaRule& rule) { return !rule.ldap.bind_password.empty(); });
  look_at_rights(finder.find(options.auth_hba_file), secrets, built.config);
  if (!ident.empty()) look_at_rights(ident, false, built.config);
  built.config.hba = std::make_shared<const Hba>(std::move(parsed.hba));
}

}  // namespace

Result<std::shared_ptr<const Config>> load_config(const std::string& path, std::vector<Remark>* warnings) {
  const Finder finder(path);
  std::map<std::string, std::string> places;  // of the main file and what it includes: as named, as found
  const ReadFile read = [&](const std::string& name) {
    // The main file itself is only where the caller says.
    return read_file(places[name] = name == path ? name : finder.find(name));
  };
  Ini ini = parse_ini(path, read);
  const std::set<std::string> with_passwords = files_with_passwords(ini);
  Built built = build_config(std::move(ini), path);
  for (const auto& [name, place] : places) look_at_rights(place, with_passwords.contains(name), built.config);
  load_secrets(built, finder);
  load_hba(built, finder);
  // What a reload reads, as SHOW CONFIG says it: SET conffile stays until another SET, or a file that names one.
  if (built.config.options.conffile.empty()) built.config.options.conffile = path;
  if (warnings) *warnings = built.config.warnings;
  if (!built.mistakes.empty() && !FAULT(bad_file_accepted)) return Error{describe(built.mistakes), {}};
  return std::shared_ptr<const Config>(std::make_shared<Config>(std::move(built.config)));
}

}  // namespace berth::config
