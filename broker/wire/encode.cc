#include "wire/encode.h"

namespace berth::wire {

static std::string_view severity_text(Severity severity) {
  switch (severity) {
    case Severity::kNotice: return "NOTICE";
    case Severity::kWarning: return "WARNING";
    case Severity::kError: return "ERROR";
    case Severity::kFatal: return "FATAL";
  }
  return "ERROR";
}

void put_error(std::string& out, Severity severity, std::string_view sqlstate, std::string_view text,
               std::string_view detail, std::string_view hint) {
  const bool notice = severity == Severity::kNotice || severity == Severity::kWarning;
  Message message(out, notice ? kNoticeResponse : kErrorResponse);
  const auto field = [&out](char code, std::string_view value) {
    out += code;
    put_cstring(out, value);
  };
  field('S', severity_text(severity));
  field('V', severity_text(severity));
  field('C', sqlstate);
  field('M', text);
  if (!detail.empty()) field('D', detail);
  if (!hint.empty()) field('H', hint);
  out += '\0';
}

void put_query(std::string& out, std::string_view sql) {
  Message message(out, kQuery);
  put_cstring(out, sql);
}

void put_parse(std::string& out, std::string_view name, std::string_view sql, std::string_view types) {
  Message message(out, kParse);
  put_cstring(out, name);
  put_cstring(out, sql);
  out.append(types);
}

void put_close_statement(std::string& out, std::string_view name) {
  Message message(out, kClose);
  out += 'S';
  put_cstring(out, name);
}

void put_empty(std::string& out, char tag) {
  Message message(out, tag);
}

void put_ready(std::string& out, char status) {
  Message message(out, kReadyForQuery);
  out += status;
}

void put_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  Message message(out, kParameterStatus);
  put_cstring(out, name);
  put_cstring(out, value);
}

void put_startup(std::string& out, uint32_t version,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> parameters) {
  const size_t start = out.size();
  out.append(4, '\0');
  put32(out, version);
  for (const auto& [name, value] : parameters) {
    put_cstring(out, name);
    put_cstring(out, value);
  }
  out += '\0';
  store32(out.data() + start, static_cast<uint32_t>(out.size() - start));
}

}  // namespace berth::wire
