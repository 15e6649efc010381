// Goal: what a directory is asked cannot be bent by a user's name, an empty password is never passed on, and whoever
// was not found right is not let in. Method: the pure parts of LDAP, and the exchange with questions that the test
// answers.
#include "auth/ldap.h"
#include "auth/pam.h"
#include "unit/auth_support.h"

namespace berth::auth {
namespace {

using Kind = Step::Kind;

config::LdapOptions options_of(std::string_view text) {
  const Result<config::LdapOptions> parsed = config::parse_ldap_options(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? parsed.value() : config::LdapOptions{};
}

TEST(Ldap, ANameInAFilterIsOnlyAName) {
  const auto filter = [](std::string_view text, std::string_view user) {
    return search_filter(options_of(text), user);
  };
  EXPECT_EQ(filter("ldapbasedn=dc=x", "ann"), "(uid=ann)");
  EXPECT_EQ(filter("ldapbasedn=dc=x ldapsearchattribute=mail", "a@b"), "(mail=a@b)");
  EXPECT_EQ(filter("ldapbasedn=dc=x", "*"), "(uid=\\2a)");
  EXPECT_EQ(filter("ldapbasedn=dc=x", "a)(uid=*"), "(uid=a\\29\\28uid=\\2a)");
  EXPECT_EQ(filter("ldapbasedn=dc=x", "a\\2a"), "(uid=a\\5c2a)");
  EXPECT_EQ(filter("ldapbasedn=dc=x ldapsearchfilter=(|(uid=$username)(mail=$username@x))", "$username*"),
            "(|(uid=$username\\2a)(mail=$username\\2a@x))");
  EXPECT_EQ(escape_for_filter(std::string_view("a\0b", 3)), "a\\00b");
}

TEST(Ldap, ANameInADnIsOnlyAName) {
  const auto name = [](std::string_view text, std::string_view user) {
    return simple_bind_name(options_of(text), user);
  };
  EXPECT_EQ(name("ldapserver=h ldapprefix=cn= ldapsuffix=\",dc=x\"", "ann"), "cn=ann,dc=x");
  EXPECT_EQ(name("ldapserver=h ldapprefix=cn= ldapsuffix=\",dc=x\"", "ann,ou=admins"), "cn=ann\\2cou\\3dadmins,dc=x");
  EXPECT_EQ(escape_for_dn(" a\\+\"<>;#b "), "\\20a\\5c\\2b\\22\\3c\\3e\\3b\\23b\\20");
  EXPECT_EQ(name("ldapserver=h ldapsuffix=@example.net", "o'hara"), "o'hara@example.net");
  EXPECT_EQ(name("ldapserver=h ldapprefix=\"DOM\\\"", "a#b"), "DOM\\a#b") << "no DN: as it is";
}

TEST(Ldap, Servers) {
  const auto uris = [](std::string_view text) { return server_uris(options_of(text)); };
  EXPECT_EQ(uris("ldapserver=h ldapbasedn=dc=x"), "ldap://h:389");
  EXPECT_EQ(uris("ldapserver=\"one  two\" ldapbasedn=dc=x ldapscheme=ldaps"), "ldaps://one:636 ldaps://two:636");
  EXPECT_EQ(uris("ldapserver=::1 ldapport=99 ldapbasedn=dc=x"), "ldap://[::1]:99");
  EXPECT_EQ(uris("ldapurl=ldap://[::1]:99/dc=x"), "ldap://[::1]:99");
}

// A directory that cannot be reached is broken, which is not the same as a wrong password.
TEST(Ldap, NobodyListens) {
  LdapCheck check(options_of("ldapserver=127.0.0.1 ldapport=1 ldapbasedn=dc=x"), "ann", "pw");
  EXPECT_EQ(check.lane, Lane::kLdap);
  check.run();
  EXPECT_TRUE(check.broken && !check.right);
  EXPECT_NE(check.why, "");
}

TEST(Pam, AServiceThatIsNotThere) {
  PamCheck check("no-such-service-of-pgberth", "nobody_here", "pw", "127.0.0.1");
  EXPECT_EQ(check.lane, Lane::kPam);
  check.run();
  EXPECT_FALSE(check.right);
  EXPECT_EQ(check.why.find("pw"), std::string::npos);
}

class Asked final : public PasswordCheck {
 public:
  Asked(std::string_view user, std::string_view password) : PasswordCheck(Lane::kPam, user, password) {}
  void run() override {
    right = user() == "ann" && password() == "pencil";
    broken = user() == "nobody can say";
    why = right ? "" : "not so";
  }
};

struct Exchange {
  int asked = 0;
  std::unique_ptr<ClientVerifier> verifier = make_checking_verifier([this](std::string_view password) {
    ++asked;
    return std::make_unique<Asked>("ann", password);
  });
  Exchange() { EXPECT_EQ(code_of(verifier->start()), AuthCode::kCleartextPassword); }
  static AuthCode code_of(const Step& step) {
    return static_cast<AuthCode>(wire::read32(body_of(step.bytes, wire::kAuthentication).data()));
  }
};

TEST(PasswordCheck, IsWorkAndDecides) {
  for (const std::string_view password : {"pencil", "wrong"}) {
    Exchange exchange;
    const Step step = exchange.verifier->feed(with_nul(password));
    ASSERT_EQ(step.kind, Kind::kWork);
    EXPECT_EQ(exchange.verifier->password(), "") << "not proved yet";
    step.work->run();
    const Step end = exchange.verifier->resume(*step.work);
    EXPECT_EQ(end.kind, password == "pencil" ? Kind::kOk : Kind::kFailed);
    EXPECT_FALSE(end.protocol_violation);
    EXPECT_EQ(exchange.verifier->password(), password == "pencil" ? "pencil" : "");
    EXPECT_TRUE(exchange.verifier->feed(with_nul("pencil")).protocol_violation);
    EXPECT_EQ(exchange.asked, 1);
  }
}

TEST(PasswordCheck, WhatNobodyCanSayIsToldApart) {
  for (const char* user : {"ann", "nobody can say"}) {
    const auto verifier =
        make_checking_verifier([user](std::string_view password) { return std::make_unique<Asked>(user, password); });
    verifier->start();
    const Step step = verifier->feed(with_nul("wrong"));
    step.work->run();
    const Step end = verifier->resume(*step.work);
    EXPECT_EQ(end.kind, Kind::kFailed);
    EXPECT_EQ(end.unproved, std::string_view(user) != "ann");
  }
}

TEST(PasswordCheck, NothingIsAskedForAnEmptyOrMalformedOne) {
  for (const std::string& body : {with_nul(""), std::string(), std::string("pencil"), with_nul("a") + "b"}) {
    Exchange exchange;
    const Step step = exchange.verifier->feed(body);
    EXPECT_EQ(step.kind, Kind::kFailed);
    EXPECT_EQ(step.protocol_violation, body != with_nul(""));
    EXPECT_EQ(exchange.asked, 0);
  }
}

}  // namespace
}  // namespace berth::auth
