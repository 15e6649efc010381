// The TLS contexts of the process, one for each side, and what is counted of their handshakes. The main thread makes
// them, from the configuration before it takes over and again when their files change; sessions take the newest and
// keep it for as long as they live.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "config/config.h"
#include "net/tls_context.h"

namespace berth::session {

// Of all workers and of auth_query's thread: at handshakes only, where an atomic addition is nothing.
struct TlsCounts {
  std::atomic<uint64_t> handshakes{0};   // that were completed
  std::atomic<uint64_t> resumptions{0};  // among them
  std::atomic<uint64_t> failures{0};     // that were begun and not completed
  std::atomic<uint64_t> expired{0};      // among them: because a certificate had
};

class TlsSide {
 public:
  // The newest; null: this side does without TLS. Any thread.
  std::shared_ptr<const net::TlsContext> context() const;
  // Why the files as they are now could not be taken; empty: they are what is used. Any thread.
  std::string last_error() const;

  TlsCounts counts;

 private:
  friend class TlsContexts;
  mutable std::mutex mutex_;                        // for the time of a copy
  std::shared_ptr<const net::TlsContext> context_;  // guarded by mutex_
  std::string last_error_;                          // likewise
  Micros warned_of_expiry_at_ = -1;                 // main's
  size_t expiry_warnings_ = 0;                      // likewise: how many there were then
};

// Whether a context whose settings have not changed is made anew from files that have.
enum class TlsFiles : uint8_t { kReadChanged, kKeep };

class TlsContexts {
 public:
  TlsSide clients, servers;
  // Goes up whenever servers that are open would not be trusted, or not be spoken to, in the same way again: each
  // worker gives up its servers when it sees that. Written by main before the configuration is spread.
  std::atomic<uint32_t> servers_changed{0};

  // ---- main thread only
  struct Next {
    std::shared_ptr<const net::TlsContext> clients, servers;
  };
  // What `config` asks for, from the files as they are; what has not changed is what there is. Nothing takes effect.
  // The Error names the place of the setting. A SET of the console, which is about one setting, keeps files.
  Result<Next> prepare(const config::Config& config, TlsFiles files = TlsFiles::kReadChanged) const;
  // Puts them in place, with their warnings to the log.
  void put(Next next);
  // Takes files that have changed. If they cannot be taken, what runs stays, the log says why (once for each reason),
  // and the next call tries again. True: servers_changed has gone up, so the configuration is to be spread again.
  bool refresh(const config::Config& config);
  // The expiry_warnings() of both sides to the log: once a day, and at once when there is one more.
  // `today` is in seconds since 1970.
  void warn_of_expiry(Micros now, int64_t today = wall_now() / kSecond);

 private:
  void put_side(TlsSide& side, std::shared_ptr<const net::TlsContext> next);
};

net::TlsSettings client_tls_settings(const config::Config& config);
net::TlsSettings server_tls_settings(const config::Config& config);

inline constexpr Micros kTlsFilesEvery = 3 * kSecond;
inline constexpr int64_t kExpiryWarningDays = 14;
inline constexpr size_t kExpiryWarningsMax = 10;

// What of a context has ended, or ends within kExpiryWarningDays (a list of revoked certificates: what has ended), a
// line for each, and one for those above kExpiryWarningsMax. `now`: seconds since 1970.
std::vector<std::string> expiry_warnings(const net::TlsContext& context, int64_t now);

}  // namespace berth::session
