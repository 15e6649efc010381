// What PostgreSQL makes of the first packet of a connection and of what stands in it, written down once more from the
// rules of its sources (18: ProcessStartupPacket, ProcessCancelRequestPacket, SendNegotiateProtocolVersion,
// parse_bool, pg_split_opts, process_postgres_switches, ParseLongOption) and without the code under test. The laws of
// wire_laws.h hold the broker against it in both directions: what PostgreSQL takes is taken, and nothing else.
//
// Where the broker takes less on purpose, the reference does, too, and says so: "less".
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::wire {

using ReferencePairs = std::vector<std::pair<std::string, std::string>>;

struct ReferenceStartup {
  enum class Kind { kPart, kRefused, kStartup, kSsl, kGssEnc, kCancel };
  Kind kind = Kind::kRefused;
  size_t size = 0;
  uint32_t version = 0;
  ReferencePairs parameters;
  uint32_t cancel_pid = 0;
  std::string cancel_key;
};

inline uint32_t reference_number(std::string_view four) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value * 256 + static_cast<unsigned char>(four[i]);
  return value;
}

// The packet without its length. PostgreSQL puts a zero behind it, so that every string in it ends.
inline bool reference_parameters(const std::string& body, ReferencePairs& out) {
  const size_t size = body.size();
  const char* bytes = body.c_str();
  size_t at = 4;
  while (at < size && bytes[at] != '\0') {
    const size_t value = at + std::strlen(bytes + at) + 1;
    if (value >= size) return false;  // less: the list's last zero may be any byte when nothing else is missing
    out.emplace_back(bytes + at, bytes + value);
    at = value + std::strlen(bytes + value) + 1;
  }
  return at == size - 1;
}

inline ReferenceStartup reference_startup(std::string_view bytes) {
  using Kind = ReferenceStartup::Kind;
  ReferenceStartup out;
  if (bytes.size() < 4) return {Kind::kPart, 4, 0, {}, 0, {}};
  const uint64_t length = reference_number(bytes);
  if (length < 4 + 4 || length > 4 + 10000) return out;  // MAX_STARTUP_PACKET_LENGTH does not count the length
  out.size = length;
  if (bytes.size() < length) {
    out.kind = Kind::kPart;
    return out;
  }
  const std::string body(bytes.substr(4, length - 4));
  const uint32_t code = reference_number(body);
  if (code == (1234 << 16) + 5679 || code == (1234 << 16) + 5680) {
    // less: PostgreSQL does not look at what stands behind the code.
    if (body.size() == 4) out.kind = code % 2 ? Kind::kSsl : Kind::kGssEnc;
  } else if (code == (1234 << 16) + 5678) {
    // less: a key of 1 to 3 bytes, which no server gives out.
    if (body.size() < 4 + 4 + 4 || body.size() > 4 + 4 + 256) return out;
    out.kind = Kind::kCancel;
    out.cancel_pid = reference_number(std::string_view(body).substr(4));
    out.cancel_key = body.substr(8);
  } else if (code >> 16 == 3 && reference_parameters(body, out.parameters)) {
    out.kind = Kind::kStartup;
    out.version = code;
  }
  return out;
}

// The whole NegotiateProtocolVersion, or nothing.
inline std::string reference_negotiation(uint32_t version, const ReferencePairs& parameters) {
  const auto number = [](size_t value) {
    return std::string{static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
                       static_cast<char>(value)};
  };
  const uint32_t minor = version & 0xffff;
  std::string names;
  size_t count = 0;
  for (const auto& [name, value] : parameters) {
    if (std::strncmp(name.c_str(), "_pq_.", 5) != 0) continue;
    names += name + '\0';
    ++count;
  }
  if (minor <= 2 && count == 0) return {};
  return "v" + number(4 + 4 + 4 + names.size()) + number((3 << 16) + (minor < 2 ? minor : 2)) + number(count) + names;
}

// The parameter `replication`: "true", "database", "" for what is false; null: refused.
inline const char* reference_replication(std::string_view value) {
  if (value == "database") return "database";
  std::string low;
  for (const char c : value) low += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  for (const char* word : {"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"}) {
    if (low == word) return "true";
  }
  for (const char* word : {"f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0"}) {
    if (low == word) return "";
  }
  return nullptr;
}

// pg_split_opts. `text` has no zero: it was a C string.
inline std::vector<std::string> reference_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false, escaped = false;
  for (const char c : text) {
    const bool blank = std::string_view(" \t\n\v\f\r").find(c) != std::string_view::npos;
    if (blank && !escaped) {
      if (inside) words.push_back(word);
      word.clear();
      inside = false;
      continue;
    }
    inside = true;
    if (c == '\\' && !escaped) {
      escaped = true;
    } else {
      escaped = false;
      word += c;
    }
  }
  if (inside) words.push_back(word);
  return words;
}

// The settings of the parameter `options`. False: PostgreSQL refuses it, or (less) it has another switch than those
// that set something, which the broker cannot give to a server that serves others as well.
inline bool reference_options(std::string_view text, ReferencePairs& out) {
  std::vector<std::string> words = reference_words(text);
  for (size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word == "--") return at + 1 == words.size();  // getopt: no switch follows, and nothing else may
    if (word.size() < 2 || word[0] != '-' || (word[1] != 'c' && word[1] != '-')) return false;
    std::string setting = word.substr(2);
    if (setting.empty()) {
      if (++at == words.size()) return false;
      setting = words[at];
    }
    const size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) return false;
    std::string name = setting.substr(0, equals);
    for (char& c : name) c = c == '-' ? '_' : c;
    out.emplace_back(name, setting.substr(equals + 1));
  }
  return true;
}

}  // namespace berth::wire
