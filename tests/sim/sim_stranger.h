// Somebody who does not speak as a client should, at the door or before it has a server: it must be told why, and the
// connection must end. Also those who come and say nothing, or go away in the middle of their first packet.
#pragma once

#include <string>

#include "sim/dice.h"
#include "sim/sim_engine.h"

namespace berth::sim {

class World;

class SimStranger {
 public:
  SimStranger(World& world, const Dice& dice) : world_(world), random_(dice) {}
  void start(LinkPtr link);
  // One whose words a fuzzer has written: as kRawUser, or from its first byte on. It may be told anything or nothing.
  void start_raw(LinkPtr link, bool logs_in, std::string bytes);
  void say(std::string_view bytes);
  // One that nobody else says.
  void say_own_query();
  bool raw() const { return kind_ == kRaw; }
  bool logged_in() const { return logs_in_; }  // it is kRawUser
  void leave(bool reset) { end(reset); }
  void step();
  bool started() const { return link_ != nullptr; }
  bool done() const { return gone_; }
  uint64_t kind() const { return kind_; }

 private:
  static constexpr uint64_t kGuesser = 15, kKinds = 17, kRaw = 100;
  void end(bool reset);
  void judge();
  std::string startup(std::string_view user, std::string_view database, std::string_view name = {},
                      std::string_view value = {}) const;
  bool chance(int percent) { return random_.below(100) < static_cast<uint64_t>(percent); }

  World& world_;
  Dice random_;
  LinkPtr link_;
  void check_owner() const;
  std::string out_, in_;
  std::string said_;  // by a raw one, all of it
  int queries_ = 0;
  bool logs_in_ = false;
  uint64_t kind_ = 0;
  bool leaves_ = false;  // of its own accord, once it has said all
  bool gone_ = false;
};

}  // namespace berth::sim
