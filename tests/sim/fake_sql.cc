// What the model's statements do. A statement is a word with arguments, and mostly a tag that says whose it is:
//
//   select TAG            one row            rows N SIZE TAG       N rows of SIZE bytes
//   sleep TAG             one row, later     echo WORD $1          one row: WORD, the value, settings at Parse
//   error TAG             fails              syntax TAG            fails at Parse
//   notice TAG            a notice, one row  fold TAG              the settings that a Parse depends on, at Parse
//   put VALUE TAG         writes             get TAG               what this client has written
//   copyin TAG, copyout N TAG                temp TAG, temps TAG   session state made, read
//   begin, commit, rollback, set, set local, reset, show, set_config, deallocate, discard all
#include <strings.h>

#include "base/assert.h"
#include "sim/fake_postgres.h"
#include "wire/encode.h"
#include "wire/frontend.h"

namespace berth::sim {

static std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && text[at] == ' ') ++at;
    if (text.substr(at, 2) == "/*") {
      at = text.find("*/", at);
      at = at == std::string_view::npos ? text.size() : at + 2;
      continue;
    }
    std::string word;
    if (at < text.size() && text[at] == '\'') {
      for (++at; at < text.size(); ++at) {
        if (text[at] == '\'' && (at + 1 >= text.size() || text[at + 1] != '\'')) break;
        if (text[at] == '\'') ++at;
        word += text[at];
      }
      ++at;
      words.push_back(word);
      continue;
    }
    while (at < text.size() && text[at] != ' ') word += text[at++];
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

void Backend::start() {
  if (started_) return;
  started_ = true;
  writes_.clear();
  saved_ = settings_;
  locals_.clear();
}

void Backend::commit() {
  for (const auto& [key, value] : writes_) cluster_.store[key] = value;
  writes_.clear();
  for (auto at = locals_.rbegin(); at != locals_.rend(); ++at) settings_[at->first] = at->second;
  locals_.clear();
  portals_.clear();
  started_ = block_ = failed_ = false;
  owner_ = -1;
}

void Backend::abort() {
  writes_.clear();
  locals_.clear();
  if (started_) settings_ = saved_;
  portals_.clear();
  started_ = block_ = failed_ = false;
  owner_ = -1;
}

// Two clients never share a server inside a transaction or a batch.
void Backend::own(std::string_view tag) {
  const int client = client_of_tag(tag);
  if (client < 0) return;
  if (owner_ >= 0 && owner_ != client && cluster_.violation) {
    cluster_.violation("clients " + std::to_string(owner_) + " and " + std::to_string(client) +
                       " share a transaction on pid " + std::to_string(pid_) + " (I4)");
  }
  owner_ = client;
}

Backend::Outcome Backend::check_syntax(std::string_view sql) const {
  if (sql.starts_with("syntax")) return Failure{"42601", "syntax error at or near \"" + tag_in(sql) + "\""};
  return std::nullopt;
}

std::string Backend::fold_now() const {
  std::string out;
  for (const char* name :
       {"DateStyle", "IntervalStyle", "TimeZone", "search_path", "client_encoding", "standard_conforming_strings"}) {
    out += settings_.at(name) + "/";
  }
  return out;
}

bool Backend::returns_rows(const Statement& statement) const {
  const std::string& sql = statement.sql;
  for (const char* word : {"select", "rows", "sleep", "echo", "notice", "fold", "get", "temps", "show", "SELECT"}) {
    if (sql.starts_with(word)) return true;
  }
  return false;
}

void Backend::put_row_description() {
  wire::Message message(out, wire::kRowDescription);
  wire::put16(out, 1);
  wire::put_cstring(out, "r");
  wire::put32(out, 0);
  wire::put16(out, 0);
  wire::put32(out, 25);
  wire::put16(out, 0xffff);
  wire::put32(out, 0xffffffff);
  wire::put16(out, 0);
}

void Backend::put_row(std::string_view text) {
  wire::Message message(out, wire::kDataRow);
  wire::put16(out, 1);
  wire::put32(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

// An error: the transaction fails or, outside a block, is rolled back.
void Backend::put_failure(const Failure& failure) {
  wire::put_error(out, wire::Severity::kError, failure.sqlstate, failure.text);
  if (block_) {
    const Settings before = saved_;
    settings_ = before;
    writes_.clear();
    locals_.clear();
    portals_.clear();
    failed_ = true;
  } else {
    abort();
  }
}

void Backend::put_notice(std::string_view sqlstate, std::string_view text) {
  wire::put_error(out, sqlstate == "00000" ? wire::Severity::kNotice : wire::Severity::kWarning, sqlstate, text);
}

void Backend::put_complete(std::string_view tag) {
  wire::Message message(out, wire::kCommandComplete);
  wire::put_cstring(out, tag);
}

void Backend::put_ready() {
  for (const auto& [name, value] : settings_) {
    if (is_reported(name) && reported_[name] != value) {
      wire::put_parameter_status(out, name, value);
      reported_[name] = value;
    }
  }
  if (!block_ && !started_) owner_ = -1;
  wire::put_ready(out, status());
}

// Null: back to the value of the session's start.
Backend::Outcome Backend::set(const std::string& name, const std::string* value, bool local) {
  const auto known = cluster_.defaults.find(name);
  if (known == cluster_.defaults.end())
    return Failure{"42704", "unrecognized configuration parameter \"" + name + "\""};
  for (const char* fixed :
       {"server_version", "server_encoding", "is_superuser", "integer_datetimes", "in_hot_standby"}) {
    if (strcasecmp(fixed, name.c_str()) == 0) return Failure{"55P02", "parameter \"" + name + "\" cannot be changed"};
  }
  std::string next = value ? *value : start_settings_.at(known->first);
  if (next == "bad") return Failure{"22023", "invalid value for parameter \"" + known->first + "\": \"bad\""};
  if (known->first == "DateStyle") {
    if (next == "ISO") next = "ISO, MDY";
    if (next == "German") next = "German, DMY";
  }
  if (known->first == "client_encoding" && strcasecmp(next.c_str(), "utf8") == 0) next = "UTF8";
  std::string& now = settings_[known->first];
  if (local) locals_.emplace_back(known->first, now);
  now = next;
  return std::nullopt;
}

// SELECT pg_catalog.set_config('name',VALUE,false),...: the broker's own way to set things. VALUE is a literal, NULL,
// or pg_catalog.current_setting('name').
Backend::Outcome Backend::run_set_config(std::string_view text, std::vector<std::string>& rows) {
  static constexpr std::string_view kCall = "pg_catalog.set_config(";
  const auto literal = [&text](std::string& into) {
    if (text.starts_with("NULL")) {
      text.remove_prefix(4);
      return false;
    }
    const bool escapes = text.starts_with("E");
    if (escapes) text.remove_prefix(1);
    ASSERT(text.starts_with("'"));
    text.remove_prefix(1);
    while (!text.empty()) {
      if (text[0] == '\'' && !text.starts_with("''")) break;
      if (text[0] == '\'' || (escapes && text[0] == '\\')) text.remove_prefix(1);
      into += text[0];
      text.remove_prefix(1);
    }
    text.remove_prefix(1);
    return true;
  };
  std::string row;
  for (size_t at = text.find(kCall); at != std::string_view::npos; at = text.find(kCall)) {
    text.remove_prefix(at + kCall.size());
    std::string name, value;
    literal(name);
    text.remove_prefix(1);
    static constexpr std::string_view kCurrent = "pg_catalog.current_setting(";
    const bool current = text.starts_with(kCurrent);
    if (current) text.remove_prefix(kCurrent.size());
    const bool given = literal(value);
    if (current) value = settings_.at(value);
    if (name.starts_with("pgberth_saved.")) {
      settings_[name] = value;
      continue;
    }
    if (const Outcome outcome = set(name, given ? &value : nullptr, false)) return outcome;
    row += value + ",";
  }
  rows.push_back(row);
  return std::nullopt;
}

Backend::Outcome Backend::run_setting(std::string_view text, std::vector<std::string>& rows, std::string& tag) {
  const std::vector<std::string> words = words_of(text);
  if (words[0] == "show") {
    const auto at = settings_.find(words.at(1));
    if (at == settings_.end()) return Failure{"42704", "unrecognized configuration parameter \"" + words[1] + "\""};
    rows.push_back(at->second);
    tag = "SHOW";
    return std::nullopt;
  }
  if (words[0] == "reset") {
    tag = "RESET";
    if (words.at(1) == "all") {
      settings_ = start_settings_;
      return std::nullopt;
    }
    return set(words[1], nullptr, false);
  }
  const wire::StatementCommand command = wire::parse_statement_command(text);
  tag = "SET";
  if (command.kind == wire::StatementCommand::Kind::kReset) return set(command.name, nullptr, false);
  const bool local = words.at(1) == "local";
  if (local && !block_) {
    put_notice("25P01", "SET LOCAL can only be used in transaction blocks");
    return std::nullopt;
  }
  const size_t name = local ? 2 : 1;
  return set(words.at(name), &words.at(name + 2), local);
}

Backend::Outcome Backend::run(const Statement& statement, const std::vector<std::string>& values,
                              std::vector<std::string>& rows, std::string& tag, bool many, bool& waiting) {
  const std::string& sql = statement.sql;
  const std::vector<std::string> words = words_of(sql);
  const std::string said = values.empty() ? "" : tag_in(values[0]);
  const std::string mark = said.empty() ? tag_in(sql) : said;  // also NULL is a value
  const std::string word = words.empty() ? "" : words[0];
  own(mark);
  running_tag_ = mark;
  if (failed_ && word != "commit" && word != "rollback") {
    return Failure{"25P02", "current transaction is aborted, commands ignored until end of transaction block"};
  }
  start();
  if (word.empty()) return std::nullopt;
  if (word == "begin") {
    if (block_) put_notice("25001", "there is already a transaction in progress");
    block_ = true;
    tag = "BEGIN";
    return std::nullopt;
  }
  if (word == "commit" || word == "rollback") {
    const bool commits = word == "commit" && !failed_;
    if (!block_) put_notice("25P01", "there is no transaction in progress");
    if (commits) {
      commit();
    } else {
      abort();
    }
    tag = commits ? "COMMIT" : "ROLLBACK";
    return std::nullopt;
  }
  if (word == "set" || word == "reset" || word == "show") return run_setting(sql, rows, tag);
  if (word == "SELECT") {
    tag = "SELECT 1";
    return run_set_config(sql, rows);
  }
  if (word == "DISCARD" || word == "discard") {
    if (block_ || many) return Failure{"25001", "DISCARD ALL cannot be executed inside a transaction block"};
    settings_ = start_settings_;
    std::erase_if(statements_, [](const auto& entry) { return !entry.first.empty(); });  // the unnamed one stays
    temp_.clear();
    tag = "DISCARD ALL";
    commit();
    return std::nullopt;
  }
  if (word == "deallocate" || word == "DEALLOCATE") {
    const wire::StatementCommand command = wire::parse_statement_command(sql);
    if (command.kind == wire::StatementCommand::Kind::kDeallocateAll) {
      std::erase_if(statements_, [](const auto& entry) { return !entry.first.empty(); });
      tag = "DEALLOCATE ALL";
      return std::nullopt;
    }
    if (statements_.erase(command.name) == 0) {
      return Failure{"26000", "prepared statement \"" + command.name + "\" does not exist"};
    }
    tag = "DEALLOCATE";
    return std::nullopt;
  }
  if (word == "ROLLBACK") {
    abort();
    tag = "ROLLBACK";
    return std::nullopt;
  }
  const std::string mine = std::to_string(client_of_tag(mark));
  tag = "SELECT 1";
  if (word == "select") {
    rows.push_back(mark);
  } else if (word == "rows") {
    const int count = std::stoi(words.at(1)), size = std::stoi(words.at(2));
    for (int i = 0; i < count; ++i)
      rows.push_back(mark + " " + std::to_string(i) + std::string(static_cast<size_t>(size), 'x'));
    tag = "SELECT " + std::to_string(count);
  } else if (word == "sleep") {
    sleeping_ = waiting = true;
    wake_at_ = cluster_.now + static_cast<Micros>((std::hash<std::string>{}(mark) % 1000) *
                                                  static_cast<uint64_t>(cluster_.sleep_most) / 1000);
    if (cluster_.oracle) {
      wake_at_ = 0;
      cancel_hit_ = cluster_.cancelled(mark);
    }
  } else if (word == "echo") {
    std::string row = words.at(1) + ":";
    for (const std::string& value : values) row += value + ":";
    rows.push_back(row + statement.folded);
  } else if (word == "error") {
    return Failure{"22012", "division by zero [" + mark + "]"};
  } else if (word == "notice") {
    put_notice("00000", "notice [" + mark + "]");
    rows.push_back(mark);
  } else if (word == "fold") {
    rows.push_back(mark + ":" + statement.folded);
  } else if (word == "put") {
    std::string& value = writes_[mine];
    if (value.empty()) value = cluster_.store[mine];
    value += " " + words.at(1);
    if (value.size() > 200) value = std::to_string(std::hash<std::string>{}(value));
    tag = "INSERT 0 1";
  } else if (word == "get") {
    rows.push_back(mark + ":" + (writes_.contains(mine) ? writes_[mine] : cluster_.store[mine]));
  } else if (word == "temp") {
    temp_ = mine;
    tag = "CREATE TABLE";
  } else if (word == "temps") {
    if (!temp_.empty() && temp_ != mine && cluster_.violation) {
      cluster_.violation("client " + mine + " sees the session state of client " + temp_ + " (I5)");
    }
    rows.push_back(mark + ":" + temp_);
  } else if (word == "copyin") {
    wire::Message message(out, wire::kCopyInResponse);
    out.append(1, '\0');
    wire::put16(out, 0);
    copy_ = waiting = true;
    copied_ = 0;
    copied_text_.clear();
  } else if (word == "copyout") {
    {
      wire::Message message(out, wire::kCopyOutResponse);
      out.append(1, '\0');
      wire::put16(out, 0);
    }
    const int count = std::stoi(words.at(1));
    for (int i = 0; i < count; ++i) {
      wire::Message data(out, wire::kCopyData);
      out += mark + " line " + std::to_string(i) + "\n";
    }
    wire::put_empty(out, wire::kCopyDone);
    tag = "COPY " + std::to_string(count);
  } else {
    return Failure{"42601", "syntax error at or near \"" + word + "\""};
  }
  return std::nullopt;
}

}  // namespace berth::sim
