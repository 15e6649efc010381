// A model of what PostgreSQL says on the wire: simple and extended protocol, transaction status, the skip until Sync
// after an error, named and unnamed statements and portals, settings with ParameterStatus, COPY, FunctionCall,
// cancel. Its SQL is a handful of words (see Backend::run), but those behave as PostgreSQL 15's do. The same model
// without a broker in front is the oracle: what a client of its own private backend would have been told.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "auth/exchange.h"
#include "base/time.h"

namespace berth::sim {

struct NameLess {
  bool operator()(const std::string& a, const std::string& b) const;
};
using Settings = std::map<std::string, std::string, NameLess>;

// The user of those whose bytes a fuzzer writes. A backend of this user does not understand them: it answers with
// ReadyForQuery, those with an even pid only when the fuzzer lets them, and says what the fuzzer has written for it.
// As long as that cannot shift an answer to another question, it says a Query's text before, between marks whose
// bytes the fuzzer cannot write: only who has said it may hear it.
inline constexpr std::string_view kRawUser = "raw";
inline constexpr char kEchoByte = '\xe7';
inline constexpr std::string_view kEcho =
    "\xe7"
    "echo";
inline constexpr char kEchoEnd = '\xe8';
// The texts between the marks in what somebody was told. One that was cut has no end where it should be: what the
// fuzzer says in place of an answer under way may go on with it.
std::vector<std::string> echoes_in(std::string_view told);

class Backend;

// One PostgreSQL: what its backends share.
class Cluster {
 public:
  std::map<std::string, std::string> store;  // committed data
  size_t connections_max = 100;
  auth::Method method = auth::Method::kAny;  // kAny: trust
  auth::Secret secret;                       // of every user who is not among these
  std::map<std::string, auth::Secret> secrets;
  Micros now = 0;
  Micros sleep_most = 20 * kMillisecond;
  std::map<uint32_t, Backend*> backends;  // by pid
  uint32_t next_pid = 100;
  Settings defaults;
  // A breach of what a pooler must keep: two clients in one transaction, session state of another.
  std::function<void(const std::string&)> violation;
  std::function<bool(const std::string& tag)> cancelled;  // oracle: was this statement cancelled?
  std::function<void(const std::string&)> trace;
  bool oracle = false;

  Cluster();
  // A cancel request: hits the backend with this pid and key if it runs something. Returns the tag hit, or empty.
  std::string cancel(uint32_t pid, std::string_view key);
  // A statement of this client that sleeps now does so until it is cancelled.
  void hold(int client);
};

// The client of a tag ("c3.17" is the 17th statement of client 3); -1: none.
int client_of_tag(std::string_view tag);
// The first tag in a text; empty: none.
std::string tag_in(std::string_view text);

bool is_reported(const std::string& setting);

class Backend {
 public:
  explicit Backend(Cluster& cluster);
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  void feed(std::string_view bytes) { in_.append(bytes); }
  // Does one thing, if there is one to do.
  bool step();
  // Its client has closed the connection: the backend ends.
  void hang_up();
  // pg_terminate_backend, or a crash without a word.
  void terminate(std::string_view sqlstate, std::string_view text);

  std::string out;  // to be sent
  // A raw backend says these bytes, and then what it owes. `instead`: and nothing of what it was about to say.
  void say_raw(std::string_view bytes, bool instead);
  bool gone = false;  // it closes after that

  // The oracle starts logged in.
  void log_in(const Settings& startup);
  // Whole messages only: what the backend makes of this one is in `out` afterwards.
  // The oracle only: the message just fed has failed instead.
  void fail_instead() { skipping_ = true; }
  void feed_message(std::string_view message);

  uint32_t pid() const { return pid_; }
  const std::string& key() const { return key_; }
  bool ready() const { return phase_ == Phase::kReady; }
  bool idle() const { return phase_ == Phase::kReady && in_.empty() && running_.empty() && !copy_ && !sleeping_; }
  bool in_transaction() const { return started_ || block_; }
  char status() const { return block_ ? (failed_ ? 'E' : 'T') : 'I'; }
  const Settings& settings() const { return settings_; }
  const Settings& reported() const { return reported_; }
  const std::string& user() const { return user_; }
  const std::string& database() const { return database_; }
  size_t statements() const { return statements_.size(); }
  const std::string& session_state() const { return temp_; }
  bool sleeping() const { return sleeping_; }
  const std::string& running_tag() const { return running_tag_; }
  std::string describe() const;

 private:
  friend class Cluster;
  struct Failure {
    std::string sqlstate, text;
  };
  using Outcome = std::optional<Failure>;
  struct Statement {
    std::string sql, folded;
    int parameters = 0;
    std::string types;
  };
  struct Portal {
    Statement statement;
    std::vector<std::string> values;
    std::vector<std::string> rows;
    std::string tag;
    size_t at = 0;
    bool begun = false, done = false;
  };
  enum class Phase { kStartup, kLogin, kReady };

  bool startup();
  void on_startup(std::string_view packet);
  void on_login_step(auth::Step step);
  void greet();
  void refuse(std::string_view sqlstate, std::string_view text);
  bool take_message(char& tag, std::string& body);
  void on_message(char tag, std::string_view body);
  void on_raw_message(char tag, std::string_view body);
  void answer_raw(const std::string& text);
  void on_copy_message(char tag, std::string_view body);
  void end_copy(Outcome outcome);
  void on_query(std::string_view body);
  bool run_script();
  void finish_query();
  void on_function(std::string_view body);
  void on_parse(std::string_view body);
  void on_bind(std::string_view body);
  void on_describe(std::string_view body);
  void on_execute(std::string_view body);
  void after_execute(Portal* portal, Outcome outcome);
  void on_close(std::string_view body);
  void on_sync();
  void fail_extended(const Failure& failure);

  // What a statement does; its rows into `rows`. Sets `waiting` when it goes on later (sleep, copy).
  Outcome run(const Statement& statement, const std::vector<std::string>& values, std::vector<std::string>& rows,
              std::string& tag, bool many, bool& waiting);
  Outcome run_setting(std::string_view text, std::vector<std::string>& rows, std::string& tag);
  Outcome run_set_config(std::string_view text, std::vector<std::string>& rows);
  Outcome set(const std::string& name, const std::string* value, bool local);
  Outcome check_syntax(std::string_view sql) const;
  std::string fold_now() const;
  bool returns_rows(const Statement& statement) const;
  void own(std::string_view tag);
  void start();
  void commit();
  void abort();
  void put_row_description();
  void put_row(std::string_view text);
  void put_failure(const Failure& failure);
  void put_notice(std::string_view sqlstate, std::string_view text);
  void put_complete(std::string_view tag);
  void put_ready();

  Cluster& cluster_;
  std::string in_;
  Phase phase_ = Phase::kStartup;
  std::unique_ptr<auth::ClientVerifier> login_;  // of kLogin
  uint32_t pid_ = 0;
  std::string key_, user_, database_;
  Settings start_settings_, settings_, reported_, saved_;
  std::vector<std::pair<std::string, std::string>> locals_;  // SET LOCAL: what to restore at the end
  std::map<std::string, Statement> statements_;
  std::map<std::string, Portal> portals_;
  std::map<std::string, std::string> writes_;
  std::string temp_;  // session state: who made a temporary table here
  bool started_ = false, block_ = false, failed_ = false;
  bool skipping_ = false;            // until Sync
  std::deque<std::string> running_;  // the rest of a simple Query
  bool in_query_ = false, many_ = false;
  bool sleeping_ = false;
  Micros wake_at_ = 0;
  bool cancel_hit_ = false;
  std::string running_tag_;
  bool copy_ = false;
  size_t copied_ = 0;
  std::string copied_text_;
  std::string portal_running_;  // of an Execute that sleeps or copies
  // Of a raw backend: what it has still to answer, once the fuzzer lets it, and whether its answers say to what
  // (the fuzzer has said nothing that could be taken for an answer).
  std::deque<std::string> owed_;
  bool echoes_ = true;
  int owner_ = -1;  // the client of the transaction or batch
};

}  // namespace berth::sim
