// What a client says of statements with names and values of any bytes: whatever they are, the broker's own names in
// their place must not show, and every byte of a value must arrive.
#include "session/limits.h"
#include "sim/sim_client.h"
#include "sim/world.h"
#include "wire/encode.h"

namespace berth::sim {

static constexpr size_t kWildMost = 80;

// Where something changes in the broker, and between. The last are longer than a name may be.
static constexpr size_t kWildSizes[] = {63, 512, 2048, 4096, 6000, session::kBindNameMax - 8, session::kArena, 20000};

// No zero byte, and nothing that looks as if it belonged to a client. Now and then a few bytes again and again.
static std::string wild_text(Choices& choices, bool name) {
  size_t size = 0;
  if (choices.below(4) == 0) {
    const size_t sizes = std::size(kWildSizes) - (name && choices.below(16) > 0 ? 2 : 0);
    size = kWildSizes[choices.below(sizes)] + choices.below(17) - 8;
  }
  std::string text = choices.text(size ? 4 : kWildMost);
  std::erase(text, '\0');
  if (size) {
    const std::string part = text.empty() ? "x" : text;
    while (text.size() < size) text += part;
    text.resize(size);
  }
  return tag_in(text).empty() && tag_in(text + ".1").empty() ? text : std::string("t");
}

static std::string wild_name(Choices& choices) {
  switch (choices.below(8)) {
    case 0: return "";
    case 1: return wild_text(choices, true);
    case 2: return "berth_" + wild_text(choices, true);
    default: return "s" + std::to_string(choices.below(4));
  }
}

static std::string wild_list(Choices& choices, size_t count, uint16_t most) {
  std::string out;
  wire::put16(out, static_cast<uint16_t>(count));
  for (size_t i = 0; i < count; ++i) wire::put16(out, static_cast<uint16_t>(choices.below(most)));
  return out;
}

static std::string wild_types(Choices& choices) {
  switch (choices.below(4)) {
    case 0: return std::string("\0\0", 2);
    case 1: return std::string("\0\2\0\0\0\x17\0\0\4\x13", 10);
    default: return std::string("\0\1\0\0\0\x19", 6);
  }
}

// As many values as the statement may want, or others; the first says whose it is.
void SimClient::wild_bind(Choices& choices, const std::string& name) {
  const std::string portal = choices.below(4) == 0 ? wild_name(choices) : "";
  Values values;
  const uint64_t count = choices.below(8) < 5 ? 1 : choices.below(4);
  for (uint64_t i = 0; i < count; ++i) {
    if (choices.below(6) == 0) {
      values.emplace_back();
    } else {
      values.emplace_back((i == 0 ? next_tag() + " " : "") + wild_text(choices, false));
    }
  }
  const std::string formats = wild_list(choices, choices.below(4) == 0 ? choices.below(values.size() + 2) : 0, 2);
  put_bind(portal, name, values, formats, wild_list(choices, choices.below(4) == 0 ? 1 : 0, 2));
}

void SimClient::wild_message(Choices& choices) {
  const std::string name = wild_name(choices);
  const uint64_t what = choices.below(8);
  // Likewise in next_batch(): an old SET may be executed by its name.
  if (what >= 3 && what <= 5) settings_in_flight_ |= habits_.settings;
  if (name.empty() && unnamed_is_barred_ && what >= 3) return put_sync();
  switch (what) {
    case 0: return put_parse(name, one_statement(false));
    case 1:
    case 2: {
      // What it says depends on the settings at its Parse.
      if (settings_in_flight_) return put_parse(name, "select " + next_tag());
      std::string comment = wild_text(choices, false);
      std::erase_if(comment, [](char c) { return c == '*' || c == '$'; });
      const uint64_t which = choices.below(6);
      const std::string values = which < 4 ? "$1" : which < 5 ? "$1 $2" : "$1 $2 $3";
      return put_parse(name, fmt::format("echo w{} {} /*{}*/", which, values, comment), wild_types(choices));
    }
    case 3:
    case 4: return wild_bind(choices, name);
    case 5: return put_execute(choices.below(4) == 0 ? name : "", static_cast<uint32_t>(choices.below(3)));
    case 6:
      return put_target(choices.below(2) == 0 ? wire::kDescribe : wire::kClose, choices.below(3) == 0 ? 'P' : 'S',
                        name);
    default: return put_sync();
  }
}

}  // namespace berth::sim
