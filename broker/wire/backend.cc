#include "wire/backend.h"

#include "wire/encode.h"

namespace berth::wire {

bool parse_parameter_status(std::string_view body, std::string_view& name, std::string_view& value) {
  return take_cstring(body, name) && take_cstring(body, value) && body.empty();
}

bool parse_key_data(std::string_view body, uint32_t& pid, std::string_view& key) {
  if (body.size() < 4 + kCancelKeySizeMin || body.size() > 4 + kCancelKeySizeMax) return false;
  pid = read32(body.data());
  key = body.substr(4);
  return true;
}

bool parse_negotiation(std::string_view body, uint32_t& version, std::vector<std::string_view>& unknown) {
  if (body.size() < 8) return false;
  version = read32(body.data());
  const uint32_t count = read32(body.data() + 4);
  body.remove_prefix(8);
  std::string_view name;
  while (unknown.size() < count) {
    if (!take_cstring(body, name)) return false;
    unknown.push_back(name);
  }
  return body.empty();
}

bool parse_authentication(std::string_view body, uint32_t& code, std::string_view& rest) {
  if (body.size() < 4) return false;
  code = read32(body.data());
  rest = body.substr(4);
  return true;
}

bool parse_mechanisms(std::string_view rest, std::vector<std::string_view>& names) {
  std::string_view name;
  while (take_cstring(rest, name)) {
    if (name.empty()) return rest.empty();
    names.push_back(name);
  }
  return false;
}

// Calls field(code, value) for each field; stops at the terminator or where the body ends too early.
template <typename F>
static void each_field(std::string_view body, F&& field) {
  while (!body.empty() && body[0] != '\0') {
    const char code = body[0];
    body.remove_prefix(1);
    std::string_view value;
    if (!take_cstring(body, value)) return;
    field(code, value);
  }
}

ErrorFields parse_error(std::string_view body) {
  ErrorFields out;
  each_field(body, [&out](char code, std::string_view value) {
    switch (code) {
      case 'V': out.severity = value; break;
      case 'S':
        if (out.severity.empty()) out.severity = value;
        break;
      case 'C': out.sqlstate = value; break;
      case 'M': out.message = value; break;
      case 'D': out.detail = value; break;
      case 'H': out.hint = value; break;
      case 'R': out.routine = value; break;
      default: break;
    }
  });
  return out;
}

CommandEffect effect_of_rare_tag(std::string_view body) {
  if (body.back() != '\0') return CommandEffect::kNone;
  body.remove_suffix(1);
  switch (body[0]) {
    case 'C': return body == "COMMIT" ? CommandEffect::kEnd : CommandEffect::kNone;
    case 'D':
      if (body == "DISCARD ALL") return CommandEffect::kDiscardAll;
      if (body == "DEALLOCATE ALL") return CommandEffect::kDeallocateAll;
      return body == "DECLARE CURSOR" ? CommandEffect::kCursor : CommandEffect::kNone;
    case 'L': return body == "LISTEN" ? CommandEffect::kListen : CommandEffect::kNone;
    case 'P': return body == "PREPARE" ? CommandEffect::kPrepare : CommandEffect::kNone;
    case 'R':
      if (body == "RESET") return CommandEffect::kReset;
      return body == "ROLLBACK" ? CommandEffect::kEnd : CommandEffect::kNone;
    case 'S': return body == "SET" ? CommandEffect::kSet : CommandEffect::kNone;
    default: return CommandEffect::kNone;
  }
}

static void put_replaced(std::string& out, std::string_view text, std::string_view from, std::string_view to) {
  for (;;) {
    const size_t at = from.empty() ? std::string_view::npos : text.find(from);
    if (at == std::string_view::npos) break;
    out.append(text.substr(0, at));
    out.append(to);
    text.remove_prefix(at + from.size());
  }
  out.append(text);
}

void put_error_renamed(std::string& out, char tag, std::string_view body, std::string_view from,
                       std::string_view to) {
  Message message(out, tag);
  each_field(body, [&](char code, std::string_view value) {
    out += code;
    if (code == 'M') {
      put_replaced(out, value, from, to);
      out += '\0';
    } else {
      put_cstring(out, value);
    }
  });
  out += '\0';
}

}  // namespace berth::wire
