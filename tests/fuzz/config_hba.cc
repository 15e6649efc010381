// Fuzzes auth_hba_file, auth_ident_file, a file of names, names of clients and auth_ldap_options (apart by lines of
// %): nothing breaks, sizes hold, what was read and written again reads the same, and the line that decides is the
// one that PostgreSQL's manual says (hba_reference.h), for clients in and just outside of each rule's addresses.
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "base/assert.h"
#include "config/hba.h"
#include "fuzz/hba_reference.h"

namespace berth::config {

using Family = HbaAddress::Family;

static std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

static std::string written(const HbaNames& list) {
  std::string out;
  const auto add = [&](const std::string& word) { out += (out.empty() ? "" : ",") + word; };
  if (list.all) add("all");
  if (list.same_user) add("sameuser");
  if (list.replication) add("replication");
  for (const std::string& name : list.names) add(quoted(name));
  return out;
}

static std::string written(const std::array<unsigned char, 16>& bytes, Family family) {
  std::string out;
  for (size_t i = 0; i < (family == Family::kIpv4 ? 4 : 16); i += family == Family::kIpv4 ? 1 : 2) {
    if (family == Family::kIpv4) {
      out += fmt::format("{}{}", i == 0 ? "" : ".", bytes[i]);
    } else {
      out += fmt::format("{}{:02x}{:02x}", i == 0 ? "" : ":", bytes[i], bytes[i + 1]);
    }
  }
  return out;
}

static std::string hba_option(std::string_view name, const std::string& value) {
  return " " + quoted(fmt::format("{}={}", name, value));
}
static std::string ldap_option(std::string_view name, const std::string& value) {
  return fmt::format(" {}={}", name, quoted(value));
}

// What only a URL can say comes first; the rest says everything anew.
template <typename Option>
std::string written(const LdapOptions& ldap, Option option) {
  std::string out;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) out += option(name, value);
  };
  if (ldap.scope == LdapOptions::Scope::kBase) out += " ldapurl=ldap:///??base";
  if (ldap.scope == LdapOptions::Scope::kOne) out += " ldapurl=ldap:///??one";
  if (ldap.simple) out += " ldapprefix=";
  add("ldapscheme", ldap.scheme);
  add("ldapserver", ldap.server);
  if (ldap.port != 0) add("ldapport", std::to_string(ldap.port));
  if (ldap.tls) add("ldaptls", "1");
  add("ldapprefix", ldap.prefix);
  add("ldapsuffix", ldap.suffix);
  add("ldapbasedn", ldap.base_dn);
  add("ldapbinddn", ldap.bind_dn);
  add("ldapbindpasswd", ldap.bind_password);
  add("ldapsearchattribute", ldap.search_attribute);
  add("ldapsearchfilter", ldap.search_filter);
  return out;
}

static std::string written(const HbaRule& rule) {
  constexpr std::string_view kRecords[] = {"local", "host", "hostssl", "hostnossl"};
  std::string out =
      fmt::format("{} {} {} ", kRecords[static_cast<int>(rule.record)], written(rule.databases), written(rule.users));
  const Family family = rule.address.family;
  ASSERT((family == Family::kNone) == (rule.record == HbaRecord::kLocal));
  if (family == Family::kAll) out += "all ";
  if (family == Family::kIpv4 || family == Family::kIpv6) {
    out += written(rule.address.bytes, family) + " " + written(rule.address.mask, family) + " ";
  }
  out += to_string(rule.method);
  if (!rule.map.empty()) out += " map=" + quoted(rule.map);
  if (rule.whole_name) out += " clientname=DN";
  if (!rule.pam_service.empty()) out += hba_option("pamservice", rule.pam_service);
  return out + written(rule.ldap, hba_option) + "\n";
}

static void try_rewriting(const Hba& hba) {
  std::string rules, ident;
  for (const HbaRule& rule : hba.rules) {
    // An empty file of names leaves a list that no line can have.
    if (written(rule.databases).empty() || written(rule.users).empty()) return;
    rules += written(rule);
  }
  for (const IdentLine& line : hba.ident) {
    ident += quoted(line.map) + " " + quoted(line.system_user) + " " +
             (line.user.empty() ? std::string("all") : quoted(line.user)) + "\n";
  }
  const ParsedHba again = parse_hba(
      "hba", "ident", [&](const std::string& path) -> Result<std::string> { return path == "hba" ? rules : ident; });
  ASSERT(again.mistakes.empty() && again.hba.rules.size() == hba.rules.size() && again.hba.ident == hba.ident);
  for (size_t i = 0; i < hba.rules.size(); ++i) {
    HbaRule same = again.hba.rules[i];
    same.line = hba.rules[i].line;
    ASSERT(same == hba.rules[i]);
  }
}

// Whom the names belong to does not matter: any may come as a user and ask for any as a database.
static std::vector<std::string> names_to_try(const Hba& hba, const hba_reference::Lines& more) {
  std::set<std::string> names = {"", "all", "anna", "postgres", "replication", "sameuser", "shop"};
  const auto add = [&](const std::vector<std::string>& of) {
    names.insert(of.begin(), of.begin() + static_cast<ptrdiff_t>(std::min<size_t>(of.size(), 4)));
  };
  for (const HbaRule& rule : hba.rules) {
    add(rule.databases.names);
    add(rule.users.names);
  }
  for (const hba_reference::Line& line : more) {
    for (const hba_reference::Field& field : line.fields) add({field[0].text});
  }
  return {names.begin(), names.end()};
}

// The rule's own address; then one that differs in the last bit that counts, one that differs in all bits that do
// not, one that differs in each kind, the rule's as the other family has it, and the whole range of IPv4 in IPv6.
static std::vector<std::string> addresses_to_try(const HbaAddress& range) {
  const bool v4 = range.family == Family::kIpv4;
  const size_t size = v4 ? 4 : 16;
  const std::string base(reinterpret_cast<const char*>(range.bytes.data()), size);
  std::string inside = base, outside = base, both;
  bool found = false;
  for (size_t bit = 8 * size; bit-- > 0;) {
    const auto mask = static_cast<char>(0x80 >> bit % 8);
    const bool counts = (range.mask[bit / 8] & mask) != 0;
    if (!counts) inside[bit / 8] = static_cast<char>(inside[bit / 8] | mask);
    if (counts && !found) outside[bit / 8] = static_cast<char>(outside[bit / 8] ^ mask);
    found = found || counts;
  }
  both = outside;
  for (size_t i = 0; i < size; ++i) both[i] = static_cast<char>(both[i] | (inside[i] ^ base[i]));
  const std::string mapped = std::string(10, '\0') + "\xFF\xFF";
  return {base,
          outside,
          inside,
          both,
          v4 ? mapped + base : base.substr(12),
          v4 ? base + std::string(12, '\0') : mapped + base.substr(12)};
}

static void try_client(const Hba& hba, const hba_reference::Files& files, const hba_reference::Who& who) {
  HbaClient client;
  client.local = who.unix_socket;
  client.tls = who.ssl;
  client.physical_replication = who.physical_replication;
  client.database = who.database;
  client.user = who.user;
  client.family = who.ip.size() == 4 ? Family::kIpv4 : Family::kIpv6;
  std::copy(who.ip.begin(), who.ip.end(), client.address.begin());
  const HbaRule* rule = find_rule(hba, client);
  const hba_reference::Decision decision = hba_reference::decide(files, who);
  ASSERT((rule ? rule->line : 0) == decision.line);
  if (!rule) return;
  ASSERT(to_string(rule->method) == (decision.method == "plain" ? "password" : decision.method));
  ASSERT(rule->map == decision.option("map") && rule->pam_service == decision.option("pamservice"));
  ASSERT(rule->whole_name == (decision.option("clientname") == "DN"));
  if (decision.option("ldapurl").empty()) {
    ASSERT(rule->ldap.server == decision.option("ldapserver") && rule->ldap.prefix == decision.option("ldapprefix"));
    ASSERT(rule->ldap.base_dn == decision.option("ldapbasedn") && rule->ldap.suffix == decision.option("ldapsuffix"));
    ASSERT(rule->ldap.tls == (decision.option("ldaptls") == "1"));
  }
  const bool may = rule->map.empty() ? who.database == who.user
                                     : hba_reference::map_allows(files, rule->map, who.database, who.user);
  ASSERT(peer_may_be(hba, *rule, who.database, who.user) == (may && !who.database.empty()));
}

static void try_matching(const Hba& hba, const hba_reference::Files& files) {
  const std::vector<std::string> names = names_to_try(hba, files.at("who"));
  size_t turn = names.back().size();  // which names come together is up to the input as well
  for (const HbaRule& rule : hba.rules) {
    for (const std::string& ip : addresses_to_try(rule.address)) {
      for (int bits = 0; bits < 8; ++bits) {
        hba_reference::Who who{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, ip, {}, {}};
        who.user = names[++turn % names.size()];
        who.database = turn % 4 == 0 ? who.user : names[turn * 7 / 3 % names.size()];
        try_client(hba, files, who);
        if (!rule.users.names.empty()) who.user = rule.users.names[turn % rule.users.names.size()];
        if (!rule.databases.names.empty()) who.database = rule.databases.names[turn % rule.databases.names.size()];
        try_client(hba, files, who);
        if (rule.databases.same_user) who.database = who.user;
        try_client(hba, files, who);
      }
    }
  }
}

// As in the files of the broker's own settings. No secret is shown, whatever stands before it.
static void try_ldap(const std::string& text) {
  ASSERT(without_ldap_secrets("").empty());
  if (text.find("QQ") == std::string::npos) {
    const std::string shown = without_ldap_secrets(text + " ldapbindpasswd=\"QQ, \"\" QQ\"");
    ASSERT(shown.find("QQ") == std::string::npos);
  }
  const Result<LdapOptions> any = parse_ldap_options("ldapserver=h" + ldap_option("ldapprefix", text));
  ASSERT(any.ok() == (text.find('\0') == std::string::npos) && (!any || any.value().prefix == text));
  const Result<LdapOptions> read = parse_ldap_options(text);
  if (!read) return ASSERT(!read.error().text.empty());
  const LdapOptions& options = read.value();
  ASSERT(check_ldap_options(options).empty());
  const Result<LdapOptions> again = parse_ldap_options(written(options, ldap_option));
  ASSERT(again && again.value() == options);
  if (options.bind_password.empty()) return;
  const Result<LdapOptions> shown = parse_ldap_options(without_ldap_secrets(text));
  LdapOptions expected = options;
  expected.bind_password = "***";
  ASSERT(shown && shown.value() == expected);
}

static void try_input(std::string_view text) {
  std::map<std::string, std::string> files;
  for (const char* name : {"hba", "ident", "names", "who", "ldap"}) {
    const size_t end = text.starts_with("%\n") ? 0 : text.find("\n%\n");
    files[name] = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end == 0 ? 2 : end + 3);
  }
  const ReadFile read = [&](const std::string& path) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return Error{"cannot read", {}};
    return found->second;
  };
  try_ldap(files["ldap"]);
  const ParsedHba parsed = parse_hba("hba", "ident", read);
  ASSERT(parsed.hba.rules.size() <= kHbaRulesMax && parsed.mistakes.size() <= kHbaMistakesMax);
  ASSERT(!parsed.mistakes.empty() || !parsed.hba.rules.empty());
  for (const HbaRule& rule : parsed.hba.rules) {
    if (rule.method != HbaMethod::kLdap) continue;
    const Result<LdapOptions> alone = parse_ldap_options(written(rule.ldap, ldap_option));
    ASSERT(alone && alone.value() == rule.ldap);
  }
  if (!parsed.mistakes.empty() || parsed.hba.rules.size() > 8) return;
  hba_reference::Files lines;
  for (const auto& [name, content] : files) lines[name] = hba_reference::lines_of(content);
  ASSERT(lines["hba"].size() == parsed.hba.rules.size());
  try_rewriting(parsed.hba);
  try_matching(parsed.hba, lines);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
