// See hba.h: from the texts of auth_hba_file and auth_ident_file to rules. Reading goes on after a mistake, so that
// all are found at once.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "config/hba.h"
#include "config/hba_words.h"

namespace berth::config {

namespace {

struct MethodWord {
  std::string_view text;
  HbaMethod method;
};
constexpr MethodWord kMethods[] = {{"trust", HbaMethod::kTrust},       {"reject", HbaMethod::kReject},
                                   {"password", HbaMethod::kPassword}, {"plain", HbaMethod::kPassword},
                                   {"md5", HbaMethod::kMd5},           {"scram-sha-256", HbaMethod::kScramSha256},
                                   {"peer", HbaMethod::kPeer},         {"cert", HbaMethod::kCert},
                                   {"pam", HbaMethod::kPam},           {"ldap", HbaMethod::kLdap}};
constexpr std::string_view kMethodsOfPostgres[] = {"gss", "sspi", "ident", "radius", "bsd", "oauth", "any"};

template <typename List>
bool is_one_of(std::string_view text, const List& list) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

std::string beside(const std::string& parent, std::string_view name) {
  const size_t slash = parent.rfind('/');
  if (name.starts_with('/') || slash == std::string::npos) return std::string(name);
  return parent.substr(0, slash + 1).append(name);
}

// Empty: done, else why not.
std::string parse_bits(std::string_view text, HbaAddress& out) {
  const unsigned most = out.family == HbaAddress::Family::kIpv4 ? 32 : 128;
  unsigned bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  if (error != std::errc() || end != text.data() + text.size() || bits > most) {
    return fmt::format("\"/{}\" is not a number of bits from 0 to {}", text, most);
  }
  for (unsigned bit = 0; bit < bits; ++bit) out.mask[bit / 8] |= static_cast<unsigned char>(0x80 >> bit % 8);
  return {};
}

bool parse_ip_bytes(HbaAddress::Family family, const std::string& text, std::array<unsigned char, 16>& out) {
  return inet_pton(family == HbaAddress::Family::kIpv4 ? AF_INET : AF_INET6, text.c_str(), out.data()) == 1;
}

class Parser {
 public:
  Parser(const ReadFile& read, ParsedHba& out) : read_(read), out_(out) {}
  void read_ident(const std::string& path);
  void read_rules(const std::string& path);

 private:
  struct Place {
    const std::string& file;
    int line;
  };
  enum class List { kDatabases, kUsers };

  bool mistake(const Place& at, std::string text) {
    if (out_.mistakes.size() < kHbaMistakesMax) out_.mistakes.push_back({at.file, at.line, {}, std::move(text)});
    return false;
  }
  template <typename Take>
  void each_line(const std::string& file, std::string_view text, Take take);
  std::optional<std::string> read_named(const Place& at, const std::string& path);

  void take_rule(const Place& at, const std::vector<HbaField>& fields);
  bool take_names(const Place& at, const HbaField& field, List list, size_t depth, HbaNames& out);
  bool take_name(const Place& at, const HbaWord& word, List list, size_t depth, HbaNames& out);
  bool take_name_file(const Place& at, const std::string& path, List list, size_t depth, HbaNames& out);
  bool take_address(const Place& at, const std::vector<HbaField>& fields, size_t& next, HbaAddress& out);
  bool take_method(const Place& at, const HbaField& field, HbaRule& rule);
  bool take_option(const Place& at, const HbaField& field, HbaRule& rule);
  bool take_client_name(const Place& at, std::string_view which, HbaRule& rule);
  bool take_map(const Place& at, std::string_view value, HbaRule& rule);
  bool take_pam_option(const Place& at, std::string_view name, std::string_view value, HbaRule& rule);
  void take_ident(const Place& at, const std::vector<HbaField>& fields);
  bool known_map(std::string_view name) const;

  const ReadFile& read_;
  ParsedHba& out_;
  bool has_ident_ = false;
  size_t names_ = 0;       // of all rules
  size_t name_files_ = 0;  // how often @file was read, and the bytes that it brought
  size_t named_size_ = 0;
};

template <typename Take>
void Parser::each_line(const std::string& file, std::string_view text, Take take) {
  for (int number = 1; !text.empty() && out_.mistakes.size() < kHbaMistakesMax; ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const Place at{file, number};
    if (line.size() > kHbaLineSizeMax) {
      mistake(at, fmt::format("the line is longer than {} bytes", kHbaLineSizeMax));
      continue;
    }
    const Result<std::vector<HbaField>> fields = split_hba_line(line);
    if (!fields) {
      mistake(at, fields.error().text);
    } else if (!fields.value().empty()) {
      take(at, fields.value());
    }
  }
}

std::optional<std::string> Parser::read_named(const Place& at, const std::string& path) {
  Result<std::string> text = read_(path);
  if (!text) {
    mistake(at, text.error().text);
    return std::nullopt;
  }
  if (text.value().size() > kHbaFileSizeMax) {
    mistake(at, fmt::format("\"{}\" is larger than {} MB", path, kHbaFileSizeMax >> 20));
    return std::nullopt;
  }
  return std::move(text.value());
}

// ---- auth_ident_file

void Parser::read_ident(const std::string& path) {
  const std::optional<std::string> text = read_named({path, 0}, path);
  has_ident_ = true;
  if (!text) return;
  each_line(path, *text, [this](const Place& at, const std::vector<HbaField>& fields) { take_ident(at, fields); });
}

void Parser::take_ident(const Place& at, const std::vector<HbaField>& fields) {
  const bool lists =
      std::any_of(fields.begin(), fields.end(), [](const HbaField& field) { return field.size() > 1; });
  if (fields.size() != 3 || lists) {
    mistake(at, "expected three words: MAP SYSTEM-USER USER");
    return;
  }
  const HbaWord &map = fields[0][0], &system = fields[1][0], &user = fields[2][0];
  for (const HbaWord* word : {&map, &system, &user}) {
    if (word->text.empty()) {
      mistake(at, "an empty name");
      return;
    }
    if (word->text.front() == '/' || (!word->quoted && (word->text.front() == '+' || word->text.front() == '@'))) {
      mistake(at, fmt::format("\"{}\": regular expressions, +role and @file are not supported here", word->text));
      return;
    }
  }
  if (out_.hba.ident.size() == kIdentLinesMax) {
    mistake(at, fmt::format("more than {} lines", kIdentLinesMax));
    return;
  }
  out_.hba.ident.push_back({map.text, system.text, user.is("all") ? std::string() : user.text});
}

bool Parser::known_map(std::string_view name) const {
  return std::any_of(out_.hba.ident.begin(), out_.hba.ident.end(),
                     [&](const IdentLine& line) { return line.map == name; });
}

// ---- auth_hba_file

void Parser::read_rules(const std::string& path) {
  out_.hba.file = path;
  const size_t mistakes = out_.mistakes.size();
  const std::optional<std::string> text = read_named({path, 0}, path);
  if (!text) return;
  each_line(path, *text, [this](const Place& at, const std::vector<HbaField>& fields) { take_rule(at, fields); });
  // What a copy that was cut off leaves behind: on a reload it would lock everybody out.
  if (out_.hba.rules.empty() && out_.mistakes.size() == mistakes) {
    mistake({path, 0}, "it has no rule: nobody could log in. Is the file complete?");
  }
}

void Parser::take_rule(const Place& at, const std::vector<HbaField>& fields) {
  HbaRule rule;
  rule.line = at.line;
  const HbaWord& record = fields[0][0];
  if (record.is("local")) {
    rule.record = HbaRecord::kLocal;
  } else if (record.is("host")) {
    rule.record = HbaRecord::kHost;
  } else if (record.is("hostssl")) {
    rule.record = HbaRecord::kHostSsl;
  } else if (record.is("hostnossl")) {
    rule.record = HbaRecord::kHostNoSsl;
  } else {
    mistake(at, fmt::format("\"{}\" is not one of local, host, hostssl, hostnossl", record.text));
    return;
  }
  const bool local = rule.record == HbaRecord::kLocal;
  size_t next = 3;
  if (fields[0].size() > 1 || fields.size() < (local ? 4u : 5u)) {
    mistake(at, local ? "expected: local DATABASES USERS METHOD"
                      : fmt::format("expected: {} DATABASES USERS ADDRESS METHOD", record.text));
    return;
  }
  // Each part is looked at, whatever is wrong with the others.
  bool good = take_names(at, fields[1], List::kDatabases, 0, rule.databases);
  good = take_names(at, fields[2], List::kUsers, 0, rule.users) && good;
  if (!local && !take_address(at, fields, next, rule.address)) return;
  if (next >= fields.size()) {
    mistake(at, "the method is missing");
    return;
  }
  good = take_method(at, fields[next], rule) && good;
  for (++next; next < fields.size(); ++next) good = take_option(at, fields[next], rule) && good;
  if (good && rule.method == HbaMethod::kLdap) {
    std::string why = check_ldap_options(rule.ldap);
    good = why.empty() || mistake(at, std::move(why));
  }
  if (!good) return;
  if (out_.hba.rules.size() == kHbaRulesMax) {
    mistake(at, fmt::format("more than {} rules", kHbaRulesMax));
    return;
  }
  out_.hba.rules.push_back(std::move(rule));
}

bool Parser::take_names(const Place& at, const HbaField& field, List list, size_t depth, HbaNames& out) {
  bool good = true;
  for (const HbaWord& word : field) good = take_name(at, word, list, depth, out) && good;
  if (depth == 0) {
    std::sort(out.names.begin(), out.names.end());
    out.names.erase(std::unique(out.names.begin(), out.names.end()), out.names.end());
  }
  return good;
}

bool Parser::take_name(const Place& at, const HbaWord& word, List list, size_t depth, HbaNames& out) {
  constexpr std::string_view kGroups[] = {"samerole", "samegroup"};
  const bool databases = list == List::kDatabases;
  if (word.is("all")) return out.all = true;
  if (databases && word.is("sameuser")) return out.same_user = true;
  if (databases && word.is("replication")) return out.replication = true;
  if (word.text.empty()) return mistake(at, "an empty name");
  if (!word.quoted && is_one_of(word.text, kGroups)) {
    return mistake(at, fmt::format("{} is not supported: the broker does not know who is in a role", word.text));
  }
  // PgBouncer takes it for a keyword here, PostgreSQL for a name.
  if (!databases && word.is("sameuser")) return mistake(at, "sameuser is a keyword of databases: a name is quoted");
  if (!word.quoted && word.text.front() == '+') {
    return mistake(at, fmt::format("{} is not supported: the broker does not know who is in a role", word.text));
  }
  if (word.text.front() == '/')
    return mistake(at, fmt::format("{}: regular expressions are not supported", word.text));
  if (!word.quoted && word.text.front() == '@') {
    if (word.text.size() == 1) return mistake(at, "@ without a file");
    return take_name_file(at, beside(at.file, std::string_view(word.text).substr(1)), list, depth + 1, out);
  }
  if (names_ == kHbaNamesMax) return mistake(at, fmt::format("more than {} names in all", kHbaNamesMax));
  ++names_;
  out.names.push_back(word.text);
  return true;
}

bool Parser::take_name_file(const Place& at, const std::string& path, List list, size_t depth, HbaNames& out) {
  if (depth > kHbaDepthMax)
    return mistake(at, fmt::format("files of names are nested more than {} deep", kHbaDepthMax));
  if (++name_files_ > kHbaNameFilesMax)
    return mistake(at, fmt::format("@ more than {} times in all", kHbaNameFilesMax));
  const std::optional<std::string> text = read_named(at, path);
  if (!text) return false;
  named_size_ += text->size();
  if (named_size_ > kHbaTotalSizeMax) {
    return mistake(at, fmt::format("the files of names have more than {} MB in all", kHbaTotalSizeMax >> 20));
  }
  const size_t mistakes = out_.mistakes.size();
  each_line(path, *text, [&](const Place& inner, const std::vector<HbaField>& fields) {
    for (const HbaField& field : fields) take_names(inner, field, list, depth, out);
  });
  return out_.mistakes.size() == mistakes;
}

bool Parser::take_address(const Place& at, const std::vector<HbaField>& fields, size_t& next, HbaAddress& out) {
  using Family = HbaAddress::Family;
  const HbaField& field = fields[next++];
  const HbaWord& word = field[0];
  if (field.size() > 1) return mistake(at, "one address in each line, no list");
  if (word.is("all")) {
    out.family = Family::kAll;
    return true;
  }
  if (word.is("samehost") || word.is("samenet")) {
    return mistake(at, fmt::format("{} is not supported: write the addresses", word.text));
  }
  const size_t slash = word.text.find('/');
  const std::string address = word.text.substr(0, slash);
  out.family = address.find(':') == std::string::npos ? Family::kIpv4 : Family::kIpv6;
  if (!parse_ip_bytes(out.family, address, out.bytes)) {
    return mistake(at, fmt::format("\"{}\" is not an address (host names are not supported)", word.text));
  }
  if (slash != std::string::npos) {
    const std::string why = parse_bits(std::string_view(word.text).substr(slash + 1), out);
    if (!why.empty()) return mistake(at, why);
  } else {
    // The mask is a word of its own, without which a method would stand here.
    const bool there = next < fields.size() && fields[next].size() == 1;
    if (!there || !parse_ip_bytes(out.family, fields[next][0].text, out.mask)) {
      return mistake(at, fmt::format("expected a mask after {}: {}/{}, or a second word", address, address,
                                     out.family == Family::kIpv4 ? 32 : 128));
    }
    ++next;
  }
  for (size_t i = 0; i < out.bytes.size(); ++i) {
    if ((out.bytes[i] & ~out.mask[i]) != 0)
      return mistake(at, fmt::format("{} has bits outside of its mask", address));
  }
  return true;
}

bool Parser::take_method(const Place& at, const HbaField& field, HbaRule& rule) {
  const std::string& text = field[0].text;
  if (field.size() > 1) return mistake(at, "one method in each line, no list");
  if (is_one_of(text, kMethodsOfPostgres)) return mistake(at, fmt::format("method {} is not supported", text));
  for (const MethodWord& known : kMethods) {
    if (!field[0].is(known.text)) continue;
    rule.method = known.method;
    if (rule.method == HbaMethod::kPeer && rule.record != HbaRecord::kLocal) {
      return mistake(at, "peer works for local only: over TCP nobody says whose process it is");
    }
    if (rule.method == HbaMethod::kCert && rule.record != HbaRecord::kHostSsl) {
      return mistake(at, "cert works for hostssl only: a certificate comes with TLS");
    }
    return true;
  }
  return mistake(
      at,
      fmt::format("\"{}\" is not one of trust, reject, password, md5, scram-sha-256, peer, cert, pam, ldap", text));
}

// Nothing of a value is repeated in a mistake: it may be a secret that was misspelt into another option.
bool Parser::take_option(const Place& at, const HbaField& field, HbaRule& rule) {
  const std::string_view text = field[0].text;
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  if (field.size() > 1 || equals == std::string_view::npos) {
    return mistake(at, fmt::format("option \"{}\" is not NAME=VALUE (a value with a comma stands in quotes)", name));
  }
  const std::string_view value = text.substr(equals + 1);
  if (name == "map") return take_map(at, value, rule);
  if (name == "clientname") return take_client_name(at, value, rule);
  if (name.starts_with("pam")) return take_pam_option(at, name, value, rule);
  if (!name.starts_with("ldap")) {
    return mistake(at, fmt::format("option \"{}\" is not supported", name));
  }
  if (rule.method != HbaMethod::kLdap) return mistake(at, fmt::format("{}= works with ldap only", name));
  std::string why = take_ldap_option(name, value, rule.ldap);
  return why.empty() || mistake(at, std::move(why));
}

bool Parser::take_pam_option(const Place& at, std::string_view name, std::string_view value, HbaRule& rule) {
  if (rule.method != HbaMethod::kPam) return mistake(at, fmt::format("{}= works with pam only", name));
  if (name == "pamservice") {
    if (value.empty() || value.find('/') != std::string_view::npos || value.find('\0') != std::string_view::npos) {
      return mistake(at, "pamservice= needs the name of a file in /etc/pam.d");
    }
    rule.pam_service = value;
    return true;
  }
  if (name == "pam_use_hostname") {
    if (value == "0") return true;
    return mistake(at, "pam_use_hostname=1 is not supported: PAM is told the address");
  }
  return mistake(at, fmt::format("option \"{}\" is not supported", name));
}

// By which of its names a certificate is meant.
bool Parser::take_client_name(const Place& at, std::string_view which, HbaRule& rule) {
  if (rule.method != HbaMethod::kCert) return mistake(at, "clientname= works with cert only");
  if (which != "CN" && which != "DN") return mistake(at, "clientname= is CN or DN");
  rule.whole_name = which == "DN";
  return true;
}

bool Parser::take_map(const Place& at, std::string_view value, HbaRule& rule) {
  if (rule.method != HbaMethod::kPeer && rule.method != HbaMethod::kCert) {
    return mistake(at, "map= works with peer and cert only");
  }
  if (!rule.map.empty()) return mistake(at, "map= comes twice");
  rule.map = value;
  if (rule.map.empty()) return mistake(at, "map= without a name");
  if (!has_ident_) return mistake(at, fmt::format("map {}: auth_ident_file is not set", rule.map));
  if (!known_map(rule.map)) return mistake(at, fmt::format("map {}: auth_ident_file has no such map", rule.map));
  return true;
}

}  // namespace

ParsedHba parse_hba(const std::string& path, const std::string& ident_path, const ReadFile& read) {
  ParsedHba out;
  Parser parser(read, out);
  if (!ident_path.empty()) parser.read_ident(ident_path);
  parser.read_rules(path);
  return out;
}

std::string_view to_string(HbaMethod method) {
  for (const MethodWord& known : kMethods) {
    if (known.method == method) return known.text;
  }
  return {};
}

}  // namespace berth::config
