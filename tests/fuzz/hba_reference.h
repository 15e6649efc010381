// pg_hba.conf and pg_ident.conf once more, from PostgreSQL's manual (21.1 and 21.2) and with nothing of the broker's
// own: which line of a text decides. Only for texts without mistakes, and slow.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace berth::hba_reference {

struct Word {
  std::string text;
  bool bare = true;  // does not begin with a quote
};
using Field = std::vector<Word>;  // the words that commas join
struct Line {
  int number;
  std::vector<Field> fields;
};
using Lines = std::vector<Line>;
using Files = std::map<std::string, Lines>;

struct Who {
  bool unix_socket = false, ssl = false, physical_replication = false;
  std::string ip;  // four or sixteen bytes
  std::string database, user;
};

inline std::vector<Field> fields_of(std::string_view line) {
  std::vector<Field> fields;
  bool quoting = false, word = false, joined = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool space = std::string_view(" \t\n\v\f\r").find(c) != std::string_view::npos;
    if (!quoting && c == '#') break;
    if (!quoting && (space || c == ',')) {
      word = false;
      joined = joined || (c == ',' && !fields.empty());
      continue;
    }
    if (!word) {
      if (!joined) fields.emplace_back();
      fields.back().push_back({{}, c != '"'});
      word = true;
      joined = false;
    }
    if (c != '"') {
      fields.back().back().text += c;
    } else if (quoting && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back().back().text += line[++i];
    } else {
      quoting = !quoting;
    }
  }
  return fields;
}

// The lines that have some, with their numbers.
inline Lines lines_of(std::string_view text) {
  Lines lines;
  size_t begin = 0;
  for (int number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::vector<Field> fields = fields_of(text.substr(begin, end - begin));
    if (!fields.empty()) lines.push_back({number, std::move(fields)});
    begin = end + 1;
  }
  return lines;
}

// "replication ... matches if a physical replication connection is requested", and nothing else matches that. For
// users
// (`databases` false) only `all` is a word of its own.
inline bool matches(const Files& files, const Field& list, const Who& who, bool databases) {
  const bool replication = databases && who.physical_replication;
  return std::any_of(list.begin(), list.end(), [&](const Word& word) {
    if (word.bare && word.text == "all") return !replication;
    if (databases && word.bare && word.text == "replication") return replication;
    if (databases && word.bare && word.text == "sameuser") return !replication && who.database == who.user;
    if (!word.bare || word.text[0] != '@') return !replication && word.text == (databases ? who.database : who.user);
    bool found = false;
    for (const Line& line : files.at(word.text.substr(1))) {
      for (const Field& field : line.fields) found = found || matches(files, field, who, databases);
    }
    return found;
  });
}

// "An entry given in IPv4 format will match only IPv4 connections, and an entry given in IPv6 format will match only
// IPv6 connections, even if the represented address is in the IPv4-in-IPv6 range."
inline bool matches(const std::vector<Field>& fields, const std::string& ip) {
  const Word& word = fields[3][0];
  if (word.bare && word.text == "all") return true;
  const size_t slash = word.text.find('/');
  const std::string number = word.text.substr(0, slash);
  const auto bytes = [](const std::string& text) {
    char out[16];
    if (inet_pton(AF_INET, text.c_str(), out) == 1) return std::string(out, 4);
    return inet_pton(AF_INET6, text.c_str(), out) == 1 ? std::string(out, 16) : std::string();
  };
  const std::string range = bytes(number), mask = slash == std::string::npos ? bytes(fields[4][0].text) : "";
  if (range.size() != ip.size()) return false;
  const size_t bits = slash == std::string::npos ? 8 * ip.size() : std::stoul(word.text.substr(slash + 1));
  for (size_t bit = 0; bit < bits; ++bit) {
    const auto has = [bit](const std::string& of) { return (of[bit / 8] >> (7 - bit % 8) & 1) != 0; };
    if ((mask.empty() || has(mask)) && has(range) != has(ip)) return false;
  }
  return true;
}

struct Decision {
  int line = 0;        // 0: none
  std::string method;  // its word
  std::vector<Field> options;

  // What the last NAME=VALUE of this name says; empty: there is none.
  std::string option(std::string_view name) const {
    std::string value;
    for (const Field& field : options) {
      const std::string& text = field[0].text;
      if (text.starts_with(name) && text.substr(name.size()).starts_with('=')) value = text.substr(name.size() + 1);
    }
    return value;
  }
};

inline Decision decide(const Files& files, const Who& who) {
  for (const auto& [number, fields] : files.at("hba")) {
    const std::string& record = fields[0][0].text;
    if (who.unix_socket != (record == "local")) continue;
    if ((record == "hostssl" && !who.ssl) || (record == "hostnossl" && who.ssl)) continue;
    if (!who.unix_socket && !matches(fields, who.ip)) continue;
    if (!matches(files, fields[1], who, true) || !matches(files, fields[2], who, false)) continue;
    const Word& address = fields[who.unix_socket ? 2 : 3][0];
    const bool masked = !(address.bare && address.text == "all") && address.text.find('/') == std::string::npos;
    const ptrdiff_t method = who.unix_socket ? 3 : masked ? 5 : 4;
    return {number, fields[static_cast<size_t>(method)][0].text, {fields.begin() + method + 1, fields.end()}};
  }
  return {};
}

// Whether `map` lets the person whom the system calls `system_user` in as `user`.
inline bool map_allows(const Files& files, const std::string& map, const std::string& system_user,
                       const std::string& user) {
  const Lines& lines = files.at("ident");
  return std::any_of(lines.begin(), lines.end(), [&](const Line& line) {
    const Word& as = line.fields[2][0];
    return line.fields[0][0].text == map && line.fields[1][0].text == system_user &&
           (as.text == user || (as.bare && as.text == "all"));
  });
}

}  // namespace berth::hba_reference
