// What the worlds of this process have seen: how often each step between states was taken, and each event came in
// each state. The lists of what there is to see, and of what no world can show, stand in coverage.cc.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "pool/node.h"

namespace berth::sim {

const char* name_of(pool::ClientState state);
const char* name_of(pool::ServerState state);

// "client Idle", "server Linked": the subject of an event.
std::string subject(pool::ClientState state);
std::string subject(pool::ServerState state);

class Coverage {
 public:
  void hit(const std::string& what) { ++seen_[what]; }
  void event(std::string_view of, std::string_view what);
  // A step that the table does not have.
  std::string forbidden;

  // The report, a line for each thing, how often first.
  std::string report() const;
  // What is on the lists and was not seen although it is no exception, and what was seen and is not on the lists.
  std::vector<std::string> missed() const;
  std::vector<std::string> unlisted() const;
  // Exceptions that were seen after all.
  std::vector<std::string> overtaken() const;
  size_t known() const;

 private:
  std::map<std::string, uint64_t> seen_;
};
Coverage& coverage();

}  // namespace berth::sim
