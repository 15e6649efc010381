// From a file to a Config: options, doors, rules between settings, warnings; lookups and effective values.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "config/clear.h"
#include "config/hba.h"
#include "config/options.h"
#include "unit/config_support.h"

namespace berth::config {
namespace {

const std::string kTrust = "[pgbouncer]\nauth_type = trust\n";

std::vector<std::string> mistakes(const std::string& text) {
  return formatted(build(text).mistakes);
}
std::vector<std::string> warnings(const std::string& text) {
  return formatted(build(text).config.warnings);
}
using Lines = std::vector<std::string>;

TEST(Build, OptionsOfEachKind) {
  const Config config =
      build(
          "[pgbouncer]\nauth_type=scram-sha-256\nauth_file=u\npool_mode=transaction\nlisten_port=1\n"
          "query_wait_timeout=1.5\nlog_connections=off\nlisten_addr=*\n")
          .config;
  EXPECT_EQ(config.options.auth_type, AuthType::kScramSha256);
  EXPECT_EQ(config.options.pool_mode, PoolMode::kTransaction);
  EXPECT_EQ(config.options.listen_port, 1);
  EXPECT_EQ(config.options.query_wait_timeout, 1'500'000);
  EXPECT_FALSE(config.options.log_connections);
  EXPECT_EQ(config.options.listen_addr, "*");
  EXPECT_EQ(config.options.conffile, "a.ini");
  EXPECT_EQ(config.explicit_options, (Lines{"auth_type", "auth_file", "pool_mode", "listen_port",
                                            "query_wait_timeout", "log_connections", "listen_addr"}));
}

// Each option takes its own default as text and prints it as it would be shown: the list agrees with itself.
TEST(Build, EveryDefaultIsAValidValue) {
  for (const OptionInfo& info : all_options()) {
    Options options;
    const std::string shown = option_value(options, info);
    EXPECT_EQ(assign_option(options, info, info.preset), "") << info.name;
    EXPECT_EQ(option_value(options, info), shown) << info.name;
    EXPECT_EQ(assign_option(options, info, shown), "") << info.name;
    EXPECT_EQ(option_value(options, info), shown) << info.name;
    EXPECT_FALSE(info.doc.empty()) << info.name;
    EXPECT_EQ(find_option(info.name), &info) << "named twice";
  }
  EXPECT_EQ(find_option("no_such_option"), nullptr);
}

TEST(Build, AllMistakesAtOnceWithFileLineAndKey) {
  EXPECT_EQ(
      mistakes(
          "[databases]\na = port=99999\n[users]\nu = pool_size=many\n"
          "[pgbouncer]\nlisten_port = 0\nauth_type = magic\nlog_stats = maybe\nquery_timeout = 1min\nnonsense\n"),
      (Lines{"a.ini:10: expected \"key = value\", a [section], %include or a comment",
             "a.ini:2: a: port: 99999 is out of range, allowed is 1 to 65535",
             "a.ini:4: u: pool_size: \"many\" is not a whole number",
             "a.ini:6: listen_port: 0 is out of range, allowed is 1 to 65535",
             "a.ini:7: auth_type: \"magic\" is not one of trust, any, plain, md5, scram-sha-256, cert, hba, pam, "
             "ldap",
             "a.ini:8: log_stats: \"maybe\" is not 0 or 1 (nor true, false, yes, no, on, off)",
             "a.ini:9: query_timeout: \"1min\" is not a time in seconds (a number without a unit)"}));
}

// Failure class 66: a file that is empty or cut off does not replace what runs.
TEST(Build, AFileWithoutTheBrokersSectionIsNotComplete) {
  for (const char* text : {"", "\n", "[databases]\na = host=b\n", "[databases]\n;[pgbouncer]\n"}) {
    EXPECT_EQ(mistakes(text), Lines{"a.ini: no section [pgbouncer]: is the file complete?"}) << text;
  }
}

// As Debian's pgbouncer-minimal.ini.
TEST(Build, ASectionWithoutASettingIsEverythingsDefault) {
  for (const char* text : {"[databases]\n\n[pgbouncer]\n;listen_port = 6432\n", "[pgberth]\n"}) {
    EXPECT_EQ(mistakes(text), Lines{}) << text;
    EXPECT_EQ(build(text).config.options.listen_port, 6432);
  }
}

TEST(Doors, RefuseWhatPromisesAProtection) {
  EXPECT_EQ(mistakes("[pgbouncer]\nauth_type = cert\nclient_tls_sslmode = require\nclient_tls_cert_file = c\n"
                     "client_tls_key_file = k\n"),
            Lines{"a.ini:2: auth_type: cert needs client_tls_sslmode = verify-full"});
  EXPECT_EQ(mistakes("[pgbouncer]\nauth_type = hba\nauth_file = u\n"),
            Lines{"a.ini:2: auth_type: hba needs auth_hba_file: without rules nobody could log in"});
  EXPECT_EQ(mistakes(kTrust + "disable_pqexec = 1\n").size(), 1u);
  EXPECT_EQ(mistakes(kTrust + "client_tls_sslmode = strict\n").size(), 1u);
}

TEST(Doors, WhatOpensNothingIsAccepted) {
  EXPECT_EQ(warnings(kTrust + "auth_hba_file =\ndisable_pqexec = 0\n"), Lines{});
  EXPECT_EQ(mistakes(kTrust + "auth_hba_file =\ndisable_pqexec = 0\n"), Lines{});
  EXPECT_EQ(
      warnings(kTrust + "auth_hba_file = h\n"),
      Lines{"a.ini:3: auth_hba_file: its rules are not looked at: auth_type is trust, they count with hba only"});
  EXPECT_EQ(warnings(kTrust), Lines{});
  EXPECT_EQ(warnings(kTrust + "server_tls_sslmode = disable\nclient_tls_sslmode = disable\n"), Lines{});
}

TEST(Tls, WhatIsMissingIsNamed) {
  const std::string kCert = "client_tls_cert_file = c\n", kKey = "client_tls_key_file = k\n";
  EXPECT_EQ(mistakes(kTrust + "client_tls_sslmode = allow\n"),
            Lines{"a.ini:3: client_tls_sslmode: allow needs client_tls_cert_file and client_tls_key_file"});
  EXPECT_EQ(mistakes(kTrust + "client_tls_sslmode = require\n" + kCert),
            Lines{"a.ini:4: client_tls_cert_file: it needs its key: client_tls_key_file is not set"});
  EXPECT_EQ(mistakes(kTrust + "client_tls_sslmode = require\n" + kKey),
            Lines{"a.ini:4: client_tls_key_file: a key without a certificate: client_tls_cert_file is not set"});
  for (const char* mode : {"verify-ca", "verify-full"}) {
    EXPECT_EQ(mistakes(kTrust + "client_tls_sslmode = " + mode + "\n" + kCert + kKey),
              Lines{std::string("a.ini:3: client_tls_sslmode: ") + mode +
                    " needs client_tls_ca_file: without root certificates nothing can be checked"});
  }
  EXPECT_EQ(mistakes(kTrust + "client_tls_sslmode = verify-full\nclient_tls_ca_file = a\n" + kCert + kKey), Lines{});
  EXPECT_EQ(mistakes(kTrust + kCert), Lines{}) << "with disable nothing of it is looked at";
  EXPECT_EQ(mistakes(kTrust + "server_tls_cert_file = c\n"),
            Lines{"a.ini:3: server_tls_cert_file: it needs its key: server_tls_key_file is not set"});
}

// Who has put a certificate there believes that it is used.
TEST(Tls, ACertificateThatIsNotUsedIsWorthAWarning) {
  const std::string why =
      "client_tls_sslmode is disable: the certificate is not used, clients speak in clear; set require";
  const std::string both = "client_tls_cert_file = c\nclient_tls_key_file = k\n";
  EXPECT_EQ(warnings(kTrust + both), Lines{"a.ini:3: client_tls_cert_file: " + why});
  EXPECT_EQ(warnings(kTrust + "client_tls_ca_file = a\n"), Lines{"a.ini:3: client_tls_ca_file: " + why});
  EXPECT_EQ(warnings(kTrust + both + "client_tls_sslmode = allow\n"), Lines{});
  EXPECT_EQ(
      warnings(kTrust + "server_tls_sslmode = disable\nserver_tls_key_file = k\n"),
      Lines{"a.ini:4: server_tls_key_file: server_tls_sslmode is disable: the certificate is not used, servers are "
            "spoken to in clear; set verify-full"});
  EXPECT_EQ(warnings(kTrust + "server_tls_sslmode = disable\nserver_tls_ca_file = a\n").size(), 1u);
}

TEST(Clear, PasswordsOnANetworkAreWorthAWarning) {
  const auto text = [](const std::string& type, const std::string& address, const std::string& more) {
    return "[pgbouncer]\nauth_type = " + type + "\nauth_file = u\nlisten_addr = " + address + "\n" + more;
  };
  EXPECT_EQ(
      warnings(text("plain", "10.0.0.1", "")),
      Lines{"a.ini:2: auth_type: plain has clients send their passwords in clear, and client_tls_sslmode is disable: "
            "set require, so that no network sees them"});
  const std::string local_ldap = "auth_ldap_options = ldapserver=localhost ldapprefix=x\n";
  for (const char* address : {"*", "127.0.0.1,10.0.0.1", "::", "db.example.net", "127.0.0.1, 0.0.0.0"}) {
    EXPECT_EQ(warnings(text("plain", address, "")).size(), 1u) << address;
    EXPECT_EQ(warnings(text("pam", address, "")).size(), 1u) << address;
    EXPECT_EQ(warnings(text("ldap", address, local_ldap)).size(), 1u) << address;
    EXPECT_EQ(warnings(text("md5", address, "")), Lines{}) << address;
  }
  for (const char* address : {"127.0.0.1", "localhost, ::1", "127.0.0.53", ""}) {
    EXPECT_EQ(warnings(text("plain", address, "")), Lines{}) << address;
    EXPECT_EQ(warnings(text("ldap", address, local_ldap)), Lines{}) << address;
  }
  const std::string tls = "client_tls_cert_file = c\nclient_tls_key_file = k\nclient_tls_sslmode = ";
  EXPECT_EQ(warnings(text("plain", "*", tls + "prefer\n")).size(), 1u);
  EXPECT_EQ(warnings(text("plain", "*", tls + "require\n")), Lines{});
  EXPECT_EQ(warnings(text("plain", "*", tls + "verify-full\nclient_tls_ca_file = a\n")), Lines{});
}

// T16: what no password guards has no admins on a network.
TEST(Clear, AConsoleWithoutAPasswordOnANetworkIsWorthAWarning) {
  const auto of = [](const std::string& type, const std::string& address, const std::string& more) {
    return warnings("[pgbouncer]\nauth_type = " + type + "\nauth_file = u\nlisten_addr = " + address + "\n" + more);
  };
  EXPECT_EQ(
      of("trust", "*", "admin_users = postgres\nstats_users = nagios\n"),
      Lines{"a.ini:2: auth_type: with trust whoever says the name of one of admin_users has the console, without "
            "a password, from wherever listen_addr lets him connect: set another auth_type"});
  EXPECT_EQ(
      of("trust", "10.0.0.1", "stats_users = nagios\n"),
      Lines{"a.ini:2: auth_type: with trust whoever says the name of one of stats_users has the console, without "
            "a password, from wherever listen_addr lets him connect: set another auth_type"});
  EXPECT_EQ(of("trust", "*", ""), Lines{}) << "nobody has it";
  EXPECT_EQ(
      of("any", "*", ""),
      Lines{"a.ini:2: auth_type: with any everybody whom listen_addr lets connect is an admin of the console: set "
            "another auth_type"});
  for (const char* address : {"127.0.0.1", "localhost, ::1", ""}) {
    EXPECT_EQ(of("trust", address, "admin_users = postgres\n"), Lines{}) << address;
    EXPECT_EQ(of("any", address, "admin_users = postgres\n"), Lines{}) << address;
  }
  EXPECT_EQ(of("md5", "*", "admin_users = postgres\n"), Lines{});
}

// T16: the same by rules, if one of them is the first that fits.
TEST(Clear, RulesThatTrustAtTheConsoleAreWorthAWarning) {
  const auto of = [](const std::string& rules, const std::string& more = "listen_addr = *\n") {
    const Built built = build(
        "[pgbouncer]\nauth_type = hba\nauth_hba_file = h\nauth_file = u\nadmin_users = anna, bob\n"
        "stats_users = eve\n" +
        more);
    const ParsedHba parsed = parse_hba("h", "", files({{"h", rules}}));
    EXPECT_EQ(formatted(parsed.mistakes), Lines{});
    std::vector<Remark> out;
    warn_of_clear_rules(built.config, parsed.hba, out);
    return formatted(out);
  };
  const auto told = [](int line, const std::string& user) {
    return Lines{
        fmt::format("h:{}: trust lets whoever says the name \"{}\" into the console, without a password: put a "
                    "line for database pgbouncer before it",
                    line, user)};
  };
  EXPECT_EQ(of("host all all all trust\n"), told(1, "anna"));
  EXPECT_EQ(of("host all anna all md5\nhost all all 10.0.0.0/8 trust\n"), told(2, "bob"));
  EXPECT_EQ(of("host pgbouncer anna,bob all md5\nhostnossl all all fd00::/8 trust\n"), told(2, "eve"));
  const std::string tls = "hostssl pgbouncer all all md5\nhost all all all trust\n";
  const std::string mode =
      "listen_addr = *\nclient_tls_cert_file = c\nclient_tls_key_file = k\nclient_tls_sslmode = ";
  EXPECT_EQ(of(tls, mode + "allow\n"), told(2, "anna")) << "in clear";
  EXPECT_EQ(of(tls, mode + "require\n"), Lines{});
  EXPECT_EQ(of("hostssl all all all trust\n", mode + "require\n"), told(1, "anna"));
  EXPECT_EQ(of("hostssl all all all trust\n"), Lines{}) << "nobody has TLS";
  EXPECT_EQ(of("host pgbouncer all all md5\nhost all all all trust\n"), Lines{});
  EXPECT_EQ(of("host pgbouncer all all reject\nhost all all all trust\n"), Lines{});
  EXPECT_EQ(of("host shop all all trust\nhost all app all trust\n"), Lines{});
  EXPECT_EQ(of("local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\n"), Lines{});
  EXPECT_EQ(of("host all all all trust\n", "listen_addr = 127.0.0.1\n"), Lines{});
}

TEST(Clear, PasswordsForADirectoryAreWorthAWarning) {
  const auto of = [](const std::string& options) {
    return warnings("[pgbouncer]\nauth_type = ldap\nauth_ldap_options = " + options + "\n");
  };
  EXPECT_EQ(of("ldapserver=ldap.example.net ldapprefix=x"),
            Lines{"a.ini:3: auth_ldap_options: passwords go to the directory in clear: ldaptls=1 or ldapscheme=ldaps "
                  "encrypts them"});
  EXPECT_EQ(of("ldapserver=\"localhost 10.0.0.1\" ldapprefix=x").size(), 1u);
  EXPECT_EQ(of("ldapbasedn=\"dc=example,dc=net\"").size(), 1u) << "DNS says where";
  EXPECT_EQ(of("ldapurl=ldap://10.0.0.1/dc=x").size(), 1u);
  EXPECT_EQ(of("ldapurl=ldaps://10.0.0.1/dc=x"), Lines{});
  EXPECT_EQ(of("ldapserver=10.0.0.1 ldapprefix=x ldaptls=1"), Lines{});
  EXPECT_EQ(of("ldapserver=\"localhost  127.0.0.1:389\" ldapprefix=x"), Lines{});
}

TEST(Clear, RulesAreWorthOneWarning) {
  const auto of = [](const std::string& rules, const std::string& more = "listen_addr = *\n") {
    const Built built = build("[pgbouncer]\nauth_type = hba\nauth_hba_file = h\nauth_file = u\n" + more);
    const ParsedHba parsed = parse_hba("h", "", files({{"h", rules}}));
    EXPECT_EQ(formatted(parsed.mistakes), Lines{});
    std::vector<Remark> out;
    warn_of_clear_rules(built.config, parsed.hba, out);
    return formatted(out);
  };
  EXPECT_EQ(of("local all all pam\nhost all all 10.0.0.0/8 password\nhost all all all pam\n"),
            Lines{"h:2: password has clients send their passwords in clear, and client_tls_sslmode is disable: set "
                  "require, so that no network sees them"});
  EXPECT_EQ(of("hostnossl all all all pam\n").size(), 1u);
  EXPECT_EQ(of("host all all 127.0.0.0/8 pam\nhost all all ::1/128 password\nhostssl all all all pam\n"), Lines{});
  EXPECT_EQ(of("host all all all md5\n"), Lines{});
  EXPECT_EQ(of("host all all all pam\n", "listen_addr = 127.0.0.1\n"), Lines{});
  EXPECT_EQ(of("host all all all pam\n", "listen_addr = *\nclient_tls_sslmode = require\n"), Lines{});
  const std::string ldap = "host all all 127.0.0.1/32 ldap ldapserver=10.0.0.1 ldapprefix=x";
  EXPECT_EQ(of(ldap + "\n" + ldap + "\n"),
            Lines{"h:1: passwords go to the directory in clear: ldaptls=1 or ldapscheme=ldaps encrypts them"});
  EXPECT_EQ(of(ldap + " ldaptls=1\n"), Lines{});
}

TEST(Warnings, OfWhatCountsWithAnotherAuthTypeOnly) {
  EXPECT_EQ(
      warnings(kTrust + "auth_ident_file = i\nauth_ldap_options = ldapserver=a ldapprefix=x\nauth_dbname = a\n"
                        "[databases]\na = host=x auth_dbname=a\n"),
      (Lines{"a.ini:3: auth_ident_file: its maps are not looked at: auth_type is trust, they count with hba only",
             "a.ini:4: auth_ldap_options: no directory is asked by it: auth_type is trust, it counts with ldap only "
             "(rules of auth_hba_file have their own)",
             "a.ini: a: auth_dbname has no effect without auth_user",
             "a.ini:5: auth_dbname: it has no effect without auth_user"}));
}

TEST(Tls, WhatRequiresTlsNeedsAModeThatDoes) {
  for (const char* mode : {"disable", "allow", "prefer"}) {
    const std::string text = kTrust + "server_tls_sslmode = " + mode + "\n";
    EXPECT_EQ(mistakes(text + "server_tls_negotiation = direct\n"),
              Lines{std::string(
                        "a.ini:4: server_tls_negotiation: direct needs server_tls_sslmode require or above, it is ") +
                    mode});
    EXPECT_EQ(
        mistakes(text + "server_channel_binding = require\n"),
        Lines{std::string(
                  "a.ini:4: server_channel_binding: require needs server_tls_sslmode require or above, it is ") +
              mode});
  }
  EXPECT_EQ(mistakes(kTrust + "server_tls_sslmode = require\nserver_tls_negotiation = direct\n"
                              "server_channel_binding = require\n"),
            Lines{});
  EXPECT_EQ(mistakes(kTrust + "server_tls_negotiation = quick\nserver_channel_binding = maybe\n").size(), 2u);
}

TEST(Tls, ServersAreCheckedWhereRootsAreNamed) {
  const auto mode = [](const std::string& text) { return build(text).config.options.server_tls_sslmode; };
  EXPECT_EQ("prefer", mode(kTrust));
  EXPECT_EQ("verify-full", mode(kTrust + "server_tls_ca_file = a\n"));
  EXPECT_EQ("prefer", mode(kTrust + "server_tls_ca_file = a\nserver_tls_sslmode = prefer\n"));
  EXPECT_EQ(
      warnings(kTrust + "server_tls_ca_file = a\nserver_tls_sslmode = prefer\n"),
      Lines{"a.ini:3: server_tls_ca_file: servers are not checked by it: server_tls_sslmode is prefer, verify-ca "
            "and verify-full check"});
}

// T25: whoever is in between may decline TLS for the server.
TEST(Tls, OwnConnectionsInClear) {
  const auto text = [](const std::string& what, const std::string& mode) {
    return "server_tls_sslmode: with " + mode + " the connection of " + what +
           " may be in clear: require or above prevents that";
  };
  const auto warned = [](const std::string& own, const std::string& databases) {
    Lines out;
    for (std::string& line : warnings(kTrust + own + "[databases]\n" + databases)) {
      if (const size_t at = line.find("server_tls_sslmode: with"); at != std::string::npos)
        out.push_back(line.substr(at));
    }
    return out;
  };
  const std::string shop = "here = host=127.0.0.1\nshop = host=/run,db.example.net\n";
  EXPECT_EQ(Lines{text("auth_user to db.example.net", "prefer")}, warned("auth_user = looker\n", shop));
  EXPECT_EQ(Lines{text("auth_user to db.example.net", "allow")},
            warned("server_tls_sslmode = allow\n", "shop = host=db.example.net auth_user=looker\n"));
  EXPECT_EQ(Lines{text("link_user to db.example.net", "prefer")}, warned("link_user = app\n", shop));
  EXPECT_EQ(Lines{text("link to 10.0.0.7", "prefer")}, warned("link = host=10.0.0.7 dbname=postgres user=app\n", ""));
  EXPECT_EQ(2u, warned("auth_user = looker\nlink_user = app\n", shop).size());
  const Lines none;
  EXPECT_EQ(none, warned("", shop)) << "who is served has his own connection";
  EXPECT_EQ(none, warned("auth_user = looker\nauth_dbname = here\n", shop));
  EXPECT_EQ(none, warned("link_user = app\nlink = off\n", shop));
  EXPECT_EQ(none, warned("auth_user = looker\nlink_user = app\nserver_tls_sslmode = require\n", shop));
  EXPECT_EQ(none, warned("auth_user = looker\nlink_user = app\n", "here = host=/run,localhost,::1,127.0.0.2\n"));
  EXPECT_EQ(none, warned("link = host=10.0.0.7 sslmode=require\n", ""));
  EXPECT_EQ(Lines{"a.ini:4: link: with prefer the connection of link to 10.0.0.7 may be in clear: require or above "
                  "prevents that"},
            warnings(kTrust + "server_tls_sslmode = require\nlink = host=10.0.0.7 sslmode=prefer\n"))
      << "the mode of its own counts";
}

TEST(Warnings, RelativeFilesOfTheLink) {
  const std::string link = kTrust + "link = host=10.0.0.7 sslmode=verify-full ";
  EXPECT_EQ(warnings(link + "sslrootcert=system sslcert=/c sslkey=''\n"), Lines{});
  EXPECT_EQ(warnings(link + "sslrootcert=root.crt\n"),
            Lines{"a.ini:3: link: sslrootcert: a relative name starts where the broker was started, which others may "
                  "write: write the whole path"});
}

TEST(Warnings, OneForWhatHasNoEffect) {
  EXPECT_EQ(warnings(kTrust + "so_reuseport = 1\nso_reuseport = 1\n"),
            (Lines{"a.ini:4: so_reuseport: it has no effect here: one process uses all cores, and no second one can "
                   "listen on its ports."}));
}

// A PgBouncer file that spells the defaults out is as good as one that does not.
TEST(Warnings, NoneForTheDefaultOfWhatHasNoEffect) {
  std::string text = kTrust;
  for (const OptionInfo& info : all_options()) {
    if (info.effect == OptionClass::kNoEffect) text += fmt::format("{} = {}\n", info.name, info.preset);
  }
  EXPECT_GT(text.size(), kTrust.size() + 100);
  EXPECT_EQ(warnings(text), Lines{});
}

// Who mistypes a protection must not believe to have it.
TEST(Doors, UnknownKeysThatMayProtectRefuse) {
  const std::string why = "unknown, and a protection may be missing without it";
  EXPECT_EQ(
      mistakes(kTrust + "client_tls_sslmod = require\n"),
      Lines{"a.ini:3: client_tls_sslmod: " + why + " (did you mean client_tls_sslmode?): correct or remove it"});
  EXPECT_EQ(mistakes(kTrust + "sslmode = require\n"), Lines{"a.ini:3: sslmode: " + why + ": correct or remove it"});
  EXPECT_EQ(mistakes("[databases]\na = host=x sslmode=require\n" + kTrust),
            Lines{"a.ini:2: a: sslmode: " + why + ": correct or remove it"});
  for (const char* key : {"server_tls_x", "auth_x", "failed_logins", "max_unauthenticated", "disable_x",
                          "cilent_tls_sslmode", "outh_type"}) {
    EXPECT_EQ(mistakes(kTrust + key + " = 1\n").size(), 1u) << key;
    EXPECT_EQ(warnings(kTrust + key + " = 1\n"), Lines{}) << key;
  }
  EXPECT_EQ(mistakes("[databases]\na = host=x auth_usr=b\n[users]\nu = sslmode=x\n" + kTrust).size(), 2u);
}

TEST(Warnings, TheNearestKnownKeyIsNamed) {
  EXPECT_EQ(warnings("[databases]\na = hots=x\n[users]\nu = pol_size=3\n" + kTrust + "default_pol_size = 3\n"),
            (Lines{"a.ini:2: a: hots: unknown, it is ignored (did you mean host?)",
                   "a.ini:4: u: pol_size: unknown, it is ignored (did you mean pool_size?)",
                   "a.ini:7: default_pol_size: unknown, it is ignored (did you mean default_pool_size?)"}));
  EXPECT_EQ(warnings(kTrust + std::string(100'000, 'x') + " = 3\n").size(), 1u);
}

TEST(Warnings, UnknownKeysAndSectionsAreListed) {
  EXPECT_EQ(warnings(kTrust + "max_clients = 5\n[peers]\n1 = host=a\n2 = host=b\n[extra]\nx = y\n"),
            (Lines{"a.ini:3: max_clients: unknown, it is ignored",
                   "a.ini:5: [peers]: it has no effect here: cancel requests are not passed on to other processes",
                   "a.ini:8: [extra]: unknown section, it is ignored"}));
  EXPECT_EQ(mistakes(kTrust + "max_clients = 5\n[peers]\n1 = host=a\n[extra]\nx = y\n"), Lines{});
}

TEST(Warnings, LoginsThatCannotWork) {
  EXPECT_EQ(warnings("[pgbouncer]\nauth_type = scram-sha-256\n"),
            (Lines{"a.ini: auth_file: it is not set: with auth_type scram-sha-256 nobody can log in"}));
  EXPECT_EQ(warnings("[databases]\na = host=x\nb = host=x user=u\n[pgbouncer]\nauth_type = any\n"),
            (Lines{"a.ini:5: auth_type: with any each database needs user=..., \"a\" has none: nobody can use it"}));
}

TEST(Rules, AuthQuery) {
  const std::string scram = "[databases]\na = host=/x\n[pgbouncer]\nauth_type = scram-sha-256\n";
  EXPECT_EQ(warnings(scram + "auth_user = u\n"), Lines{});  // nobody needs to be in auth_file
  EXPECT_EQ(
      warnings(scram + "auth_user = u\nauth_dbname = b\n"),
      (Lines{"a.ini:6: auth_dbname: auth_dbname: database \"b\" is not configured: nobody can be looked up there"}));
  EXPECT_EQ(warnings(scram + "auth_user = u\nauth_dbname = a\n"), Lines{});
  EXPECT_EQ(mistakes(scram + "auth_dbname = pgbouncer\n"),
            (Lines{"a.ini:5: auth_dbname: auth_dbname: \"pgbouncer\" is reserved for the console"}));
  EXPECT_EQ(warnings("[databases]\na = host=x auth_query='select 1'\n[pgbouncer]\nauth_type = trust\n"),
            (Lines{"a.ini: a: auth_query has no effect without auth_user"}));
  EXPECT_EQ(warnings("[databases]\na = host=x\n[pgbouncer]\nauth_type = trust\nauth_query = select 1\n"),
            (Lines{"a.ini:5: auth_query: it has no effect without auth_user"}));
}

TEST(Rules, Ports) {
  EXPECT_EQ(mistakes(kTrust + "transaction_port = 6543\nsession_port = 5432\n"), Lines{});
  EXPECT_EQ(mistakes(kTrust + "transaction_port = 6432\n"),
            (Lines{"a.ini:3: transaction_port: 6432 is listen_port too"}));
  EXPECT_EQ(mistakes(kTrust + "transaction_port = 7000\nsession_port = 7000\n"),
            (Lines{"a.ini:4: session_port: 7000 is transaction_port too"}));
  EXPECT_EQ(mistakes(kTrust + "unix_socket_dir =\n"),
            (Lines{"a.ini: listen_addr: nowhere to listen on: set listen_addr or unix_socket_dir"}));
  EXPECT_EQ(mistakes(kTrust + "unix_socket_dir =\nlisten_addr = *\n"), Lines{});
}

TEST(Rules, AReserveThatLeavesNothingForSessions) {
  const std::string ports = kTrust + "transaction_port = 6543\nsession_port = 5432\ndefault_pool_size = 1\n";
  EXPECT_EQ(warnings(ports), (Lines{"a.ini: transaction_reserve: 1 of the 1 servers of a pool are kept for "
                                    "transactions: session clients will never get one"}));
  EXPECT_EQ(warnings(ports + "transaction_reserve = 0\n"), Lines{});
}

TEST(Rules, SyslogFacility) {
  EXPECT_EQ(mistakes(kTrust + "syslog_facility = local7\n"), Lines{});
  EXPECT_EQ(mistakes(kTrust + "syslog_facility = mail\n").size(), 1u);
}

TEST(Lookup, Databases) {
  const Config config = build(kTrust + "[databases]\na = host=one\n* = host=other\na = host=two\n").config;
  EXPECT_EQ(config.find_database("a")->hosts, Lines{"two"});
  EXPECT_EQ(config.find_database("zzz")->name, "*");
  EXPECT_EQ(config.find_own_database("zzz"), nullptr);
  EXPECT_EQ(config.find_own_database("*"), nullptr);
  EXPECT_EQ(config.databases.size(), 2u);
  EXPECT_EQ(formatted(config.warnings), (Lines{"a.ini:6: a: named before, this line counts"}));
  EXPECT_EQ(build(kTrust + "[databases]\na =\n").config.find_database("b"), nullptr);
}

TEST(Lookup, UsersAndLists) {
  const Config config =
      build(kTrust +
            "admin_users = root, anna\nstats_users=mon\nignore_startup_parameters = extra_float_digits, Options\n"
            "track_extra_parameters = IntervalStyle\n"
            "[users]\nanna = pool_size=3\n")
          .config;
  EXPECT_EQ(config.find_user("anna")->pool_size, 3);
  EXPECT_EQ(config.find_user("bob"), nullptr);
  EXPECT_EQ(config.find_secret("anna"), nullptr);
  EXPECT_TRUE(config.is_admin("anna"));
  EXPECT_FALSE(config.is_admin("mon"));
  EXPECT_FALSE(config.is_admin("Anna"));
  EXPECT_TRUE(config.is_stats("mon"));
  EXPECT_FALSE(config.is_stats("root"));
  EXPECT_TRUE(config.ignores_startup_parameter("options"));
  EXPECT_TRUE(config.ignores_startup_parameter("extra_float_digits"));
  EXPECT_FALSE(config.ignores_startup_parameter("search_path"));
  EXPECT_TRUE(config.tracks_extra_parameter("intervalstyle"));
  EXPECT_TRUE(build("[pgbouncer]\nauth_type = any\n").config.is_admin("whoever"));
}

// Eight combinations for each value that all three levels may set.
TEST(Effective, UserBeforeDatabaseBeforeGlobal) {
  Config config;
  config.options.default_pool_size = 1;
  config.options.reserve_pool_size = 1;
  config.options.query_wait_timeout = 1;
  config.options.pool_mode = PoolMode::kSession;
  for (int bits = 0; bits < 4; ++bits) {
    DatabaseEntry database;
    UserEntry user;
    if (bits & 1) {
      database.pool_size = database.reserve_pool_size = 2;
      database.query_wait_timeout = 2;
      database.pool_mode = PoolMode::kTransaction;
    }
    if (bits & 2) {
      user.pool_size = user.reserve_pool_size = 3;
      user.query_wait_timeout = 3;
      user.pool_mode = PoolMode::kStatement;
    }
    for (const UserEntry* who : {static_cast<const UserEntry*>(nullptr), static_cast<const UserEntry*>(&user)}) {
      const int64_t expected = who && (bits & 2) ? 3 : (bits & 1) ? 2 : 1;
      EXPECT_EQ(config.pool_size(database, who), expected);
      EXPECT_EQ(config.reserve_pool_size(database, who), expected);
      EXPECT_EQ(config.query_wait_timeout(database, who), expected);
      EXPECT_EQ(static_cast<int64_t>(config.pool_mode(database, who)) + 1, expected);
    }
  }
}

TEST(Effective, ZeroIsAValueOfItsOwn) {
  Config config;
  config.options.max_db_connections = config.options.max_db_client_connections = 9;
  config.options.max_user_connections = config.options.max_user_client_connections = 9;
  config.options.query_timeout = config.options.idle_transaction_timeout = 9;
  config.options.transaction_timeout = config.options.client_idle_timeout = 9;
  DatabaseEntry database;
  UserEntry user;
  EXPECT_EQ(config.max_db_connections(database), 9);
  EXPECT_EQ(config.max_db_client_connections(database), 9);
  EXPECT_EQ(config.max_user_connections(&user), 9);
  EXPECT_EQ(config.max_user_client_connections(nullptr), 9);
  EXPECT_EQ(config.query_timeout(&user), 9);
  EXPECT_EQ(config.server_lifetime(database), 3600 * kSecond);
  database.max_db_connections = database.max_db_client_connections = 0;
  database.server_lifetime = 0;
  user.max_user_connections = user.max_user_client_connections = 0;
  user.query_timeout = user.idle_transaction_timeout = user.transaction_timeout = user.client_idle_timeout = 0;
  EXPECT_EQ(config.max_db_connections(database), 0);
  EXPECT_EQ(config.max_db_client_connections(database), 0);
  EXPECT_EQ(config.server_lifetime(database), 0);
  EXPECT_EQ(config.max_user_connections(&user), 0);
  EXPECT_EQ(config.max_user_client_connections(&user), 0);
  EXPECT_EQ(config.query_timeout(&user), 0);
  EXPECT_EQ(config.idle_transaction_timeout(&user), 0);
  EXPECT_EQ(config.transaction_timeout(&user), 0);
  EXPECT_EQ(config.client_idle_timeout(&user), 0);
}

TEST(Effective, MinPoolSizeIsAtMostThePool) {
  Config config;
  config.options.min_pool_size = 50;
  DatabaseEntry database;
  EXPECT_EQ(config.min_pool_size(database, nullptr), 20);
  database.min_pool_size = 4;
  EXPECT_EQ(config.min_pool_size(database, nullptr), 4);
  UserEntry user;
  user.pool_size = 2;
  EXPECT_EQ(config.min_pool_size(database, &user), 2);
}

}  // namespace
}  // namespace berth::config
