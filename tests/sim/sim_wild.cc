// What a client says of statements with names and values of any bytes: whatever they are, the broker's own names in
// their place must not show, and every byte of a value must arrive.
#include "sim/sim_client.h"
#include "sim/world.h"
#include "wire/encode.h"

namespace berth::sim {

static constexpr size_t kWildMost = 80;

// No zero byte, and nothing that looks as if it belonged to a client.
static std::string wild_text(Choices& choices) {
  std::string text = choices.text(kWildMost);
  std::erase(text, '\0');
  return tag_in(text).empty() && tag_in(text + ".1").empty() ? text : std::string("t");
}

static std::string wild_name(Choices& choices) {
  switch (choices.below(8)) {
    case 0: return "";
    case 1: return wild_text(choices);
    case 2: return "berth_" + wild_text(choices);
    default: return "s" + std::to_string(choices.below(4));
  }
}

void SimClient::wild_message(Choices& choices) {
  const std::string name = wild_name(choices);
  const uint64_t what = choices.below(8);
  // Likewise in next_batch(): an old SET may be executed by its name.
  if (what >= 3 && what <= 5) settings_in_flight_ |= habits_.settings;
  if (name.empty() && unnamed_is_barred_ && what >= 3) return put_sync();
  switch (what) {
    case 0: return put_parse(name, one_statement(false), false);
    case 1:
    case 2: {
      // What it says depends on the settings at its Parse.
      if (settings_in_flight_) return put_parse(name, "select " + next_tag(), false);
      std::string comment = wild_text(choices);
      std::erase(comment, '*');
      return put_parse(name, "echo w" + std::to_string(choices.below(6)) + " $1 /*" + comment + "*/", true);
    }
    case 3:
    case 4: {
      const std::string value = next_tag() + " " + wild_text(choices);
      put_bind(choices.below(4) == 0 ? wild_name(choices) : "", name, choices.below(8) < 7 ? &value : nullptr);
      return;
    }
    case 5: return put_execute(choices.below(4) == 0 ? name : "", static_cast<uint32_t>(choices.below(3)));
    case 6:
      return put_target(choices.below(2) == 0 ? wire::kDescribe : wire::kClose, choices.below(3) == 0 ? 'P' : 'S',
                        name);
    default: return put_sync();
  }
}

}  // namespace berth::sim
