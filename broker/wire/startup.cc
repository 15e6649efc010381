#include "wire/startup.h"

#include <algorithm>

#include "wire/encode.h"

namespace berth::wire {

static Startup bad(const char* why) {
  Startup out;
  out.kind = Startup::Kind::kBad;
  out.why = why;
  return out;
}

static Startup parse_parameters(std::string_view rest, Startup out) {
  // Pairs of strings, then one empty name. PostgreSQL insists that this last NUL is the packet's last byte.
  for (;;) {
    std::string_view name, value;
    if (!take_cstring(rest, name)) return bad("invalid startup packet layout: expected terminator as last byte");
    if (name.empty()) break;
    if (!take_cstring(rest, value)) return bad("invalid startup packet layout: expected terminator as last byte");
    out.parameters.emplace_back(name, value);
  }
  if (!rest.empty()) return bad("invalid startup packet layout: expected terminator as last byte");
  out.kind = Startup::Kind::kStartup;
  return out;
}

Startup parse_startup(std::string_view bytes) {
  Startup out;
  if (bytes.size() < 4) {
    out.size = 4;
    return out;
  }
  const uint32_t length = read32(bytes.data());
  if (length < 8 || length > kStartupSizeMax) return bad("invalid length of startup packet");
  if (bytes.size() < 8 || bytes.size() < length) {
    out.size = length;
    return out;
  }
  out.size = length;
  const uint32_t code = read32(bytes.data() + 4);
  std::string_view rest = bytes.substr(8, length - 8);
  switch (code) {
    case kSslRequestCode:
    case kGssEncRequestCode:
      if (!rest.empty()) return bad("invalid length of encryption request");
      out.kind = code == kSslRequestCode ? Startup::Kind::kSsl : Startup::Kind::kGssEnc;
      return out;
    case kCancelRequestCode:
      if (rest.size() < 4 + kCancelKeySizeMin || rest.size() > 4 + kCancelKeySizeMax) {
        return bad("invalid length of cancel request packet");
      }
      out.kind = Startup::Kind::kCancel;
      out.cancel_pid = read32(rest.data());
      out.cancel_key = rest.substr(4);
      return out;
    default: break;
  }
  if (code >> 16 != 3) return bad("unsupported frontend protocol");
  out.version = code;
  return parse_parameters(rest, std::move(out));
}

void put_negotiation(std::string& out, const Startup& startup) {
  std::vector<std::string_view> unknown;
  for (const auto& [name, value] : startup.parameters) {
    if (name.starts_with("_pq_.")) unknown.push_back(name);
  }
  if (startup.version <= kProtocol32 && unknown.empty()) return;
  Message message(out, kNegotiateProtocolVersion);
  put32(out, std::min(startup.version, kProtocol32));
  put32(out, static_cast<uint32_t>(unknown.size()));
  for (std::string_view name : unknown) put_cstring(out, name);
}

bool parse_replication(std::string_view value, std::string_view& out) {
  const auto is = [value](std::string_view word, size_t least) {
    return value.size() >= least && value.size() <= word.size() &&
           std::equal(value.begin(), value.end(), word.begin(), [](char a, char b) {
             return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + ('a' - 'A')) : a) == b;
           });
  };
  if (value == "database") {
    out = value;
  } else if (is("true", 1) || is("yes", 1) || is("on", 2) || value == "1") {
    out = "true";
  } else if (is("false", 1) || is("no", 1) || is("off", 2) || value == "0") {
    out = {};
  } else {
    return false;
  }
  return true;
}

// Splits at white space; a backslash takes the next byte as it is (pg_split_opts).
static std::vector<std::string> split_options(std::string_view text) {
  std::vector<std::string> words;
  size_t at = 0;
  const auto space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (at < text.size()) {
    while (at < text.size() && space(text[at])) ++at;
    if (at == text.size()) break;
    std::string word;
    while (at < text.size() && !space(text[at])) {
      if (text[at] == '\\' && ++at == text.size()) break;
      word += text[at++];
    }
    words.push_back(std::move(word));
  }
  return words;
}

bool parse_startup_options(std::string_view text, StartupOptions& out) {
  const std::vector<std::string> words = split_options(text);
  for (size_t at = 0; at < words.size(); ++at) {
    std::string_view setting = words[at];
    if (setting == "--") return at + 1 == words.size();  // getopt's end of all switches
    if (setting == "-c") {
      if (++at == words.size()) return false;
      setting = words[at];
    } else if (setting.substr(0, 2) == "-c" || setting.substr(0, 2) == "--") {
      setting.remove_prefix(2);
    } else {
      out.others.push_back(words[at]);
      continue;
    }
    const size_t equals = setting.find('=');
    if (equals == 0 || equals == std::string_view::npos) return false;
    std::string name(setting.substr(0, equals));
    for (char& c : name) {
      if (c == '-') c = '_';  // ParseLongOption
    }
    if (FAULT(second_option_lost) && !out.settings.empty()) continue;
    out.settings.emplace_back(std::move(name), std::string(setting.substr(equals + 1)));
  }
  return true;
}

}  // namespace berth::wire
