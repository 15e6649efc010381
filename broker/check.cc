// See check.h.
#include "check.h"

#include <unistd.h>

#include <iostream>

#include "base/time.h"
#include "config/load.h"
#include "link/pq.h"
#include "session/tls_contexts.h"

namespace berth {

namespace {

// Counts mistakes, and says them when they are found.
class Findings {
 public:
  void warn(const std::string& text) { std::cout << "warning: " << text << std::endl; }
  void warn(const std::vector<config::Remark>& remarks) {
    for (const config::Remark& remark : remarks) warn(remark.format());
  }
  void mistake(const std::string& text) {
    std::cerr << text << std::endl;
    ++mistakes_;
  }
  bool good() const { return mistakes_ == 0; }

 private:
  int mistakes_ = 0;
};

// From here on everything is seen as the broker will see it.
void become_its_user(const CommandLine& command, const config::Config& config, Findings& findings) {
  if (geteuid() != 0) return;
  const std::string& user = command.user.empty() ? config.options.user : command.user;
  if (user.empty()) {
    return findings.warn(config.path +
                         ": user is not set: as root the broker does not start, and what another user may "
                         "read was not looked at");
  }
  if (Result<bool> dropped = drop_privileges(user); !dropped) return findings.mistake(dropped.error().text);
  findings.warn(unreadable_optional_files(config));
  for (const config::Remark& remark : unreadable_files(config)) findings.mistake(remark.format());
}

void look_at_tls(const net::TlsContext* context, Findings& findings) {
  if (!context) return;
  for (const std::string& text : context->warnings()) findings.warn(text);
  for (const std::string& text : session::expiry_warnings(*context, wall_now() / kSecond)) findings.warn(text);
}

}  // namespace

int check_config(const CommandLine& command) {
  Findings findings;
  std::vector<config::Remark> warnings;
  const Result<std::shared_ptr<const config::Config>> loaded =
      config::load_config(command.config, &warnings, {{}, command.user});
  findings.warn(warnings);
  if (!loaded) {
    findings.mistake(loaded.error().text);
    return 1;
  }
  const config::Config& config = *loaded.value();
  findings.warn(link::unknown_to_libpq(config));
  become_its_user(command, config, findings);
  const Result<session::TlsContexts::Next> tls = session::TlsContexts().prepare(config);
  if (!tls) {
    findings.mistake(tls.error().text);
  } else {
    for (const auto& context : {tls.value().clients, tls.value().servers}) look_at_tls(context.get(), findings);
  }
  if (!findings.good()) return 1;
  std::cout << command.config << ": fine\n";
  return 0;
}

}  // namespace berth
