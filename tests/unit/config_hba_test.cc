// auth_hba_file and auth_ident_file: every record, name, address and method; what is refused, with file, line and
// why; which rule decides, against a second matcher that knows no bytes.
#include "config/hba.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "config/hba_words.h"
#include "unit/config_support.h"

namespace berth::config {
namespace {

using Lines = std::vector<std::string>;
using Family = HbaAddress::Family;

ParsedHba parse(const std::string& text, std::map<std::string, std::string> more = {}) {
  more["/etc/hba"] = text;
  const std::string ident = more.count("/etc/ident") ? "/etc/ident" : "";
  return parse_hba("/etc/hba", ident, files(more));
}
Lines mistakes(const std::string& text, std::map<std::string, std::string> more = {}) {
  return formatted(parse(text, std::move(more)).mistakes);
}
// The one mistake of one line, without its place.
std::string why(const std::string& line, std::map<std::string, std::string> more = {}) {
  const Lines found = mistakes(line + "\n", std::move(more));
  if (found.size() != 1) return fmt::format("{} mistakes", found.size());
  const std::string place = "/etc/hba:1: ";
  return found[0].starts_with(place) ? found[0].substr(place.size()) : found[0];
}
Hba rules(const std::string& text, std::map<std::string, std::string> more = {}) {
  ParsedHba parsed = parse(text, std::move(more));
  EXPECT_EQ(formatted(parsed.mistakes), Lines{}) << text;
  return std::move(parsed.hba);
}
HbaRule rule(const std::string& line, std::map<std::string, std::string> more = {}) {
  const Hba hba = rules(line, std::move(more));
  return hba.rules.size() == 1 ? hba.rules[0] : HbaRule{};
}

HbaClient client(const std::string& address, std::string_view database = "shop", std::string_view user = "anna") {
  HbaClient out;
  out.database = database;
  out.user = user;
  out.local = address.empty();
  if (out.local) return out;
  out.family = address.find(':') == std::string::npos ? Family::kIpv4 : Family::kIpv6;
  EXPECT_EQ(inet_pton(out.family == Family::kIpv4 ? AF_INET : AF_INET6, address.c_str(), out.address.data()), 1);
  return out;
}
// The line that decides; 0: none.
int decides(const Hba& hba, const HbaClient& who) {
  const HbaRule* found = find_rule(hba, who);
  return found ? found->line : 0;
}

std::string words(std::string_view line) {
  const Result<std::vector<HbaField>> fields = split_hba_line(line);
  if (!fields) return fields.error().text;
  std::string out;
  for (const HbaField& field : fields.value()) {
    out += out.empty() ? "" : " ";
    for (const HbaWord& word : field)
      out += (word.quoted ? "'" : "") + word.text + (&word == &field.back() ? "" : ",");
  }
  return out;
}

TEST(HbaWords, Split) {
  EXPECT_EQ(words(""), "");
  EXPECT_EQ(words(" \t# all"), "");
  EXPECT_EQ(words("a\tb \v c\r"), "a b c");
  EXPECT_EQ(words("a,b c"), "a,b c");
  EXPECT_EQ(words("a , b ,c d"), "a,b,c d");
  EXPECT_EQ(words("\"a b\" c"), "'a b c");
  EXPECT_EQ(words("\"a,b#\"\"c\",d e#f"), "'a,b#\"c,d e");
  EXPECT_EQ(words("map=\"a b\""), "map=a b");
  EXPECT_EQ(words("\"\" x"), "' x");
  EXPECT_EQ(words("\"a"), "a double quote is not closed");
  EXPECT_EQ(words("a \"b\"\""), "a double quote is not closed");
  EXPECT_EQ(words(",a"), "a comma without a name before it");
  EXPECT_EQ(words("a,,b"), "a comma without a name before it");
  EXPECT_EQ(words("a b, # c"), "a comma without a name behind it");
  EXPECT_EQ(words(std::string_view("a\0b", 3)), "a zero byte in the line");
}

TEST(HbaParse, Records) {
  EXPECT_EQ(rule("local all all trust").record, HbaRecord::kLocal);
  EXPECT_EQ(rule("host all all all trust").record, HbaRecord::kHost);
  EXPECT_EQ(rule("hostnossl all all all trust").record, HbaRecord::kHostNoSsl);
  EXPECT_EQ(rule("hostssl all all all trust").record, HbaRecord::kHostSsl);
  EXPECT_EQ(parse("hostnossl all all all trust").warnings.size(), 0u);
  for (const char* record : {"hostgssenc", "hostnogssenc", "include", "include_if_exists", "HOST", "\"host\"", "x"}) {
    EXPECT_NE(why(std::string(record) + " all all all trust").find("is not one of local, host, hostssl, hostnossl"),
              std::string::npos)
        << record;
  }
}

TEST(HbaParse, Methods) {
  const std::pair<const char*, HbaMethod> known[] = {
      {"trust", HbaMethod::kTrust},    {"reject", HbaMethod::kReject}, {"password", HbaMethod::kPassword},
      {"plain", HbaMethod::kPassword}, {"md5", HbaMethod::kMd5},       {"scram-sha-256", HbaMethod::kScramSha256},
      {"peer", HbaMethod::kPeer},      {"pam", HbaMethod::kPam}};
  for (const auto& [text, method] : known) {
    EXPECT_EQ(rule(fmt::format("local all all {}", text)).method, method) << text;
    if (method != HbaMethod::kPeer) {
      EXPECT_EQ(rule(fmt::format("host all all all {}", text)).method, method) << text;
    }
    EXPECT_EQ(std::string(to_string(method)), method == HbaMethod::kPassword ? "password" : text);
  }
  EXPECT_EQ(why("host all all all peer"), "peer works for local only: over TCP nobody says whose process it is");
  // T25: what asks for more than works is refused, not skipped.
  EXPECT_EQ(why("host all all all cert"), "cert works for hostssl only: a certificate comes with TLS");
  for (const char* text : {"gss", "sspi", "ident", "radius", "bsd", "oauth", "any"}) {
    EXPECT_EQ(why(fmt::format("local all all {}", text)), fmt::format("method {} is not supported", text));
  }
  for (const char* text : {"TRUST", "\"trust\"", "crypt", "trust2"}) {
    EXPECT_NE(why(fmt::format("local all all {}", text)).find("is not one of trust, reject"), std::string::npos)
        << text;
  }
  EXPECT_EQ(why("local all all trust,md5"), "one method in each line, no list");
}

TEST(HbaParse, Names) {
  const HbaRule keywords = rule("local all,sameuser,replication all trust");
  EXPECT_TRUE(keywords.databases.all && keywords.databases.same_user && keywords.databases.replication);
  EXPECT_TRUE(keywords.users.all);
  EXPECT_TRUE(keywords.databases.names.empty() && keywords.users.names.empty());
  const HbaRule quoted = rule("local \"all\",\"sameuser\",\"replication\",\"@x\",\"+y\" \"all\",\"a b\" trust");
  EXPECT_EQ(quoted.databases.names, (Lines{"+y", "@x", "all", "replication", "sameuser"}));
  EXPECT_FALSE(quoted.databases.all || quoted.databases.same_user || quoted.databases.replication ||
               quoted.users.all);
  EXPECT_EQ(quoted.users.names, (Lines{"a b", "all"}));
  EXPECT_EQ(rule("local b,a,b replication trust").databases.names, (Lines{"a", "b"}));
  EXPECT_EQ(rule("local b replication trust").users.names, Lines{"replication"}) << "a usual name of a user";
  const std::string roles = " is not supported: the broker does not know who is in a role";
  EXPECT_EQ(why("local samerole all trust"), "samerole" + roles);
  EXPECT_EQ(why("local samegroup all trust"), "samegroup" + roles);
  EXPECT_EQ(why("local all samerole trust"), "samerole" + roles);
  EXPECT_EQ(why("local all +admins trust"), "+admins" + roles);
  EXPECT_EQ(why("local +admins all trust"), "+admins" + roles);
  EXPECT_EQ(why("local all sameuser trust"), "sameuser is a keyword of databases: a name is quoted");
  EXPECT_EQ(why("local all /^a trust"), "/^a: regular expressions are not supported");
  EXPECT_EQ(why("local \"/^a\" all trust"), "/^a: regular expressions are not supported");
  EXPECT_EQ(why("local \"\" all trust"), "an empty name");
  EXPECT_EQ(why("local @ all trust"), "@ without a file");
}

TEST(HbaParse, FilesOfNames) {
  const std::map<std::string, std::string> more = {{"/etc/dbs", "a, b\n# no\n\"c d\" e\n@sub/more\n"},
                                                   {"/etc/sub/more", "f\n@/etc/abs"},
                                                   {"/etc/abs", "all\nsameuser"},
                                                   {"/etc/none", "\n"},
                                                   {"/etc/loop", "x\n@loop\n"},
                                                   {"/etc/bad", "ok\n+role\n\"\n"}};
  const HbaRule found = rule("local z,@dbs @none trust", more);
  EXPECT_EQ(found.databases.names, (Lines{"a", "b", "c d", "e", "f", "z"}));
  EXPECT_TRUE(found.databases.all && found.databases.same_user);
  EXPECT_EQ(found.users, HbaNames{}) << "nobody";
  EXPECT_EQ(why("local @absent all trust", more), "cannot read \"/etc/absent\"");
  EXPECT_EQ(mistakes("\nlocal @bad all trust", more),
            (Lines{"/etc/bad:2: +role is not supported: the broker does not know who is in a role",
                   "/etc/bad:3: a double quote is not closed"}));
  EXPECT_EQ(mistakes("local @loop all trust", more),
            Lines{fmt::format("/etc/loop:2: files of names are nested more than {} deep", kHbaDepthMax)});
}

TEST(HbaParse, Addresses) {
  const auto address = [](const std::string& text) { return rule("host all all " + text + " trust").address; };
  EXPECT_EQ(address("all").family, Family::kAll);
  EXPECT_EQ(address("10.1.0.0/16"), address("10.1.0.0 255.255.0.0"));
  EXPECT_EQ(address("\"10.1.0.0/16\""), address("10.1.0.0/16"));
  EXPECT_EQ(address("0.0.0.0/0"), address("0.0.0.0 0.0.0.0"));
  EXPECT_EQ(address("10.0.0.0 255.0.0.255").mask[3], 255) << "a mask need not be a prefix, as in PgBouncer";
  EXPECT_EQ(address("fd00::/8"), address("fd00:: ff00::"));
  EXPECT_EQ(address("::1/128").family, Family::kIpv6);
  for (const char* text : {"example.com", ".example.com", "10.1.2/24", "10.1.2.3.4/32", "fe80::1%lo/128", "\"all\"",
                           "/8", "256.0.0.0/8"}) {
    EXPECT_NE(
        why(fmt::format("host all all {} trust", text)).find("is not an address (host names are not supported)"),
        std::string::npos)
        << text;
  }
  for (const char* bits : {"", "33", "-1", "+8", "8x", "4294967304"}) {
    EXPECT_EQ(why(fmt::format("host all all 0.0.0.0/{} trust", bits)),
              fmt::format("\"/{}\" is not a number of bits from 0 to 32", bits));
  }
  EXPECT_EQ(why("host all all ::/129 trust"), "\"/129\" is not a number of bits from 0 to 128");
  EXPECT_EQ(why("host all all 10.0.0.1 trust"), "expected a mask after 10.0.0.1: 10.0.0.1/32, or a second word");
  EXPECT_EQ(why("host all all ::1 255.0.0.0 trust"), "expected a mask after ::1: ::1/128, or a second word");
  EXPECT_EQ(why("host all all 10.0.0.0 255.0.0.0"), "the method is missing");
  EXPECT_EQ(why("host all all 10.0.0.1/8 trust"), "10.0.0.1 has bits outside of its mask");
  EXPECT_EQ(why("host all all 10.0.0.0/8,11.0.0.0/8 trust"), "one address in each line, no list");
  for (const char* text : {"samehost", "samenet"}) {
    EXPECT_EQ(why(fmt::format("host all all {} trust", text)),
              fmt::format("{} is not supported: write the addresses", text));
  }
}

TEST(HbaParse, OptionsAndMaps) {
  const std::map<std::string, std::string> more = {
      {"/etc/ident", "ops root app\nops deploy all\n\"o p\" \"all\" \"all\"  # one\n"}};
  const Hba hba = rules("local all all peer map=ops\nlocal all all peer map=\"o p\"\nlocal all all peer", more);
  ASSERT_EQ(hba.rules.size(), 3u);
  const HbaRule &ops = hba.rules[0], &quoted = hba.rules[1], &plain = hba.rules[2];
  EXPECT_TRUE(peer_may_be(hba, ops, "root", "app"));
  EXPECT_FALSE(peer_may_be(hba, ops, "root", "root")) << "with a map only the map counts";
  EXPECT_FALSE(peer_may_be(hba, ops, "app", "app"));
  EXPECT_TRUE(peer_may_be(hba, ops, "deploy", "app") && peer_may_be(hba, ops, "deploy", "x"));
  EXPECT_TRUE(peer_may_be(hba, quoted, "all", "all"));
  EXPECT_FALSE(peer_may_be(hba, quoted, "all", "x")) << "in quotes it is a name";
  EXPECT_FALSE(peer_may_be(hba, quoted, "root", "app")) << "another map";
  EXPECT_TRUE(peer_may_be(hba, plain, "app", "app"));
  EXPECT_FALSE(peer_may_be(hba, plain, "root", "app") || peer_may_be(hba, plain, "deploy", "app"));
  for (const HbaRule& any : hba.rules) EXPECT_FALSE(peer_may_be(hba, any, "", "")) << "nobody knows who it is";

  EXPECT_EQ(why("local all all peer map=ops"), "map ops: auth_ident_file is not set");
  EXPECT_EQ(why("local all all peer map=x", more), "map x: auth_ident_file has no such map");
  EXPECT_EQ(why("local all all peer map=", more), "map= without a name");
  EXPECT_EQ(why("local all all peer map=ops map=ops", more), "map= comes twice");
  EXPECT_EQ(why("local all all md5 map=ops", more), "map= works with peer and cert only");
  EXPECT_EQ(why("host all all all md5 clientcert=verify-full"), "option \"clientcert\" is not supported");
  EXPECT_EQ(why("local all all trust \\"), "option \"\\\" is not NAME=VALUE (a value with a comma stands in quotes)");
}

TEST(HbaParse, Certificates) {
  EXPECT_EQ(rule("hostssl all all all cert").method, HbaMethod::kCert);
  EXPECT_FALSE(rule("hostssl all all all cert").whole_name);
  EXPECT_FALSE(rule("hostssl all all all cert clientname=CN").whole_name);
  EXPECT_TRUE(rule("hostssl all all all cert clientname=DN").whole_name);
  for (const char* record : {"local all all", "host all all all", "hostnossl all all all"}) {
    EXPECT_EQ(why(fmt::format("{} cert", record)), "cert works for hostssl only: a certificate comes with TLS");
  }
  EXPECT_EQ(why("hostssl all all all cert clientname=cn"), "clientname= is CN or DN");
  EXPECT_EQ(why("hostssl all all all md5 clientname=CN"), "clientname= works with cert only");
  const std::map<std::string, std::string> more = {{"/etc/ident", "ops \"CN=anna,O=Shop\" app\n"}};
  const Hba hba = rules("hostssl all all all cert clientname=DN map=ops", more);
  ASSERT_EQ(hba.rules.size(), 1u);
  EXPECT_TRUE(peer_may_be(hba, hba.rules[0], "CN=anna,O=Shop", "app"));
  EXPECT_FALSE(peer_may_be(hba, hba.rules[0], "CN=anna", "app"));
  EXPECT_FALSE(peer_may_be(hba, hba.rules[0], "", "app")) << "no certificate";
}

TEST(HbaParse, IdentFile) {
  const std::string text =
      "a b\na b c d\na,b c d\na /re c\na b +c\na b @c\n+a b c\na \"\" c\n\"\n# fine\n\"+a\" \"@b\" \"+c\"\n";
  const std::string no = "regular expressions, +role and @file are not supported here";
  EXPECT_EQ(mistakes("local all all trust", {{"/etc/ident", text}}),
            (Lines{"/etc/ident:1: expected three words: MAP SYSTEM-USER USER",
                   "/etc/ident:2: expected three words: MAP SYSTEM-USER USER",
                   "/etc/ident:3: expected three words: MAP SYSTEM-USER USER", "/etc/ident:4: \"/re\": " + no,
                   "/etc/ident:5: \"+c\": " + no, "/etc/ident:6: \"@c\": " + no, "/etc/ident:7: \"+a\": " + no,
                   "/etc/ident:8: an empty name", "/etc/ident:9: a double quote is not closed"}));
  EXPECT_EQ(formatted(parse_hba("/etc/hba", "/etc/ident", files({{"/etc/hba", "local all all trust"}})).mistakes),
            Lines{"/etc/ident: cannot read \"/etc/ident\""});
}

TEST(HbaParse, AllMistakesAtOnce) {
  EXPECT_EQ(mistakes("host all all\n"
                     "# fine\n"
                     "local all all trust\n"
                     "local all\n"
                     "host +a,+b /c 1.2.3.4/40 gss x=y\n"
                     "local +a all pam x\n"
                     "local,host all all trust"),
            (Lines{"/etc/hba:1: expected: host DATABASES USERS ADDRESS METHOD",
                   "/etc/hba:4: expected: local DATABASES USERS METHOD",
                   "/etc/hba:5: +a is not supported: the broker does not know who is in a role",
                   "/etc/hba:5: +b is not supported: the broker does not know who is in a role",
                   "/etc/hba:5: /c: regular expressions are not supported",
                   "/etc/hba:5: \"/40\" is not a number of bits from 0 to 32",
                   "/etc/hba:6: +a is not supported: the broker does not know who is in a role",
                   "/etc/hba:6: option \"x\" is not NAME=VALUE (a value with a comma stands in quotes)",
                   "/etc/hba:7: expected: local DATABASES USERS METHOD"}));
  EXPECT_EQ(formatted(parse_hba("/absent", "", files({})).mistakes), Lines{"/absent: cannot read \"/absent\""});
}

// A file that is empty or cut off does not replace what runs.
TEST(HbaParse, AFileWithoutRulesIsNotComplete) {
  for (const char* text : {"", "\n", "# local all all trust"}) {
    EXPECT_EQ(mistakes(text), Lines{"/etc/hba: it has no rule: nobody could log in. Is the file complete?"});
  }
}

TEST(HbaParse, Limits) {
  const std::string kRule = "local a b trust\n";
  std::string text;
  for (size_t i = 0; i < kHbaRulesMax; ++i) text += kRule;
  EXPECT_EQ(mistakes(text), Lines{});
  EXPECT_EQ(mistakes(text + kRule),
            Lines{fmt::format("/etc/hba:{}: more than {} rules", kHbaRulesMax + 1, kHbaRulesMax)});
  const std::string line = "local all all trust #";
  EXPECT_EQ(mistakes(line + std::string(kHbaLineSizeMax - line.size(), 'x')), Lines{});
  EXPECT_EQ(why(line + std::string(kHbaLineSizeMax - line.size() + 1, 'x')), "the line is longer than 65536 bytes");
  EXPECT_EQ(mistakes(std::string(kHbaFileSizeMax + 1, '\n')), Lines{"/etc/hba: \"/etc/hba\" is larger than 4 MB"});
  std::string wrong;
  for (size_t i = 0; i < kHbaMistakesMax + 100; ++i) wrong += "x\n";
  EXPECT_EQ(mistakes(wrong).size(), kHbaMistakesMax);
  // Files that name files: bounded by how often, by bytes and by names.
  std::string fan;
  for (int i = 0; i < 200; ++i) fan += "@empty\n";
  const std::map<std::string, std::string> more = {
      {"/etc/empty", ""},
      {"/etc/fan", fan},
      {"/etc/big", std::string(kHbaFileSizeMax, '\n')},
      {"/etc/names", std::string(size_t{1} << 20, '\n').replace(0, 4, "a\nb\n")}};
  std::string fans = "local @fan";
  for (int i = 0; i < 60; ++i) fans += ",@fan";
  EXPECT_NE(mistakes(fans + " all trust", more).front().find("@ more than 10000 times in all"), std::string::npos);
  EXPECT_EQ(mistakes("local @big,@big,@big,@big @names trust", more),
            Lines{"/etc/hba:1: the files of names have more than 16 MB in all"});
}

TEST(HbaMatch, FirstRuleDecides) {
  const Hba hba = rules(
      "local all postgres peer\n"
      "local sameuser all md5\n"
      "host shop,\"all\" anna,bo 10.0.0.0/8 scram-sha-256\n"
      "host shop all 10.0.0.0/8 reject\n"
      "hostssl all all 0.0.0.0/0 trust\n"
      "host replication copy 0.0.0.0/0 md5\n"
      "hostnossl all anna ::1/128 trust\n"
      "host all zoe all trust\n");
  EXPECT_EQ(decides(hba, client("", "x", "postgres")), 1);
  EXPECT_EQ(decides(hba, client("", "bo", "bo")), 2);
  EXPECT_EQ(decides(hba, client("", "shop", "bo")), 0);
  EXPECT_EQ(decides(hba, client("10.255.0.1", "shop", "anna")), 3);
  EXPECT_EQ(decides(hba, client("10.255.0.1", "all", "bo")), 3) << "a database of that name";
  EXPECT_EQ(decides(hba, client("10.255.0.1", "shop", "eve")), 4);
  EXPECT_EQ(decides(hba, client("11.0.0.1", "shop", "anna")), 0) << "hostssl fits nobody without TLS";
  HbaClient tls = client("11.0.0.1", "shop", "anna");
  tls.tls = true;
  EXPECT_EQ(decides(hba, tls), 5);
  EXPECT_EQ(decides(hba, client("::1", "x", "anna")), 7);
  HbaClient tls6 = client("::1", "x", "anna");
  tls6.tls = true;
  EXPECT_EQ(decides(hba, tls6), 0);
  EXPECT_EQ(decides(hba, client("9.9.9.9", "x", "zoe")), 8);
  EXPECT_EQ(decides(hba, client("fe80::1", "x", "zoe")), 8);
  EXPECT_EQ(decides(hba, client("", "x", "zoe")), 0) << "all addresses are no Unix socket";
  HbaClient copy = client("9.9.9.9", "x", "copy");
  EXPECT_EQ(decides(hba, copy), 0) << "replication is no name of a database";
  copy.physical_replication = true;
  EXPECT_EQ(decides(hba, copy), 6);
  HbaClient zoe = client("9.9.9.9", "x", "zoe");
  zoe.physical_replication = true;
  EXPECT_EQ(decides(hba, zoe), 0) << "all is not replication";
  HbaClient unknown = client("9.9.9.9", "shop", "zoe");
  unknown.family = Family::kNone;
  EXPECT_EQ(decides(hba, unknown), 8) << "an address that nobody knows is in no range";
  unknown.user = "anna";
  EXPECT_EQ(decides(hba, unknown), 0);
}

// Every prefix length, with the addresses around both ends of its range, against plain numbers.
TEST(HbaMatch, EveryPrefixOfIpv4) {
  const uint32_t base = 0xAC105A3C;
  for (unsigned bits = 0; bits <= 32; ++bits) {
    const uint64_t size = uint64_t{1} << (32 - bits);
    const uint64_t first = base / size * size;
    const auto dotted = [](uint64_t n) {
      return fmt::format("{}.{}.{}.{}", n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255);
    };
    const Hba hba = rules(fmt::format("host all all {}/{} trust", dotted(first), bits));
    for (const uint64_t n : {first - 1, first, first + size / 2, first + size - 1, first + size, uint64_t{0}}) {
      const uint64_t address = n & 0xFFFFFFFF;
      const bool inside = address >= first && address < first + size;
      EXPECT_EQ(decides(hba, client(dotted(address))), inside ? 1 : 0) << dotted(address) << " in /" << bits;
    }
    EXPECT_EQ(decides(hba, client("::")), 0) << "another family";
  }
}

TEST(HbaMatch, EveryPrefixOfIpv6) {
  for (unsigned bits = 0; bits <= 128; ++bits) {
    const Hba hba = rules(fmt::format("host all all ::/{} trust", bits));
    for (unsigned bit = 0; bit < 128; ++bit) {  // one bit set, from the left
      HbaClient who = client("::");
      who.address[bit / 8] = static_cast<unsigned char>(0x80 >> bit % 8);
      EXPECT_EQ(decides(hba, who), bit >= bits ? 1 : 0) << bit << " in /" << bits;
    }
    EXPECT_EQ(decides(hba, client("0.0.0.0")), 0) << "another family";
  }
}

// Every small rule against every small client, by a matcher of words.
TEST(HbaMatch, EverySmallCase) {
  const char* records[] = {"local", "host", "hostssl", "hostnossl"};
  const char* databases[] = {"all", "a", "b", "a,b", "sameuser", "replication", "sameuser,replication", "\"all\""};
  const char* users[] = {"all", "a", "b", "a,b", "\"all\""};
  const char* ranges[] = {"all", "10.0.0.0/8", "::/0"};
  const std::string names[] = {"a", "b", "all"};
  int fitting = 0, cases = 0;
  for (const std::string record : records) {
    for (const std::string database : databases) {
      for (const std::string user : users) {
        for (const std::string range : ranges) {
          const bool local = record == "local";
          const Hba hba = rules(record + " " + database + " " + user + (local ? "" : " " + range) + " trust");
          for (const char* address : {"", "10.1.1.1", "11.1.1.1", "::1"}) {
            for (int bits = 0; bits < 36; ++bits) {
              const bool tls = bits & 1, physical = bits & 2;
              const std::string &d = names[bits / 4 % 3], &u = names[bits / 12];
              HbaClient who = client(address, d, u);
              who.tls = tls;
              who.physical_replication = physical;
              bool fits = local == who.local && !(record == "hostssl" && !tls) && !(record == "hostnossl" && tls);
              if (!local) {
                fits = fits && (range == "all" || (range == "10.0.0.0/8" && std::string(address) == "10.1.1.1") ||
                                (range == "::/0" && std::string(address) == "::1"));
              }
              const bool same = database.find("sameuser") != std::string::npos && d == u;
              const bool named = database == "\"" + d + "\"" || database == d || (database == "a,b" && d != "all");
              const bool all = database == "all";
              fits = fits && (physical ? database.find("replication") != std::string::npos : all || same || named);
              fits = fits && (user == "all" || user == u || user == "\"" + u + "\"" || (user == "a,b" && u != "all"));
              EXPECT_EQ(decides(hba, who), fits ? 1 : 0) << record << " " << database << " " << user << " " << range
                                                         << ": " << address << " " << d << " " << u << " " << bits;
              ++cases;
              fitting += fits;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 4 * 8 * 5 * 3 * 4 * 36);
  EXPECT_GT(fitting, 1000);
}

}  // namespace
}  // namespace berth::config
