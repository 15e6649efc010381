// Fuzzes auth_hba_file, auth_ident_file and a file of names (apart by lines of %): nothing breaks, sizes hold, what
// was read and written again reads the same, and the rule that decides is the first that would alone.
#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <string>

#include "base/assert.h"
#include "config/hba.h"

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

// What only a URL can say comes first; the rest says everything anew.
static std::string written(const LdapOptions& ldap) {
  std::string out;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) out += " " + quoted(fmt::format("{}={}", name, value));
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
  if (!rule.pam_service.empty()) out += " " + quoted("pamservice=" + rule.pam_service);
  return out + written(rule.ldap) + "\n";
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

static void try_matching(const Hba& hba, HbaClient who) {
  for (int bits = 0; bits < 16; ++bits) {
    who.local = bits & 1;
    who.tls = bits & 2;
    who.physical_replication = bits & 4;
    who.family = bits & 8 ? Family::kIpv6 : Family::kIpv4;
    const HbaRule* first = nullptr;
    for (size_t i = 0; i < hba.rules.size() && !first; ++i) {
      if (find_rule(Hba{{}, {hba.rules[i]}, {}}, who)) first = &hba.rules[i];
    }
    ASSERT(find_rule(hba, who) == first);
    if (first) peer_may_be(hba, *first, who.user, who.database);
  }
}

static void try_input(std::string_view text) {
  std::map<std::string, std::string> files;
  for (const char* name : {"hba", "ident", "names"}) {
    const size_t end = text.find("\n%\n");
    files[name] = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 3);
  }
  const ReadFile read = [&](const std::string& path) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return Error{"cannot read", {}};
    return found->second;
  };
  const ParsedHba parsed = parse_hba("hba", "ident", read);
  ASSERT(parsed.hba.rules.size() <= kHbaRulesMax && parsed.mistakes.size() <= kHbaMistakesMax);
  ASSERT(!parsed.mistakes.empty() || !parsed.hba.rules.empty());
  if (parsed.hba.rules.size() > 20) return;
  if (parsed.mistakes.empty()) try_rewriting(parsed.hba);
  HbaClient who;
  who.database = "shop";
  who.user = "anna";
  try_matching(parsed.hba, who);
  if (parsed.hba.rules.empty()) return;
  const HbaRule& rule = parsed.hba.rules.back();
  if (!rule.databases.names.empty()) who.database = rule.databases.names.front();
  if (!rule.users.names.empty()) who.user = rule.users.names.front();
  who.address = rule.address.bytes;
  try_matching(parsed.hba, who);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
