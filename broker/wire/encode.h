// Encoders: append whole messages to a string. Used where messages are rare (login, errors, console, injected
// statements); the relay forwards bytes as they are.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "wire/frame.h"

namespace berth::wire {

inline void put32(std::string& out, uint32_t value) {
  char bytes[4];
  store32(bytes, value);
  out.append(bytes, 4);
}
inline void put16(std::string& out, uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value);
}
inline void put_cstring(std::string& out, std::string_view text) {
  out.append(text);
  out += '\0';
}

// Opens a message in `out` and closes it (patches the length) at the end of its life.
class Message {
 public:
  Message(std::string& out, char tag) : out_(out), start_(out.size()) {
    out_ += tag;
    out_.append(4, '\0');
  }
  ~Message() { store32(out_.data() + start_ + 1, static_cast<uint32_t>(out_.size() - start_ - 1)); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

 private:
  std::string& out_;
  size_t start_;
};

enum class Severity { kNotice, kWarning, kError, kFatal };

// ErrorResponse or NoticeResponse with severity (S and V), SQLSTATE, message and, when not empty, detail and hint.
void put_error(std::string& out, Severity severity, std::string_view sqlstate, std::string_view text,
               std::string_view detail = {}, std::string_view hint = {});
void put_query(std::string& out, std::string_view sql);
// Parse with a text and its parameter types in wire form (count and OIDs, at least the two bytes of the count).
void put_parse(std::string& out, std::string_view name, std::string_view sql, std::string_view types);
void put_close_statement(std::string& out, std::string_view name);
void put_empty(std::string& out, char tag);  // a message without a body: Sync, Flush, ParseComplete, ...
void put_ready(std::string& out, char status);
void put_parameter_status(std::string& out, std::string_view name, std::string_view value);
void put_startup(std::string& out, uint32_t version,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> parameters);

}  // namespace berth::wire
