// What a login asks for and gets when its user is not in auth_file: the secret that auth_query finds. And what the
// console tells of it. The finder itself stands in link/.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "auth/exchange.h"
#include "auth/secrets.h"
#include "base/time.h"
#include "config/config.h"

namespace berth::session {

struct SecretQuestion {
  std::shared_ptr<const config::Config> config;  // the login's
  std::string database;                          // as the client calls it
  bool console = false;
  std::string user;
  // Whoever asks says so when he is gone; null: the answer is wanted in any case.
  std::shared_ptr<const std::atomic<bool>> unwanted = nullptr;
  bool wanted() const { return !unwanted || !unwanted->load(std::memory_order_relaxed); }
};

struct SecretAnswer {
  // kUnknown: there is no such user. kFailed: nobody knows (the database is down, the query is wrong). kBusy: too
  // many wait already. kCrowded: too many other databases are waited for.
  enum class Kind : uint8_t { kFound, kUnknown, kFailed, kBusy, kCrowded };
  Kind kind = Kind::kFailed;
  auth::Secret secret;        // of kFound; empty: the user has no password, or it has expired
  auth::MockProfile profile;  // what the users look like that this query has found; kNone: it is not known
  // Of kFound: the number of the query that found it, which grows. Of two secrets of one user the one with the larger
  // number is the newer one.
  uint64_t stamp = 0;
  std::string error;    // of kFailed: for the log only
  bool cached = false;  // it was found for another login, and still holds
};

class SecretFinder {
 public:
  // Any thread. `done` runs at most once, on the finder's thread or, if too many wait for that, on the caller's: it
  // must only hand the answer on. It does not run if the answer is not wanted any more, or if the process ends
  // before.
  using Done = std::function<void(const SecretAnswer&)>;
  virtual void find(SecretQuestion question, Done done) = 0;
  // A proof against a cached secret has failed: it is not used again. Any thread.
  virtual void refuted(const SecretQuestion& question, uint64_t stamp) = 0;

 protected:
  ~SecretFinder() = default;
};

// One row of SHOW AUTH_QUERY.
struct SecretRow {
  std::string database;
  std::string host;
  int64_t port = 0;
  std::string server_database;
  std::string user;
  std::string state;
  std::string cache;
  size_t connections = 0, waiting = 0, cached = 0;
  uint64_t queries = 0, checks = 0, hits = 0, unknown = 0, failures = 0, refused = 0;
  std::string error;
  std::string query;  // "default", or its text
};

// The rows, written by the finder's thread and read by the console's.
class SecretBoard {
 public:
  void publish(std::vector<SecretRow> rows) {
    const std::lock_guard<std::mutex> guard(mutex_);
    rows_ = std::move(rows);
  }
  std::vector<SecretRow> rows() const {
    const std::lock_guard<std::mutex> guard(mutex_);
    return rows_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<SecretRow> rows_;  // guarded by mutex_
};

}  // namespace berth::session
