// The laws of the wire layer, each a function over any bytes: null when it holds, else what is broken. The unit tests
// try them with bytes of dice, the fuzz targets with what libFuzzer finds. Bytes are copied to a piece of memory of
// just their size first, so that the address sanitizer sees a read outside.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "unit/backend_reference.h"
#include "unit/startup_reference.h"
#include "wire/backend.h"
#include "wire/encode.h"
#include "wire/frame.h"
#include "wire/frontend.h"
#include "wire/startup.h"

namespace berth::wire {

#define LAW(condition) \
  if (!(condition)) return #condition

class Exact {
 public:
  explicit Exact(std::string_view bytes) : memory_(new char[bytes.size()]), size_(bytes.size()) {
    if (!bytes.empty()) std::memcpy(memory_.get(), bytes.data(), bytes.size());
  }
  std::string_view bytes() const { return {memory_.get(), size_}; }
  bool holds(std::string_view part) const {
    return part.empty() || (part.data() >= memory_.get() && part.data() + part.size() <= memory_.get() + size_);
  }

 private:
  std::unique_ptr<char[]> memory_;
  size_t size_;
};

// ---- frames

// What a stream is: its messages, what stands behind the last whole one, and whether it goes on at all.
struct Frames {
  std::vector<std::string> messages;  // head and body
  std::string tail;
  bool bad = false;
  bool operator==(const Frames&) const = default;
};

// The stream in one piece, by the manual's words and without the code under test.
inline Frames reference_frames(std::string_view stream, uint64_t max) {
  Frames out;
  while (stream.size() >= 5) {
    uint64_t length = 0;
    for (int i = 1; i <= 4; ++i) length = length * 256 + static_cast<unsigned char>(stream[static_cast<size_t>(i)]);
    if (length < 4 || length + 1 > max) {
      out.bad = true;
      return out;
    }
    if (stream.size() < length + 1) break;
    out.messages.emplace_back(stream.substr(0, length + 1));
    stream.remove_prefix(length + 1);
  }
  out.tail = stream;
  return out;
}

// The stream in pieces, as the sessions read it: keep what is unfinished, go on when more is there.
inline Frames frames_of_pieces(std::string_view stream, uint64_t max, Random& dice) {
  Frames out;
  std::string kept;
  while (!stream.empty() && !out.bad) {
    const size_t piece = std::min<size_t>(stream.size(), 1 + dice.below(dice.below(4) ? 7 : 4000));
    kept.append(stream.substr(0, piece));
    stream.remove_prefix(piece);
    const Exact exact(kept);
    std::string_view rest = exact.bytes();
    while (rest.size() >= kHeaderSize) {
      const Head head = read_head(rest.data(), max);
      out.bad = !head.valid;
      if (out.bad || rest.size() < head.size) break;
      out.messages.emplace_back(rest.substr(0, head.size));
      rest.remove_prefix(head.size);
    }
    kept = std::string(rest);
  }
  if (!out.bad) out.tail = kept;
  return out;
}

inline const char* frame_law(std::string_view stream, uint64_t max, Random& dice) {
  const Frames whole = reference_frames(stream, max);
  const Frames pieces = frames_of_pieces(stream, max, dice);
  LAW(whole == pieces);
  std::string again;
  for (const std::string& message : whole.messages) {
    Message encoded(again, message[0]);
    again.append(message.substr(kHeaderSize));
  }
  LAW(stream.substr(0, again.size()) == again);
  LAW(whole.bad || stream.substr(again.size()) == whole.tail);
  return nullptr;
}

// ---- the first packet

inline std::string encoded(const Startup& packet) {
  std::string out(4, '\0');
  switch (packet.kind) {
    case Startup::Kind::kNeedMore:
    case Startup::Kind::kBad: return {};
    case Startup::Kind::kSsl: put32(out, kSslRequestCode); break;
    case Startup::Kind::kGssEnc: put32(out, kGssEncRequestCode); break;
    case Startup::Kind::kCancel:
      put32(out, kCancelRequestCode);
      put32(out, packet.cancel_pid);
      out.append(packet.cancel_key);
      break;
    case Startup::Kind::kStartup:
      put32(out, packet.version);
      for (const auto& [name, value] : packet.parameters) {
        put_cstring(out, name);
        put_cstring(out, value);
      }
      out += '\0';
      break;
  }
  store32(out.data(), static_cast<uint32_t>(out.size()));
  return out;
}

// The broker takes what PostgreSQL takes, as PostgreSQL reads it, and answers as PostgreSQL does.
inline const char* same_startup_law(std::string_view bytes, const Startup& packet) {
  using Kind = ReferenceStartup::Kind;
  const ReferenceStartup expected = reference_startup(bytes);
  LAW((packet.kind == Startup::Kind::kNeedMore) == (expected.kind == Kind::kPart));
  LAW((packet.kind == Startup::Kind::kBad) == (expected.kind == Kind::kRefused));
  LAW((packet.kind == Startup::Kind::kSsl) == (expected.kind == Kind::kSsl));
  LAW((packet.kind == Startup::Kind::kGssEnc) == (expected.kind == Kind::kGssEnc));
  LAW((packet.kind == Startup::Kind::kCancel) == (expected.kind == Kind::kCancel));
  if (packet.kind == Startup::Kind::kBad) return nullptr;
  LAW(packet.size == expected.size && packet.version == expected.version);
  LAW(packet.cancel_pid == expected.cancel_pid && packet.cancel_key == expected.cancel_key);
  LAW((ReferencePairs{packet.parameters.begin(), packet.parameters.end()} == expected.parameters));
  if (packet.kind != Startup::Kind::kStartup) return nullptr;
  std::string answer = "before";
  put_negotiation(answer, packet);
  LAW(answer == "before" + reference_negotiation(expected.version, expected.parameters));
  return nullptr;
}

inline const char* startup_law(std::string_view any) {
  const Exact exact(any);
  const std::string_view bytes = exact.bytes();
  const Startup packet = parse_startup(bytes);
  if (const char* broken = same_startup_law(bytes, packet)) return broken;
  if (packet.kind == Startup::Kind::kNeedMore) {
    LAW(packet.size > bytes.size() && packet.size <= kStartupSizeMax);
    return nullptr;
  }
  const std::string followed = std::string(bytes) + "more";
  const Startup longer = parse_startup(followed);
  LAW(longer.kind == packet.kind && longer.size == packet.size);
  if (packet.kind == Startup::Kind::kBad) {
    LAW(std::string_view(packet.why) != "");
    return nullptr;
  }
  LAW(packet.size >= 8 && packet.size <= bytes.size());
  LAW(encoded(packet) == bytes.substr(0, packet.size));
  LAW(encoded(longer) == bytes.substr(0, packet.size));
  const size_t stride = 1 + packet.size / 64;
  for (size_t size = 0; size < packet.size; size += size < 32 || size + 8 > packet.size ? 1 : stride) {
    const Exact part(bytes.substr(0, size));
    const Startup early = parse_startup(part.bytes());
    LAW(early.kind == Startup::Kind::kNeedMore);
    LAW(early.size == (size < 4 ? 4 : packet.size));
  }
  LAW(exact.holds(packet.cancel_key));
  if (packet.kind == Startup::Kind::kCancel) {
    LAW(packet.cancel_key.size() >= kCancelKeySizeMin && packet.cancel_key.size() <= kCancelKeySizeMax);
  }
  LAW(packet.kind != Startup::Kind::kStartup || packet.version >> 16 == 3);
  for (const auto& [name, value] : packet.parameters) {
    LAW(exact.holds(name) && exact.holds(value) && !name.empty());
  }
  return nullptr;
}

inline std::string escaped_option(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == ' ' || (c >= '\t' && c <= '\r')) out += '\\';
    out += c;
  }
  return out;
}

inline const char* replication_law(std::string_view any) {
  const Exact exact(any);
  std::string_view read;
  const char* expected = reference_replication(any);
  LAW(parse_replication(exact.bytes(), read) == (expected != nullptr));
  LAW(!expected || read == expected);
  return nullptr;
}

// PostgreSQL's settings, and no others. What was understood, written down again in the other spelling, is understood
// as the same.
inline const char* options_law(std::string_view any) {
  any = any.substr(0, any.find('\0'));  // it was a C string
  const Exact exact(any);
  StartupOptions options;
  const bool good = parse_startup_options(exact.bytes(), options);
  ReferencePairs expected;
  LAW((good && options.others.empty()) == reference_options(any, expected));
  LAW(!good || !options.others.empty() || options.settings == expected);
  if (!good) return nullptr;
  std::string again;
  for (const auto& [name, value] : options.settings) {
    LAW(!name.empty() && name.find('-') == std::string::npos && name.find('=') == std::string::npos);
    again += " --" + escaped_option(name + "=" + value);
  }
  for (const std::string& other : options.others) {
    if (!other.empty()) again += "\t" + escaped_option(other);
  }
  std::erase(options.others, "");
  StartupOptions second;
  LAW(parse_startup_options(again, second));
  LAW(second.settings == options.settings && second.others == options.others);
  return nullptr;
}

// ---- what clients say

inline const char* parse_law(std::string_view any) {
  const Exact exact(any);
  const std::string_view body = exact.bytes();
  const size_t name_end = body.find('\0');
  const size_t sql_end = name_end == std::string_view::npos ? name_end : body.find('\0', name_end + 1);
  bool good = sql_end != std::string_view::npos && body.size() >= sql_end + 3;
  if (good) {
    const size_t count =
        static_cast<unsigned char>(body[sql_end + 1]) * size_t{256} + static_cast<unsigned char>(body[sql_end + 2]);
    good = body.size() == sql_end + 3 + 4 * count;
  }
  ParseMessage message;
  LAW(parse_parse(body, message) == good);
  if (!good) return nullptr;
  LAW(exact.holds(message.name) && exact.holds(message.sql) && exact.holds(message.types));
  std::string again;
  put_parse(again, message.name, message.sql, message.types);
  LAW(std::string_view(again).substr(kHeaderSize) == body);
  LAW(read_head(again.data(), again.size()).valid);
  return nullptr;
}

// Of a Bind whose body has `body_size` bytes, `any` has come so far.
inline const char* bind_law(std::string_view any, uint64_t body_size) {
  body_size = std::max<uint64_t>(body_size, any.size());
  const size_t first = any.find('\0');
  const size_t second = first == std::string_view::npos ? first : any.find('\0', first + 1);
  for (size_t size = 0; size <= any.size(); size += size < 300 || any.size() - size < 8 ? 1 : 97) {
    const Exact exact(any.substr(0, size));
    BindHead head;
    const int got = parse_bind_head(exact.bytes(), body_size, head);
    if (second != std::string_view::npos && second < size) {
      LAW(got == 1);
      LAW(head.portal == any.substr(0, first) && head.statement == any.substr(first + 1, second - first - 1));
      LAW(head.size == second + 1);
      LAW(exact.holds(head.portal) && exact.holds(head.statement));
    } else {
      LAW(got == (size >= body_size || size > 2 * kNameSizeMax ? -1 : 0));
    }
  }
  return nullptr;
}

inline const char* target_law(std::string_view any) {
  const Exact exact(any);
  const std::string_view body = exact.bytes();
  const bool good = body.size() >= 2 && (body[0] == 'S' || body[0] == 'P') && body.find('\0') == body.size() - 1;
  TargetMessage target;
  LAW(parse_target(body, target) == good);
  if (!good) return nullptr;
  LAW(exact.holds(target.name));
  LAW(target.kind == body[0] && target.name == body.substr(1, body.size() - 2));
  return nullptr;
}

// White space, comments and semicolons around a command change nothing, and the cheap filter lets it pass.
inline const char* command_law(std::string_view any) {
  using Kind = StatementCommand::Kind;
  const Exact exact(any);
  const StatementCommand command = parse_statement_command(exact.bytes());
  if (command.kind == Kind::kNone) return nullptr;
  LAW(any.size() <= kStatementCommandMax && may_be_statement_command(exact.bytes()));
  LAW(command.name.size() <= 63);
  LAW(command.kind == Kind::kDeallocate || command.kind == Kind::kReset || command.name.empty());
  const std::string sql(any);
  for (const std::string& same :
       {" \n\t" + sql, ";" + sql, "/*a/*b*/c*/" + sql, "--c\n" + sql, sql + "\n;;", sql + "\n"}) {
    if (same.size() > kStatementCommandMax) continue;
    const StatementCommand second = parse_statement_command(same);
    LAW(second.kind == command.kind && second.name == command.name);
    LAW(may_be_statement_command(same));
  }
  // In "deallocate prepare x" the second word is no name any more.
  LAW(parse_statement_command(sql + "\nx").kind == Kind::kNone || sql.find("/*") != std::string::npos ||
      command.name == "prepare");
  return nullptr;
}

// A name in quotes is itself, whatever it is.
inline const char* quoted_name_law(std::string_view name) {
  if (name.size() > 63) return nullptr;
  std::string sql = "deallocate \"";
  for (char c : name) sql.append(c == '"' ? 2 : 1, c);
  const StatementCommand command = parse_statement_command(sql + "\"");
  LAW(command.kind == StatementCommand::Kind::kDeallocate && command.name == name);
  return nullptr;
}

// ---- what servers say

// Of a login's messages, each read as each.
inline const char* login_law(std::string_view any) {
  const Exact exact(any);
  const std::string_view body = exact.bytes();
  std::string_view name, value, key, rest;
  uint32_t pid = 0, version = 0, code = 0;
  std::vector<std::string_view> unknown, names;

  const auto strings = reference_strings(any);
  LAW(parse_parameter_status(body, name, value) == (strings.whole && strings.list.size() == 2));
  if (strings.whole && strings.list.size() == 2) {
    LAW(exact.holds(name) && exact.holds(value) && name == strings.list[0] && value == strings.list[1]);
    std::string again;
    put_parameter_status(again, name, value);
    LAW(again.substr(kHeaderSize) == any && again[0] == 'S');
  }

  LAW(parse_key_data(body, pid, key) == (any.size() >= 4 + 4 && any.size() <= 4 + 256));
  LAW(any.size() < 8 || any.size() > 260 || (pid == reference_number(any) && key == any.substr(4)));
  LAW(exact.holds(key));

  LAW(parse_authentication(body, code, rest) == (any.size() >= 4));
  LAW(any.size() < 4 || (code == reference_number(any) && rest == any.substr(4) && exact.holds(rest)));

  const auto behind = reference_strings(any.size() < 8 ? std::string_view() : any.substr(8));
  const bool negotiates = any.size() >= 8 && behind.whole && behind.list.size() == reference_number(any.substr(4));
  LAW(parse_negotiation(body, version, unknown) == negotiates);
  LAW(!negotiates || (version == reference_number(any) && same_strings(unknown, behind.list)));

  std::vector<std::string> offered = strings.list;
  const bool ends = strings.whole && !offered.empty() && offered.back().empty();
  if (ends) offered.pop_back();
  const bool lists = ends && std::find(offered.begin(), offered.end(), "") == offered.end();
  LAW(parse_mechanisms(body, names) == lists);
  LAW(!lists || same_strings(names, offered));
  for (const std::string_view one : names) LAW(exact.holds(one));
  return nullptr;
}

inline const char* error_law(std::string_view any, std::string_view from, std::string_view to) {
  const Exact exact(any);
  const auto fields = reference_fields(any);
  std::map<char, std::string> last;
  std::string first_severity;
  for (const auto& [code, value] : fields) {
    last[code] = value;
    if (code == 'S' && first_severity.empty()) first_severity = value;
  }
  const ErrorFields read = parse_error(exact.bytes());
  LAW(exact.holds(read.message) && exact.holds(read.sqlstate) && exact.holds(read.severity));
  LAW(exact.holds(read.detail) && exact.holds(read.hint));
  LAW(last.count('V') != 0 || read.severity == first_severity);
  LAW(last['V'].empty() || read.severity == last['V']);
  LAW(read.sqlstate == last['C'] && read.message == last['M'] && read.detail == last['D'] && read.hint == last['H']);
  // No byte changes but those of the name.
  const std::string body = reference_renamed(fields, from, to);
  std::string renamed = "before";
  put_error_renamed(renamed, kErrorResponse, exact.bytes(), from, to);
  LAW(renamed.substr(0, 7) == "beforeE");
  LAW(reference_number(std::string_view(renamed).substr(7)) == 4 + body.size());
  LAW(std::string_view(renamed).substr(6 + kHeaderSize) == body);
  return nullptr;
}

inline const char* command_tag_law(std::string_view body) {
  const Exact exact(body);
  CommandEffect expected = CommandEffect::kNone;
  const std::pair<const char*, CommandEffect> known[] = {{"DISCARD ALL", CommandEffect::kDiscardAll},
                                                         {"DEALLOCATE ALL", CommandEffect::kDeallocateAll},
                                                         {"RESET", CommandEffect::kReset},
                                                         {"LISTEN", CommandEffect::kListen},
                                                         {"PREPARE", CommandEffect::kPrepare},
                                                         {"DECLARE CURSOR", CommandEffect::kCursor},
                                                         {"SET", CommandEffect::kSet},
                                                         {"COMMIT", CommandEffect::kEnd},
                                                         {"ROLLBACK", CommandEffect::kEnd}};
  for (const auto& [tag, effect] : known) {
    if (body == std::string(tag) + '\0') expected = effect;
  }
  LAW(command_effect(exact.bytes()) == expected);
  return nullptr;
}

#undef LAW

}  // namespace berth::wire
