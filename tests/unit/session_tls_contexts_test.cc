// Goal: contexts follow the configuration and the files, and a file that cannot be taken changes nothing. Method:
// certificates made on the spot; the files are rewritten between the calls.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "base/log.h"
#include "session/tls_contexts.h"
#include "unit/certificates.h"

namespace berth::session {
namespace {

using test::certificate_pem;
using test::key_pem;

class TlsContextsTest : public testing::Test {
 protected:
  TlsContextsTest() {
    write(first);
    config.path = directory.path("a.ini");
    config.options.client_tls_sslmode = "require";
    config.options.client_tls_cert_file = directory.path("own.crt");
    config.options.client_tls_key_file = directory.path("own.key");
    config.options.server_tls_sslmode = "disable";
  }
  // As a careful program does: a new file takes the old one's place.
  void write(const test::Issued& issued) {
    directory.write("new.crt", certificate_pem(issued));
    directory.write("new.key", key_pem(issued));
    for (const char* kind : {"crt", "key"}) {
      EXPECT_EQ(0, rename(directory.path(std::string("new.") + kind).c_str(),
                          directory.path(std::string("own.") + kind).c_str()));
    }
  }
  void take() {
    Result<TlsContexts::Next> next = tls.prepare(config);
    ASSERT_TRUE(next) << next.error().text;
    tls.put(next.value());
  }
  std::string serial() { return tls.clients.context()->certificate().serial; }

  test::Directory directory;
  test::Issued first = test::issue({}), second = test::issue({});
  config::Config config;
  TlsContexts tls;
};

TEST_F(TlsContextsTest, WhatHasNotChangedStays) {
  take();
  const auto before = tls.clients.context();
  ASSERT_TRUE(before);
  EXPECT_FALSE(tls.servers.context());
  take();
  EXPECT_EQ(before, tls.clients.context());
  config.options.client_tls_protocols = "tlsv1.3";
  take();
  EXPECT_NE(before, tls.clients.context());
  config.options.client_tls_sslmode = "disable";
  take();
  EXPECT_FALSE(tls.clients.context());
}

TEST_F(TlsContextsTest, FilesThatChangeAreTaken) {
  take();
  const std::string before = serial();
  EXPECT_FALSE(tls.refresh(config));
  EXPECT_EQ(before, serial());
  write(second);
  EXPECT_FALSE(tls.refresh(config));  // servers have nothing to do with it
  EXPECT_NE(before, serial());
}

TEST_F(TlsContextsTest, AHalfWrittenPairChangesNothingUntilItIsWhole) {
  take();
  const std::string before = serial();
  directory.write("own.crt", certificate_pem(second));
  tls.refresh(config);
  EXPECT_EQ(before, serial());
  EXPECT_NE(std::string::npos, tls.clients.last_error().find("client_tls_key_file: the key of"))
      << tls.clients.last_error();
  EXPECT_FALSE(tls.prepare(config)) << "nor does a reload take it";
  directory.write("own.key", key_pem(second));
  tls.refresh(config);
  EXPECT_NE(before, serial());
  EXPECT_EQ("", tls.clients.last_error());
}

// SET of something else is no reason to look at files.
TEST_F(TlsContextsTest, SetKeepsWhatRunsWhileAFileIsBroken) {
  take();
  const auto before = tls.clients.context();
  directory.write("own.crt", certificate_pem(second));
  tls.refresh(config);
  const std::string error = tls.clients.last_error();
  ASSERT_NE("", error);
  Result<TlsContexts::Next> next = tls.prepare(config, TlsFiles::kKeep);
  ASSERT_TRUE(next) << next.error().text;
  tls.put(next.value());
  EXPECT_EQ(before, tls.clients.context());
  EXPECT_EQ(error, tls.clients.last_error()) << "SHOW TLS still says so";
  config.options.client_tls_protocols = "tlsv1.3";
  EXPECT_FALSE(tls.prepare(config, TlsFiles::kKeep)) << "a setting of TLS needs the files";
}

TEST_F(TlsContextsTest, AFileThatIsGoneChangesNothing) {
  take();
  const std::string before = serial();
  ASSERT_EQ(0, remove(directory.path("own.key").c_str()));
  tls.refresh(config);
  EXPECT_EQ(before, serial());
  EXPECT_NE(std::string::npos, tls.clients.last_error().find("No such file"));
  write(first);
  tls.refresh(config);
  EXPECT_EQ("", tls.clients.last_error());
}

TEST_F(TlsContextsTest, AnErrorNamesThePlaceOfTheSetting) {
  config.options.client_tls_cert_file = directory.path("nowhere");
  config.option_places["client_tls_cert_file"] = {"a.ini", 7, "client_tls_cert_file", {}};
  const auto next = tls.prepare(config);
  ASSERT_FALSE(next);
  EXPECT_TRUE(next.error().text.starts_with("a.ini:7: client_tls_cert_file: cannot open")) << next.error().text;
}

TEST_F(TlsContextsTest, EachSettingHasItsPlace) {
  config::Options& options = config.options;
  options.client_tls_sslmode = "verify-ca";
  options.client_tls_ca_file = "/1", options.client_tls_cert_file = "/2", options.client_tls_key_file = "/3";
  options.client_tls_protocols = "4", options.client_tls_ciphers = "5", options.client_tls13_ciphers = "6";
  options.client_tls_ecdhcurve = "7", options.client_tls_dheparams = "/8";
  options.server_tls_sslmode = "require";
  options.server_tls_ca_file = "/9", options.server_tls_cert_file = "/10", options.server_tls_key_file = "/11";
  options.server_tls_protocols = "12", options.server_tls_ciphers = "13", options.server_tls13_ciphers = "14";
  EXPECT_EQ((net::TlsSettings{net::TlsMode::kVerifyCa, "/1", "/2", "/3", "4", "5", "6", "7", "/8"}),
            client_tls_settings(config));
  EXPECT_EQ((net::TlsSettings{net::TlsMode::kRequire, "/9", "/10", "/11", "12", "13", "14", "auto", "auto"}),
            server_tls_settings(config));
}

// T32.
TEST_F(TlsContextsTest, ServersAreGivenUpWhenTheirTlsChanges) {
  const test::Issued authority = test::make_authority(), other = test::make_authority();
  const auto changes = [&] { return tls.servers_changed.load(); };
  take();
  uint32_t seen = changes();
  config.options.client_tls_protocols = "tlsv1.3";
  take();
  EXPECT_EQ(seen, changes()) << "clients' settings do not matter to servers";
  config.options.server_tls_sslmode = "verify-full";
  config.options.server_tls_ca_file = directory.write("ca.crt", certificate_pem(authority));
  take();
  EXPECT_EQ(seen + 1, changes());
  take();
  EXPECT_EQ(seen + 1, changes());
  config.options.server_tls_cert_file = directory.path("own.crt");
  config.options.server_tls_key_file = directory.path("own.key");
  take();
  EXPECT_EQ(seen + 2, changes());
  write(second);
  EXPECT_FALSE(tls.refresh(config)) << "a renewed certificate of ours makes no server worse";
  directory.write("ca.crt", certificate_pem(other));
  EXPECT_TRUE(tls.refresh(config));
  EXPECT_EQ(seen + 3, changes());
  config.options.server_tls_sslmode = "prefer";
  take();
  EXPECT_EQ(seen + 4, changes());
}

// While it lasts a variable of the environment has a value.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

// T32: the roots of the system are files, too.
TEST_F(TlsContextsTest, RootsOfTheSystemAreReadAgain) {
  const test::Issued authority = test::make_authority(), other = test::make_authority();
  ASSERT_EQ(0, mkdir(directory.path("roots").c_str(), 0700));
  ASSERT_EQ(0, mkdir(directory.path("more").c_str(), 0700));
  const Variable file("SSL_CERT_FILE", directory.write("ca.crt", certificate_pem(authority)));
  const Variable places("SSL_CERT_DIR", directory.path("roots") + ":" + directory.path("more"));
  config.options.server_tls_sslmode = "verify-full";
  config.options.server_tls_ca_file = "system";
  take();
  EXPECT_FALSE(tls.refresh(config));
  directory.write("ca.crt", certificate_pem(other));
  EXPECT_TRUE(tls.refresh(config));
  EXPECT_FALSE(tls.refresh(config));
  for (const char* place : {"roots/", "more/"}) {
    const std::string added = directory.write(place + std::string("added.crt"), certificate_pem(authority));
    EXPECT_TRUE(tls.refresh(config));
    ASSERT_EQ(0, remove(added.c_str()));
    const auto before = tls.servers.context();
    take();  // a RELOAD does so, too
    EXPECT_NE(before, tls.servers.context());
  }
  ASSERT_EQ(0, remove(directory.path("ca.crt").c_str()));
  EXPECT_TRUE(tls.refresh(config)) << "it is gone, and trusted no more";
  EXPECT_FALSE(tls.refresh(config));
}

// The log's lines about expiry, from the word on.
class TlsExpiryTest : public TlsContextsTest {
 protected:
  TlsExpiryTest() {
    LogTarget target;
    target.file = directory.path("log");
    target.to_stderr = false;
    EXPECT_EQ("", log_configure(target));
  }
  ~TlsExpiryTest() override { log_configure({}); }

  // What ends so many seconds from now, towards clients.
  void ends_in(long seconds) {
    test::Wanted wanted;
    wanted.from = std::min(seconds, 0L) - 3600;
    wanted.until = seconds;
    write(test::issue(wanted));
    take();
  }
  std::vector<std::string> warnings() const {
    std::vector<std::string> out;
    std::ifstream in(directory.path("log"));
    const std::string begin = "WARNING the certificate of \"" + directory.path("own.crt") + "\" expire";
    for (std::string line; std::getline(in, line);) {
      const size_t at = line.find(begin);
      if (at != std::string::npos) out.push_back(line.substr(at + begin.size() - 6));
    }
    return out;
  }
};

constexpr long kDay = 24 * 3600;
using Lines = std::vector<std::string>;

TEST_F(TlsExpiryTest, BothSidesOfTheThreshold) {
  ends_in(kExpiryWarningDays * kDay + 600);
  tls.warn_of_expiry(0);
  EXPECT_EQ(Lines(), warnings());
  ends_in(kExpiryWarningDays * kDay - 600);
  tls.warn_of_expiry(0);
  EXPECT_EQ(Lines{"expires in 13 days"}, warnings());
}

TEST_F(TlsExpiryTest, OneThatHasExpired) {
  ends_in(-3 * kDay - 600);
  tls.warn_of_expiry(0);
  EXPECT_EQ(Lines{"expired 3 days ago"}, warnings());
}

TEST_F(TlsExpiryTest, OnceADayAndAtOnceForAnother) {
  const Micros day = kDay * kSecond, start = 7 * day;
  ends_in(5 * kDay + 600);
  for (const Micros now : {start, start + 1, start + day - 1}) tls.warn_of_expiry(now);
  EXPECT_EQ(1u, warnings().size());
  tls.warn_of_expiry(start + day);
  EXPECT_EQ(2u, warnings().size());
  ends_in(2 * kDay + 600);
  tls.warn_of_expiry(start + day + 1);
  EXPECT_EQ((Lines{"expires in 5 days", "expires in 5 days", "expires in 2 days"}), warnings());
}

TEST_F(TlsExpiryTest, OfServersToo) {
  config.options.client_tls_sslmode = "disable";
  config.options.server_tls_sslmode = "require";
  config.options.server_tls_cert_file = config.options.client_tls_cert_file;
  config.options.server_tls_key_file = config.options.client_tls_key_file;
  ends_in(kDay + 600);
  tls.warn_of_expiry(0);
  EXPECT_EQ(Lines{"expires in 1 day"}, warnings());
}

// Roots end as well, and a list of revoked certificates that nobody has replaced stops every login by certificate.
TEST_F(TlsExpiryTest, OfRootsAndLists) {
  const test::Issued authority = test::make_authority();
  test::Wanted wanted;
  wanted.name = "old root";
  wanted.authority = true;
  wanted.from = -10 * kDay;
  wanted.until = -kDay - 600;
  const std::string path = directory.path("roots");
  const auto look = [&](const std::string& text) {
    config.options.client_tls_ca_file = directory.write("roots", text);
    take();
    return expiry_warnings(*tls.clients.context(), wall_now() / kSecond);
  };
  const std::string roots = certificate_pem(authority);
  EXPECT_EQ(Lines(), look(roots + test::crl_pem(authority, first, 600))) << "lists are made for a short time";
  EXPECT_EQ(
      Lines{"the list of revoked certificates of \"CN=test authority\" in \"" + path +
            "\" is overdue for less than a day: no certificate of its authority is taken until there is a new one"},
      look(roots + test::crl_pem(authority, first, -600)));
  EXPECT_EQ(Lines{"the certificate \"CN=old root\" of \"" + path + "\" expired 1 day ago"},
            look(roots + certificate_pem(test::issue(wanted))));
  std::string many;
  for (size_t i = 0; i < kExpiryWarningsMax + 5; ++i) many += certificate_pem(test::issue(wanted));
  const Lines lines = look(many);
  ASSERT_EQ(kExpiryWarningsMax + 1, lines.size());
  EXPECT_EQ("5 more certificates have expired, or will soon", lines.back());
}

TEST_F(TlsExpiryTest, OneMoreIsSaidAtOnce) {
  const test::Issued authority = test::make_authority();
  config.options.client_tls_ca_file =
      directory.write("roots", certificate_pem(authority) + test::crl_pem(authority, first, 600));
  ends_in(5 * kDay);
  const int64_t today = wall_now() / kSecond;
  tls.warn_of_expiry(0, today);
  tls.warn_of_expiry(1, today);
  EXPECT_EQ(1u, warnings().size());
  tls.warn_of_expiry(2, today + 700);  // the list is overdue
  tls.warn_of_expiry(3, today + 700);
  EXPECT_EQ(2u, warnings().size());
}

}  // namespace
}  // namespace berth::session
