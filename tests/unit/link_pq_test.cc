// What libpq is told of TLS for the link: the settings server_tls_* as the broker itself takes them, and nothing of
// a home directory.
#include "link/pq.h"

#include <gtest/gtest.h>
#include <libpq-fe.h>
#include <stdlib.h>

#include "unit/certificates.h"

namespace berth::link {
namespace {

constexpr const char* kNoFile = "/dev/null/none";

class LinkPq : public testing::Test {
 protected:
  LinkPq() {
    config.path = directory.path("a.ini");
    config.options.server_tls_sslmode = "verify-full";
    config.options.server_tls_ca_file = directory.path("roots.pem");
    directory.write("roots.pem", test::certificate_pem(authority));
  }
  std::string told(const std::string& key) const {
    std::string out = "nothing";
    for (const config::Pair& pair : connect_parameters({}, "test", config, {})) {
      if (pair.key == key) out = pair.value;
    }
    return out;
  }
  std::string versions(const char* setting) {
    config.options.server_tls_protocols = setting;
    return told("ssl_min_protocol_version") + " to " + told("ssl_max_protocol_version");
  }

  test::Directory directory;
  test::Issued authority = test::make_authority();
  config::Config config;
};

TEST_F(LinkPq, FilesAreThoseOfTheConfiguration) {
  config.options.server_tls_cert_file = directory.path("own.crt");
  config.options.server_tls_key_file = directory.path("own.key");
  EXPECT_EQ(told("sslrootcert"), directory.path("roots.pem"));
  EXPECT_EQ(told("sslcert"), directory.path("own.crt"));
  EXPECT_EQ(told("sslkey"), directory.path("own.key"));
}

TEST_F(LinkPq, TheWordSystemIsNoFile) {
  directory.write("system", "");
  config.options.server_tls_ca_file = "system";
  const std::string roots = told("sslrootcert");  // a libpq of before 16 does not know the word
  EXPECT_TRUE(roots == "system" || roots == "/etc/ssl/certs/ca-certificates.crt") << roots;
}

// T25.
TEST_F(LinkPq, RevokedCertificatesOfTheFileOfRoots) {
  EXPECT_EQ(told("sslcrl"), kNoFile) << "not ~/.postgresql/root.crl";
  const test::Issued bad = test::issue({}, &authority);
  directory.write("roots.pem", test::certificate_pem(authority) + test::crl_pem(authority, bad));
  EXPECT_EQ(told("sslcrl"), directory.path("roots.pem"));
  config.options.server_tls_sslmode = "require";
  EXPECT_EQ(told("sslrootcert") + told("sslcrl"), std::string(kNoFile) + kNoFile) << "nothing is checked";
}

TEST_F(LinkPq, NothingOfTheHomeDirectory) {
  config.options.server_tls_ca_file = "";
  for (const char* key : {"sslrootcert", "sslcrl", "sslcert", "sslkey", "passfile"}) {
    EXPECT_EQ(told(key), kNoFile) << key;
  }
}

// libpq's own list of what it takes from variables, and those that stand in no list.
TEST_F(LinkPq, NothingOfTheEnvironment) {
  std::vector<std::string> names{"PGTZ", "PGDATESTYLE", "PGGEQO", "PGSERVICEFILE", "PGSYSCONFDIR", "PGLOCALEDIR"};
  PQconninfoOption* const options = PQconndefaults();
  for (const PQconninfoOption* option = options; option && option->keyword; ++option) {
    if (option->envvar) names.emplace_back(option->envvar);
  }
  PQconninfoFree(options);
  ASSERT_GT(names.size(), 20u);
  for (const std::string& name : names) setenv(name.c_str(), "hostile", 1);
  setenv("PGBERTH_TEST", "own", 1);
  forget_environment();
  for (const std::string& name : names) EXPECT_EQ(nullptr, getenv(name.c_str())) << name;
  EXPECT_STREQ("own", getenv("PGBERTH_TEST"));
  unsetenv("PGBERTH_TEST");
}

// T25.
TEST_F(LinkPq, DirectNegotiationThatTheLibraryDoesNotKnow) {
  const auto said = [this](int version) {
    std::string out;
    for (const config::Remark& remark : unknown_to_libpq(config, version)) out += remark.text + "\n";
    return out;
  };
  config.options.link = "host=db.example.net dbname=postgres user=app";
  config.options.auth_user = "looker";  // which is no business of libpq's
  config.databases.emplace_back().hosts = {"db.example.net"};
  EXPECT_EQ(said(150000), "");
  config.options.server_tls_negotiation = "direct";
  EXPECT_EQ(
      said(150000),
      "the connection of link to db.example.net asks for TLS by SSLRequest all the same: the installed libpq 15 "
      "knows direct from 17 on\n");
  EXPECT_EQ(said(0), said(PQlibVersion()));
  EXPECT_EQ(told("sslnegotiation"), said(0).empty() ? "direct" : "nothing") << "told or warned of";
  EXPECT_EQ(said(170000), "");
  config.options.link = "host=/run/postgresql";
  EXPECT_EQ(said(150000), "") << "no TLS there";
}

TEST_F(LinkPq, Protocols) {
  EXPECT_EQ(versions("secure"), "TLSv1.2 to TLSv1.3");
  EXPECT_EQ(versions("all"), "TLSv1 to TLSv1.3");
  EXPECT_EQ(versions("tlsv1.3"), "TLSv1.3 to TLSv1.3");
  EXPECT_EQ(versions("tlsv1.1,tlsv1.2"), "TLSv1.1 to TLSv1.2");
  EXPECT_EQ(versions("all,!tlsv1.2"), "TLSv1.3 to TLSv1.3") << "a range with a gap would let in what was taken away";
}

}  // namespace
}  // namespace berth::link
