// Goal: contexts follow the configuration and the files, and a file that cannot be taken changes nothing. Method:
// certificates made on the spot; the files are rewritten between the calls.
#include <gtest/gtest.h>

#include <cstdio>

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

TEST_F(TlsContextsTest, RelativeNamesMayStandBesideTheConfiguration) {
  config.options.client_tls_cert_file = "own.crt";
  config.options.client_tls_key_file = "own.key";
  take();
  EXPECT_EQ(directory.path("own.crt"), tls.clients.context()->settings().cert_file);
  directory.write("system", "");
  config.options.server_tls_ca_file = "system";
  EXPECT_EQ("system", server_tls_settings(config).ca_file) << "a word, not a file";
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

}  // namespace
}  // namespace berth::session
