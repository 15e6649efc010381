// Who runs the broker: a console client that says commands at random, and the dispatcher through which the console
// reaches all workers, over the same slow mail as everything else between workers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/dice.h"
#include "sim/sim_engine.h"
#include "worker/task.h"

namespace berth::sim {

class World;

class SimDispatcher final : public worker::Dispatcher {
 public:
  explicit SimDispatcher(World& world) : world_(world) {}
  void visit_all(int home, std::function<void(session::Context&)> visit,
                 std::function<void(session::Context&)> done) override;
  void reload(int home, std::function<void(session::Context&, std::string)> done) override;
  void request_shutdown(session::Shutdown how) override;
  void set_option(int home, std::string key, std::string value,
                  std::function<void(session::Context&, std::string)> done) override;

 private:
  void put_in_place(int home, std::shared_ptr<const config::Config> next,
                    std::function<void(session::Context&, std::string)> done);
  struct Visit;
  void go_on(int from, int to, std::shared_ptr<Visit> visit);
  World& world_;
};

// What an operator may say.
struct Powers {
  int commands = 6;
  bool pauses = true, kills = false, reloads = true, shuts_down = false;
};

class SimOperator {
 public:
  // `script`: says exactly this, in this order, then goodbye; empty: at random.
  SimOperator(World& world, int number, const Powers& powers, std::vector<std::string> script, const Dice& dice);

  void start(LinkPtr link);
  void step();
  // Says no more than what is under way.
  void finish() { left_ = 0; }
  bool started() const { return phase_ != Phase::kUnborn; }
  bool done() const { return phase_ == Phase::kGone || (phase_ == Phase::kUnborn && left_ == 0); }
  int left() const { return left_; }
  bool logged_in() const { return phase_ == Phase::kActive; }
  uint32_t pid() const { return pid_; }
  // The first word of the command under way; empty: none.
  const std::string& verb() const { return verb_; }
  std::string describe() const;

 private:
  enum class Phase { kUnborn, kLogin, kActive, kGone };
  void say_startup();
  std::string next_command();
  std::string a_database();
  std::string a_setting();
  void say(const std::string& command);
  void read();
  void write();
  void on_message(char tag, std::string_view body);
  void on_answer(const std::string& tag);
  void gone();
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }

  World& world_;
  const int number_;
  const Powers powers_;
  std::vector<std::string> script_;
  size_t next_ = 0;
  Dice random_;
  int left_;
  Phase phase_ = Phase::kUnborn;
  LinkPtr link_;
  std::string out_, in_, verb_, command_, key_, last_error_;
  bool answered_ = false, leaving_ = false, fatal_ = false;
  std::unique_ptr<auth::ServerLogin> login_;
  uint32_t pid_ = 0;
};

}  // namespace berth::sim
