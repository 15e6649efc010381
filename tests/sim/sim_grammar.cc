// What a simulated client says.
#include <algorithm>

#include "session/limits.h"
#include "sim/sim_client.h"
#include "sim/world.h"
#include "wire/encode.h"

namespace berth::sim {

void SimClient::put(std::string bytes) {
  out_ += bytes;
  world_.trace("client {} says {}", number_, show(bytes));
  sent_.push_back(std::move(bytes));
}

void SimClient::put_parse(std::string_view name, std::string_view sql, std::string_view types) {
  std::string bytes;
  wire::put_parse(bytes, name, sql, types);
  open_batch_ = true;
  put(bytes);
}

void SimClient::put_bind(std::string_view portal, std::string_view name, const Values& values,
                         std::string_view formats, std::string_view result_formats) {
  std::string bytes;
  {
    wire::Message bind(bytes, wire::kBind);
    wire::put_cstring(bytes, portal);
    wire::put_cstring(bytes, name);
    bytes += formats;
    wire::put16(bytes, static_cast<uint16_t>(values.size()));
    for (const auto& value : values) {
      wire::put32(bytes, value ? static_cast<uint32_t>(value->size()) : UINT32_MAX);
      if (value) bytes += *value;
    }
    bytes += result_formats;
  }
  said_long_name_ |= std::max(portal.size(), name.size()) > session::kBindNameMax;
  open_batch_ = true;
  put(bytes);
}

void SimClient::put_execute(std::string_view portal, uint32_t rows) {
  std::string bytes;
  {
    wire::Message execute(bytes, wire::kExecute);
    wire::put_cstring(bytes, portal);
    wire::put32(bytes, rows);
  }
  open_batch_ = true;
  put(bytes);
}

void SimClient::put_target(char tag, char kind, std::string_view name) {
  std::string bytes;
  {
    wire::Message target(bytes, tag);
    bytes += kind;
    wire::put_cstring(bytes, name);
  }
  said_long_name_ |= tag == wire::kDescribe && name.size() > session::kArena / 2;
  open_batch_ = true;
  put(bytes);
}

void SimClient::put_sync() {
  std::string bytes;
  wire::put_empty(bytes, wire::kSync);
  put(bytes);
  open_batch_ = false;
  ++pending_ready_;
}

// A statement without parameters. What a transaction pooler must not be asked for is left to session clients.
std::string SimClient::one_statement(bool simple) {
  const std::string tag = next_tag();
  for (;;) {
    switch (random_.below(16)) {
      case 0:
      case 1: return "select " + tag;
      case 2:
        return "rows " + std::to_string(random_.below(5)) + " " +
               std::to_string(random_.below(habits_.large ? 9000 : 40)) + " " + tag;
      case 3:
        if (!habits_.sleeps) continue;
        return simple && chance(50) ? "select " + tag : "sleep " + tag;
      case 4:
        if (!habits_.errors) continue;
        return (chance(70) ? "error " : "syntax ") + tag;
      case 5: return "notice " + tag;
      case 6:
        if (!habits_.blocks) continue;
        return pick({"begin /*", "begin /*", "commit /*", "rollback /*"}) + tag + "*/";
      case 7:
      case 8: return "put " + std::to_string(random_.below(100)) + " " + tag;
      case 9: return "get " + tag;
      case 10:
        if (!habits_.settings) continue;
        settings_in_flight_ = true;
        return set_statement(tag);
      case 11:
        if (settings_in_flight_) continue;
        return "show " + pick({"TimeZone", "DateStyle", "application_name", "extra_float_digits"}) + " /*" + tag +
               "*/";
      case 12:
        if (settings_in_flight_) continue;  // likewise, and the unnamed one may be bound again later
        return "fold " + tag;
      case 13:
        if (!habits_.session) continue;
        return pick({"temp ", "temps "}) + tag;
      case 14: return "temps " + tag;
      default:
        if (!habits_.copy) continue;
        return "copyout " + std::to_string(random_.below(4)) + " " + tag;
    }
  }
}

// With `own_values` a value may be just the server's own, and then only a RESET that stands alone is noticed by the
// broker: command_batch() says those.
std::string SimClient::set_statement(const std::string& tag) {
  const bool own = habits_.own_values;
  switch (random_.below(own ? 4 : 5)) {
    case 0:
      return "set TimeZone to " + pick({"'Asia/Tokyo'", own ? "'Etc/UTC'" : "'Europe/Rome'"}) + " /*" + tag + "*/";
    case 1:
      return "set DateStyle to " + pick({own ? "'ISO, MDY'" : "'ISO, YMD'", "'SQL, DMY'", "'German'", "'bad'"}) +
             " /*" + tag + "*/";
    case 2:
      return "set application_name to '" + (own && chance(30) ? "" : "x" + std::to_string(random_.below(3))) +
             "' /*" + tag + "*/";
    case 3: return "set local work_mem to '1MB' /*" + tag + "*/";
    default: return pick({"reset TimeZone /*", "reset all /*", "reset DateStyle /*"}) + tag + "*/";
  }
}

void SimClient::next_batch() {
  if (open_batch_) {  // begun in an earlier step
    if (chance(50)) {
      extended_batch();
    } else {
      put_sync();
    }
  } else {
    --batches_left_;
    for (bool said = false; !said;) {
      said = true;
      switch (random_.below(12)) {
        case 0:
        case 1:
        case 2:
        case 3:
          if ((said = habits_.simple)) simple_batch();
          break;
        case 4:
        case 5:
        case 6:
          if ((said = habits_.extended)) extended_batch();
          break;
        case 7:
        case 8:
          if ((said = habits_.named && habits_.extended)) prepared_batch();
          break;
        case 9:
          if ((said = habits_.functions)) function_batch();
          break;
        case 10:
          // Its data would be strays in the next batch if it could not start: only when nothing is under way.
          if ((said = habits_.copy)) {
            if (pending_ready_ == 0)
              copy_batch();
            else
              ++batches_left_;
          }
          break;
        default:
          if ((said = habits_.commands)) command_batch();
          break;
      }
    }
  }
  if (!leaving_ && chance(habits_.leave_percent)) {
    leaving_ = true;
    leave_after_ = random_.below(out_.size() + 1);
  }
}

void SimClient::simple_batch() {
  std::string sql;
  const uint64_t count = chance(70) ? 1 : random_.below(4);
  for (uint64_t i = 0; i < count; ++i) {
    sql += (i ? "; " : "") + one_statement(true);
  }
  std::string bytes;
  wire::put_query(bytes, sql);
  put(bytes);
  ++pending_ready_;
}

void SimClient::extended_batch() {
  const uint64_t count = 1 + random_.below(4);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string name = habits_.named && chance(20) ? pick({"a", "b", "c"}) : "";
    const std::string portal = chance(20) ? pick({"p", "q"}) : "";
    if (chance(90) || (name.empty() && (unnamed_is_barred_ || !habits_.carried))) {
      put_parse(name, one_statement(false));
    } else {
      settings_in_flight_ |= habits_.settings;  // it may be an old SET
    }
    if (chance(10)) put_target(wire::kDescribe, 'S', name);
    if (chance(95)) put_bind(portal, name);
    if (chance(40)) put_target(wire::kDescribe, 'P', portal);
    if (chance(95)) put_execute(portal, chance(20) ? 1 + static_cast<uint32_t>(random_.below(3)) : 0);
    if (chance(10)) put_execute(portal, 0);
    if (chance(20)) put_target(wire::kClose, chance(50) ? 'P' : 'S', chance(50) ? name : portal);
    if (habits_.flush && chance(10)) {
      std::string bytes;
      wire::put_empty(bytes, wire::kFlush);
      open_batch_ = true;
      put(bytes);
    }
  }
  if (!habits_.flush || chance(80)) put_sync();
}

// Named statements with a parameter: their texts are shared by all clients.
void SimClient::prepared_batch() {
  const uint64_t count = 1 + random_.below(3);
  for (uint64_t i = 0; i < count; ++i) {
    // A statement of a batch that fails keeps settings that the batch has put back, and RESET behind other statements
    // of a Query is seen late: see docs.
    const bool unsure = settings_in_flight_ && open_batch_;
    const uint64_t which = random_.below(6);
    const std::string name = settings_in_flight_ || chance(80) ? "s" + std::to_string(which) : std::string();
    const std::string sql = "echo w" + std::to_string(which) + " $1";
    if (!unsure && (name.empty() || !names_.contains(name) || chance(10))) {
      put_parse(name, sql, std::string_view("\0\1\0\0\0\x19", 6));
      names_.insert(name);
    }
    if (chance(10)) put_target(wire::kDescribe, 'S', name);
    if (chance(90)) {
      const std::string tag = next_tag();
      put_bind("", name, chance(97) ? Values{tag} : Values());
      put_execute("", 0);
    }
    if (chance(10)) {
      put_target(wire::kClose, 'S', name);
      names_.erase(name);
    }
    if (habits_.errors && chance(7)) {
      put_parse("", "syntax " + next_tag());
    }
    if (chance(20)) put_sync();
  }
  put_sync();
}

void SimClient::function_batch() {
  const std::string tag = next_tag();
  std::string bytes;
  {
    wire::Message call(bytes, wire::kFunctionCall);
    wire::put32(bytes, 1);
    wire::put16(bytes, 0);
    wire::put16(bytes, 1);
    wire::put32(bytes, static_cast<uint32_t>(tag.size()));
    bytes += tag;
    wire::put16(bytes, 0);
  }
  put(bytes);
  ++pending_ready_;
}

void SimClient::copy_data() {
  const uint64_t lines = random_.below(4);
  for (uint64_t i = 0; i < lines; ++i) {
    std::string bytes;
    {
      wire::Message data(bytes, wire::kCopyData);
      bytes += "line of " + next_tag() + "\n";
    }
    put(bytes);
  }
  std::string bytes;
  if (chance(75)) {
    wire::put_empty(bytes, wire::kCopyDone);
  } else {
    wire::Message fail(bytes, wire::kCopyFail);
    wire::put_cstring(bytes, "no more");
  }
  put(bytes);
  if (copies_due_ > 0 && sync_after_copy_) put(std::string("S\0\0\0\4", 5));
}

void SimClient::copy_batch() {
  std::string sql = "copyin " + next_tag();
  const bool simple = chance(50), ahead = chance(40);
  if (simple) {
    const int copies = chance(30) ? 2 : 1;
    if (copies == 2) sql += "; copyin " + next_tag();
    sync_after_copy_ = false;
    std::string bytes;
    wire::put_query(bytes, sql);
    put(bytes);
    ++pending_ready_;
    copies_fed_ = ahead ? 1 + static_cast<int>(random_.below(static_cast<uint64_t>(copies))) : 0;
    copies_due_ = copies - copies_fed_;
    for (int i = 0; i < copies_fed_; ++i) copy_data();
    return;
  }
  put_parse("", sql);
  put_bind("", "");
  put_execute("", 0);
  put_sync();
  sync_after_copy_ = unnamed_is_barred_ = true;
  copies_due_ = ahead ? 0 : 1;
  if (!ahead) return;
  copy_data();
  put_sync();
  copy_ahead_ = true;
}

void SimClient::command_batch() {
  std::string sql;
  switch (random_.below(6)) {
    case 0: sql = "deallocate all"; break;
    case 1:
    case 2:
    case 3:
      if (!habits_.settings) return;
      sql = pick({"discard all", "reset all", "reset TimeZone", "set DateStyle to default", "reset application_name",
                  "set session extra_float_digits = default"});
      settings_in_flight_ = true;
      break;
    default: sql = "deallocate " + pick({"s0", "s1", "s2", "a", "b"}); break;
  }
  sql += " /*" + next_tag() + "*/";
  names_.clear();  // more than needed: what PostgreSQL still knows is refused by 42P05
  if (chance(60)) {
    std::string bytes;
    wire::put_query(bytes, sql);
    put(bytes);
    ++pending_ready_;
    return;
  }
  put_parse("", sql);
  put_bind("", "");
  put_execute("", 0);
  unnamed_is_barred_ = true;
  put_sync();
}

}  // namespace berth::sim
