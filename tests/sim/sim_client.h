// A client of the broker that speaks from a grammar, at random and byte by byte, and knows what PostgreSQL alone
// would have answered: its oracle is a private backend of the same model, fed with the same messages. Whenever
// nothing is outstanding, the answers are compared one by one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/dice.h"
#include "sim/fake_postgres.h"
#include "sim/sim_engine.h"

namespace berth::sim {

class World;

struct Message {
  char tag = 0;
  std::string bytes;  // whole, head included
  std::string_view body() const { return std::string_view(bytes).substr(5); }
};

// What a client may do; a world draws its own.
struct Habits {
  bool session = false;  // its server stays: what only a session may rely on is allowed
  int batches = 8;
  int pipeline = 3;        // batches under way
  int leave_percent = 5;   // per batch: ends in the middle of something
  int cancel_percent = 0;  // per step while a statement runs
  int slow_percent = 0;    // of steps in which it does not read
  int rest_percent = 0;    // of steps after which it says nothing for a while
  bool simple = true, extended = true, named = true, errors = true, blocks = true, copy = true, settings = true,
       own_values = true, commands = true, functions = true, sleeps = true, large = false, flush = true,
       long_keys = false,
       carried = true;  // the broker brings its statements, the unnamed one too, to every server
};

class SimClient {
 public:
  SimClient(World& world, int number, const Habits& habits, const Dice& dice);

  void start(LinkPtr link);  // connected
  void step();
  bool started() const { return phase_ != Phase::kUnborn; }
  bool done() const { return phase_ == Phase::kGone; }
  bool quiet() const { return pending_ready_ == 0 && !open_batch_ && out_.empty() && phase_ == Phase::kActive; }
  // No more batches: finish what is under way, then say goodbye.
  void finish() { batches_left_ = 0; }
  std::string describe() const;
  int number() const { return number_; }
  uint32_t pid() const { return pid_; }
  const std::string& key() const { return key_; }
  size_t statements_done() const { return sequence_; }
  const Habits& habits() const { return habits_; }

  LinkPtr link;

 private:
  friend class World;
  enum class Phase { kUnborn, kSsl, kLogin, kActive, kSaidGoodbye, kGone };
  static constexpr std::string_view kNone{"\0\0", 2};

  // sim_client.cc
  void send_startup();
  bool may_speak() const;
  void write_some();
  void read_some();
  void on_message(Message message);
  void on_login_message(const Message& message);
  void on_error(const Message& message);
  void check_owner(const Message& message);
  void note_right_cancel();
  void leave();
  void ended(bool expected);
  bool lost_is_allowed(std::string_view text) const;
  void violation(const std::string& what) const;

  // sim_grammar.cc
  void next_batch();
  std::string next_tag() { return "c" + std::to_string(number_) + "." + std::to_string(++sequence_); }
  std::string one_statement(bool simple);
  void simple_batch();
  void extended_batch();
  void prepared_batch();
  void function_batch();
  void copy_batch();
  void command_batch();
  void copy_data();
  // One message about a statement or portal, with a name or a value that the fuzzer has written.
  void wild_message(Choices& choices);
  void wild_bind(Choices& choices, const std::string& name);
  void put(std::string bytes);
  using Values = std::vector<std::optional<std::string>>;
  // `types`, and the formats of a Bind: a list as it goes on the wire.
  void put_parse(std::string_view name, std::string_view sql, std::string_view types = kNone);
  void put_bind(std::string_view portal, std::string_view name, const Values& values = {},
                std::string_view formats = kNone, std::string_view result_formats = kNone);
  void put_execute(std::string_view portal, uint32_t rows);
  void put_target(char tag, char kind, std::string_view name);
  void put_sync();
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }
  std::string pick(std::initializer_list<const char*> words) { return words.begin()[random_.below(words.size())]; }

  // oracle.cc
  void compare(bool complete);
  void check_settings();
  std::string set_statement(const std::string& tag);
  bool was_cancelled(const std::string& tag) const;
  bool is_refusal(const Message& message) const;

  World& world_;
  const int number_;
  Habits habits_;
  Dice random_;
  Phase phase_ = Phase::kUnborn;
  int batches_left_;
  int sequence_ = 0;
  std::string out_;        // not on its way yet
  std::string in_;         // not a whole message yet
  int pending_ready_ = 0;  // ReadyForQuery messages to come
  bool open_batch_ = false;
  bool settings_in_flight_ = false;
  int copies_due_ = 0;  // waits for so many CopyInResponses, then sends data
  int copies_fed_ = 0;  // so many come before those: their data was sent ahead
  bool sync_after_copy_ = false;
  bool unnamed_is_barred_ =
      false;                 // not to be bound again: a COPY without its data, a DEALLOCATE (decided at its Parse)
  bool copy_ahead_ = false;  // data and a second Sync were sent ahead
  bool leaving_ = false;
  Micros rests_until_ = 0;
  size_t leave_after_ = 0;  // bytes still to be written before it leaves
  char status_ = 'I';
  uint32_t pid_ = 0;
  std::string key_;
  int cancels_due_ = 0;          // right requests that were sent, less the statements that were cancelled
  bool served_ = false;          // by a server, once
  bool said_long_name_ = false;  // longer than the broker takes
  std::string last_fatal_;
  std::unique_ptr<auth::ServerLogin> login_;
  Settings startup_, known_;
  std::deque<std::string> sent_;  // messages that the oracle has not seen
  std::deque<Message> got_;       // answers that have not been compared
  std::deque<Message> expected_;
  std::set<std::string> portals_, names_;
  Cluster private_cluster_;
  Backend oracle_;
};

}  // namespace berth::sim
