// Goal: the options of ldap mean what they mean in pg_hba.conf, whichever of the three places they stand in, and no
// mistake, SHOW or log repeats a secret. Method: texts and what becomes of them.
#include "config/ldap_options.h"

#include <gtest/gtest.h>

#include "config/diff.h"
#include "config/hba.h"
#include "config/show.h"
#include "unit/config_support.h"

namespace berth::config {
namespace {

using Lines = std::vector<std::string>;
using Scope = LdapOptions::Scope;

Lines mistakes(const std::string& text) {
  return formatted(build(text).mistakes);
}
LdapOptions good(std::string_view text) {
  Result<LdapOptions> parsed = parse_ldap_options(text);
  EXPECT_TRUE(parsed) << text << ": " << (parsed ? "" : parsed.error().text);
  return parsed ? parsed.value() : LdapOptions{};
}
std::string why(std::string_view text) {
  const Result<LdapOptions> parsed = parse_ldap_options(text);
  return parsed ? "accepted" : parsed.error().text;
}

TEST(LdapOptions, EachHasItsPlace) {
  const LdapOptions search = good(
      "ldapserver=\"one two\" ldapport=1389,ldapscheme=ldap ldaptls=1 ldapbasedn=\"dc=example,dc=net\" "
      "ldapbinddn=\"cn=a \"\"b\"\"\" ldapbindpasswd=s3 ldapsearchattribute=mail");
  EXPECT_EQ(search.server, "one two");
  EXPECT_EQ(search.port, 1389);
  EXPECT_EQ(search.scheme, "ldap");
  EXPECT_TRUE(search.tls && !search.simple);
  EXPECT_EQ(search.base_dn, "dc=example,dc=net");
  EXPECT_EQ(search.bind_dn, "cn=a \"b\"");
  EXPECT_EQ(search.bind_password, "s3");
  EXPECT_EQ(search.search_attribute, "mail");
  const LdapOptions simple = good(" ldapserver=h , ldapprefix=\"cn=\" ldapsuffix=\", dc=x\"");
  EXPECT_TRUE(simple.simple);
  EXPECT_EQ(simple.prefix, "cn=");
  EXPECT_EQ(simple.suffix, ", dc=x");
  EXPECT_TRUE(good("ldapserver=h ldapprefix=\"\"").simple) << "the bare name, for directories that take it";
}

TEST(LdapOptions, Urls) {
  const LdapOptions url = good("ldapurl=\"ldap://127.0.0.1:12345/dc=example,dc=net?uid?sub\"");
  EXPECT_EQ(url.server, "127.0.0.1");
  EXPECT_EQ(url.port, 12345);
  EXPECT_EQ(url.base_dn, "dc=example,dc=net");
  EXPECT_EQ(url.search_attribute, "uid");
  EXPECT_EQ(url.scope, Scope::kSub);
  const LdapOptions filter = good("ldapurl=\"ldaps://h/ou=a%2cb??one?(uid=$username)\"");
  EXPECT_EQ(filter.scheme, "ldaps");
  EXPECT_EQ(filter.base_dn, "ou=a,b");
  EXPECT_EQ(filter.search_filter, "(uid=$username)");
  EXPECT_EQ(filter.scope, Scope::kOne);
  EXPECT_EQ(good("ldapurl=ldap://[::1]:389/dc=x").server, "[::1]");
  EXPECT_EQ(good("ldapurl=ldap://h/dc=x").scope, Scope::kBase) << "as RFC 4516 has it";
  EXPECT_EQ(why("ldapurl=http://h/dc=x"), "ldapurl begins with ldap:// or ldaps://");
  EXPECT_EQ(why("ldapurl=ldap://h:0/dc=x"), "ldapurl: \"0\" is not a port");
  EXPECT_EQ(why("ldapurl=ldap://h/dc=%zz"), "ldapurl: a bad %");
  EXPECT_EQ(why("ldapurl=ldap://h/dc=%00"), "ldapurl: a bad %");
  EXPECT_EQ(why("ldapurl=ldap://h/dc=x?uid?tree"), "ldapurl: \"tree\" is not one of base, one, sub");
  EXPECT_EQ(why("ldapurl=ldap://h/dc=x?uid?sub?(a=b)?ext"), "ldapurl: extensions are not supported");
}

TEST(LdapOptions, WhatDoesNotGoTogether) {
  EXPECT_EQ(why("ldapserver=h"), "ldap needs ldapbasedn, ldapprefix or ldapsuffix");
  EXPECT_EQ(why("ldapprefix=cn="), "ldap needs ldapserver");
  EXPECT_NE(why("ldapserver=h ldapprefix=cn= ldapbasedn=dc=x").find("do not go with"), std::string::npos);
  EXPECT_NE(why("ldapserver=h ldapbasedn=dc=x ldapsearchattribute=a ldapsearchfilter=b").find("do not go together"),
            std::string::npos);
  EXPECT_NE(why("ldapserver=h ldapbasedn=dc=x ldapscheme=ldaps ldaptls=1").find("TLS from the start"),
            std::string::npos);
  EXPECT_EQ(why("ldapserver=h ldapport=x"), "ldapport: \"x\" is not a port");
  EXPECT_EQ(why("ldapserver=h ldaptls=yes"), "ldaptls: \"yes\" is not 0 or 1");
  EXPECT_EQ(why("ldapserver=h ldapscheme=ldapi"), "ldapscheme: \"ldapi\" is not ldap or ldaps");
  EXPECT_EQ(why("ldapserver=h servers=x"), "\"servers\" is no option of ldap");
  EXPECT_EQ(why("ldapserver"), "\"ldapserver\" has no value: name=value");
  EXPECT_EQ(why("ldapserver=\"h"), "a double quote is not closed");
  EXPECT_EQ(why("ldapbasedn=dc=x"), "accepted") << "DNS knows the servers";
}

TEST(LdapOptions, InARule) {
  const auto parse = [](const std::string& line) { return parse_hba("h", "", files({{"h", line}})); };
  const ParsedHba parsed = parse(
      "host all all all ldap ldapserver=ldap.example.net ldapbasedn=\"dc=example, dc=net\" "
      "\"ldapsearchfilter=(|(uid=$username)(mail=$username))\" ldapbindpasswd=\"a, b\"\n"
      "local all all pam pamservice=shop pam_use_hostname=0\nlocal all all pam");
  ASSERT_EQ(formatted(parsed.mistakes), Lines{});
  EXPECT_EQ(parsed.hba.rules[0].ldap.base_dn, "dc=example, dc=net");
  EXPECT_EQ(parsed.hba.rules[0].ldap.search_filter, "(|(uid=$username)(mail=$username))");
  EXPECT_EQ(parsed.hba.rules[0].ldap.bind_password, "a, b");
  EXPECT_EQ(parsed.hba.rules[1].pam_service, "shop");
  EXPECT_EQ(parsed.hba.rules[2].pam_service, "");
  EXPECT_EQ(formatted(parse("host all all all ldap ldapserver=h\n"
                            "local all all pam ldapserver=h\n"
                            "local all all md5 pamservice=x\n"
                            "local all all pam pamservice=../x\n"
                            "local all all pam pam_use_hostname=1\n"
                            "local all all ldap ldapport=q ldapbasedn=dc=x\n"
                            "local all all ldap ldapbindpasswd=a,s3cret ldapbasedn=dc=x\n"
                            "local all all ldap ldapbindpaswd=s3cret ldapbasedn=dc=x\n")
                          .mistakes),
            (Lines{"h:1: ldap needs ldapbasedn, ldapprefix or ldapsuffix", "h:2: ldapserver= works with ldap only",
                   "h:3: pamservice= works with pam only", "h:4: pamservice= needs the name of a file in /etc/pam.d",
                   "h:5: pam_use_hostname=1 is not supported: PAM is told the address",
                   "h:6: ldapport: \"q\" is not a port",
                   "h:7: option \"ldapbindpasswd\" is not NAME=VALUE (a value with a comma stands in quotes)",
                   "h:8: \"ldapbindpaswd\" is no option of ldap"}));
}

TEST(LdapOptions, OfAuthTypeLdap) {
  const std::string kLdap = "[pgbouncer]\nauth_type = ldap\n";
  EXPECT_EQ(mistakes(kLdap), Lines{"a.ini:2: auth_type: ldap needs auth_ldap_options"});
  EXPECT_EQ(mistakes(kLdap + "auth_ldap_options = ldapserver=h\n"),
            Lines{"a.ini:3: auth_ldap_options: ldap needs ldapbasedn, ldapprefix or ldapsuffix"});
  const Config config =
      build(kLdap + "auth_ldap_options = ldapserver=h ldapbasedn=\"dc=x\" ldapbindpasswd=\"s3 \"\"q\"\n").config;
  ASSERT_TRUE(config.ldap);
  EXPECT_EQ(config.ldap->bind_password, "s3 \"q");
  const std::string shown = "ldapserver=h ldapbasedn=\"dc=x\" ldapbindpasswd=***";
  for (const ShowRow& row : show_config(config)) {
    if (row.key != "auth_ldap_options") continue;
    EXPECT_EQ(row.value, shown);
  }
  const std::string other_text = "auth_ldap_options = ldapserver=h ldapbasedn=\"dc=x\" ldapbindpasswd=t4\n";
  const Config other = build(kLdap + other_text).config;
  EXPECT_EQ(diff_configs(config, other).lines, Lines{"auth_ldap_options: " + shown + " -> " + shown});
  EXPECT_EQ(without_ldap_secrets("ldapbindpasswd=\"open"), "(cannot be read)");
}

}  // namespace
}  // namespace berth::config
