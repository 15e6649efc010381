// The extended protocol on the console: PgBouncer refuses it, drivers that know nothing else need it. A statement is
// one command; its arguments may be parameters of a text type.
#include <fmt/format.h>

#include <algorithm>

#include "admin/console.h"
#include "admin/parser.h"
#include "admin/show.h"
#include "base/fault.h"
#include "wire/encode.h"
#include "wire/frontend.h"

namespace berth::admin {

namespace {

constexpr uint32_t kTextOid = 25;

// Types whose binary form is their text.
bool is_text_type(uint32_t oid) {
  return oid == 0 || oid == 25 || oid == 1043 || oid == 19 || oid == 705 || oid == 1042;
}

bool take16(std::string_view& rest, uint16_t& out) {
  if (rest.size() < 2) return false;
  out = wire::read16(rest.data());
  rest.remove_prefix(2);
  return true;
}

bool take_formats(std::string_view& rest, Formats& out) {
  uint16_t count = 0;
  if (!take16(rest, count) || rest.size() < size_t{count} * 2) return false;
  for (uint16_t i = 0; i < count; ++i) {
    uint16_t format = 0;
    take16(rest, format);
    if (format > 1) return false;
    out.push_back(static_cast<int16_t>(format));
  }
  return true;
}

struct BindMessage {
  std::string_view portal, statement;
  Formats parameter_formats, result_formats;
  std::vector<std::optional<std::string_view>> values;  // none: NULL
};

// False: malformed.
bool parse_bind(std::string_view rest, BindMessage& out) {
  uint16_t count = 0;
  if (!wire::take_cstring(rest, out.portal) || !wire::take_cstring(rest, out.statement)) return false;
  if (!take_formats(rest, out.parameter_formats) || !take16(rest, count)) return false;
  for (uint16_t i = 0; i < count; ++i) {
    if (rest.size() < 4) return false;
    const uint32_t size = wire::read32(rest.data());
    rest.remove_prefix(4);
    if (size == UINT32_MAX) {
      out.values.emplace_back();
      continue;
    }
    if (size > rest.size()) return false;
    out.values.emplace_back(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  return take_formats(rest, out.result_formats) && rest.empty();
}

int parameters_of(const std::optional<Command>& command) {
  return command ? std::max(command->argument_parameter, command->value_parameter) : 0;
}

}  // namespace

void ConsoleImpl::on_extended(Session& session, char tag, std::string_view body) {
  if (tag == wire::kSync) return on_sync(session);
  if ((session.skipping && !FAULT(batch_goes_on)) || tag == wire::kFlush)
    return;  // what is gathered goes out at the end of each step anyway
  switch (tag) {
    case wire::kParse: return on_parse(session, body);
    case wire::kBind: return on_bind(session, body);
    case wire::kDescribe: return on_describe(session, body);
    case wire::kExecute: return on_execute(session, body);
    case wire::kClose: return on_close(session, body);
    default: ASSERT(false);
  }
}

void ConsoleImpl::extended_error(Session& session, std::string_view text, std::string_view sqlstate) {
  put_error(session, {.error = std::string(text), .sqlstate = std::string(sqlstate)});
  session.skipping = true;
}

void ConsoleImpl::on_sync(Session& session) {
  session.skipping = false;
  if (!session.in_block) session.portals.clear();
  wire::put_ready(session.out, session.in_block ? 'T' : 'I');
}

void ConsoleImpl::on_parse(Session& session, std::string_view body) {
  wire::ParseMessage message;
  if (!wire::parse_parse(body, message)) return extended_error(session, "malformed Parse message", "08P01");
  if (!message.name.empty() && session.prepared.contains(message.name)) {
    return extended_error(session, fmt::format("prepared statement \"{}\" already exists", message.name), "42P05");
  }
  if (session.prepared.size() >= kPreparedMax)
    return extended_error(session, "too many prepared statements", "54000");
  Parsed parsed = parse_commands(message.sql);
  if (!parsed.error.empty()) return extended_error(session, parsed.error, "08P01");
  if (parsed.commands.size() > 1) {
    return extended_error(session, "cannot insert multiple commands into a prepared statement", "42601");
  }
  Prepared prepared;
  if (!parsed.commands.empty()) prepared.command = std::move(parsed.commands.front());
  const uint16_t given = wire::read16(message.types.data());
  for (uint16_t i = 0; i < given; ++i)
    prepared.parameter_types.push_back(wire::read32(message.types.data() + 2 + 4 * i));
  const auto needed = static_cast<size_t>(parameters_of(prepared.command));
  if (prepared.parameter_types.size() < needed) prepared.parameter_types.resize(needed, 0);
  for (uint32_t& type : prepared.parameter_types) {
    if (type == 0) type = kTextOid;
  }
  session.prepared[std::string(message.name)] = std::move(prepared);
  wire::put_empty(session.out, wire::kParseComplete);
}

void ConsoleImpl::on_bind(Session& session, std::string_view body) {
  BindMessage message;
  if (!parse_bind(body, message)) return extended_error(session, "malformed Bind message", "08P01");
  const auto at = session.prepared.find(message.statement);
  if (at == session.prepared.end()) {
    return extended_error(session, fmt::format("prepared statement \"{}\" does not exist", message.statement),
                          "26000");
  }
  const Prepared& prepared = at->second;
  if (message.values.size() != prepared.parameter_types.size()) {
    return extended_error(
        session,
        fmt::format("bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                    message.values.size(), message.statement, prepared.parameter_types.size()),
        "08P01");
  }
  if (!message.portal.empty() && session.portals.contains(message.portal)) {
    return extended_error(session, fmt::format("cursor \"{}\" already exists", message.portal), "42P03");
  }
  if (session.portals.size() >= kPortalsMax) return extended_error(session, "too many portals", "54000");
  const size_t columns = prepared.command ? columns_of_command(*prepared.command).size() : 0;
  if (message.result_formats.size() > 1 && message.result_formats.size() != columns) {
    return extended_error(session, "bind message has the wrong number of result formats", "08P01");
  }
  Portal portal{.command = prepared.command, .formats = std::move(message.result_formats)};
  for (const bool of_value : {false, true}) {
    const int number = !portal.command ? 0
                       : of_value      ? portal.command->value_parameter
                                       : portal.command->argument_parameter;
    if (number == 0) continue;
    const auto index = static_cast<size_t>(number - 1);
    const auto& formats = message.parameter_formats;
    const bool binary =
        !formats.empty() && formats[formats.size() == 1 ? 0 : std::min(index, formats.size() - 1)] == 1;
    if (binary && !is_text_type(prepared.parameter_types[index])) {
      return extended_error(session, "the console takes parameters as text", "0A000");
    }
    const auto& value = message.values[index];
    const size_t most = of_value ? kValueMax : kArgumentMax;
    if (!value || value->size() > most || (value->empty() && !of_value))
      return extended_error(session, "bad arguments", "22023");
    (of_value ? portal.command->value : portal.command->argument) = *value;
  }
  session.portals[std::string(message.portal)] = std::move(portal);
  wire::put_empty(session.out, wire::kBindComplete);
}

void ConsoleImpl::on_describe(Session& session, std::string_view body) {
  wire::TargetMessage message;
  if (!wire::parse_target(body, message)) return extended_error(session, "malformed Describe message", "08P01");
  if (message.kind == 'P') {
    const auto at = session.portals.find(message.name);
    if (at == session.portals.end())
      return extended_error(session, fmt::format("portal \"{}\" does not exist", message.name), "34000");
    const auto& command = at->second.command;
    return put_description(session.out, command ? columns_of_command(*command) : std::span<const Column>(),
                           at->second.formats);
  }
  const auto at = session.prepared.find(message.name);
  if (at == session.prepared.end()) {
    return extended_error(session, fmt::format("prepared statement \"{}\" does not exist", message.name), "26000");
  }
  {
    wire::Message parameters(session.out, wire::kParameterDescription);
    wire::put16(session.out, static_cast<uint16_t>(at->second.parameter_types.size()));
    for (const uint32_t type : at->second.parameter_types) wire::put32(session.out, type);
  }
  const auto& command = at->second.command;
  put_description(session.out, command ? columns_of_command(*command) : std::span<const Column>(), {});
}

void ConsoleImpl::on_execute(Session& session, std::string_view body) {
  std::string_view name;
  if (!wire::take_cstring(body, name) || body.size() != 4)
    return extended_error(session, "malformed Execute message", "08P01");
  const auto at = session.portals.find(name);
  if (at == session.portals.end())
    return extended_error(session, fmt::format("portal \"{}\" does not exist", name), "34000");
  Portal& portal = at->second;
  session.row_limit = static_cast<int32_t>(wire::read32(body.data()));
  if (!portal.command) return wire::put_empty(session.out, wire::kEmptyQueryResponse);
  if (portal.done) {
    if (portal.table) return put_rows(session, portal);
    return extended_error(session, fmt::format("portal \"{}\" cannot be run", name), "55000");
  }
  counters_.query_count++;
  counters_.xact_count++;
  session.executing = name;
  start(session, *portal.command);
}

// The end of a command that an Execute began.
void ConsoleImpl::answer_execute(Session& session, Reply& reply) {
  if (!reply.error.empty()) {
    put_error(session, reply);
    session.skipping = true;
    return;
  }
  const auto at = session.portals.find(session.executing);
  ASSERT(at != session.portals.end());  // nothing is read while a command is under way, so nothing can have closed it
  Portal& portal = at->second;
  portal.done = true;
  if (reply.table) {
    portal.table = std::move(reply.table);
    return put_rows(session, portal);
  }
  wire::Message complete(session.out, wire::kCommandComplete);
  wire::put_cstring(session.out, reply.tag);
}

void ConsoleImpl::put_rows(Session& session, Portal& portal) {
  size_t left = session.row_limit > 0 ? static_cast<size_t>(session.row_limit) : SIZE_MAX;
  for (; portal.next_row < portal.table->size() && left > 0; --left) {
    portal.table->put_row(session.out, portal.next_row++, portal.formats);
  }
  if (left == 0) return wire::put_empty(session.out, wire::kPortalSuspended);
  wire::Message complete(session.out, wire::kCommandComplete);
  wire::put_cstring(session.out, command_tag(*portal.command));
}

void ConsoleImpl::on_close(Session& session, std::string_view body) {
  wire::TargetMessage message;
  if (!wire::parse_target(body, message)) return extended_error(session, "malformed Close message", "08P01");
  if (message.kind == 'P') {
    const auto at = session.portals.find(message.name);
    if (at != session.portals.end()) session.portals.erase(at);
  } else {
    const auto at = session.prepared.find(message.name);
    if (at != session.prepared.end()) session.prepared.erase(at);
  }
  wire::put_empty(session.out, wire::kCloseComplete);
}

}  // namespace berth::admin
