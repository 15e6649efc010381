// Goal: TlsContext takes PgBouncer's words and files, refuses what is wrong by setting and file, and its handshakes
// do what the mode says. Method: certificates made on the spot; two SSL objects that talk through memory.
#include "net/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/secret_memory.h"
#include "net/tls_tickets.h"
#include "net/tls_words.h"
#include "unit/tls_contexts.h"

namespace berth::net {
namespace {

using test::certificate_pem;
using test::issue;
using test::Issued;
using test::key_pem;

class TlsContextTest : public TlsContextFixture {};

TEST_F(TlsContextTest, TheCertificateIsDescribed) {
  const auto made = TlsContext::for_clients(of_clients);
  ASSERT_TRUE(made) << made.error().text;
  const CertificateFacts& facts = made.value()->certificate();
  EXPECT_TRUE(facts.present);
  EXPECT_EQ("CN=localhost", facts.subject);
  EXPECT_EQ("CN=test authority", facts.issuer);
  EXPECT_FALSE(facts.serial.empty());
  EXPECT_NEAR(static_cast<double>(facts.not_after - facts.not_before), 30 * 24 * 3600 + 3600, 2);
  EXPECT_TRUE(made.value()->warnings().empty());
  ASSERT_EQ(2u, made.value()->files().size());
  for (const FileStamp& file : made.value()->files()) EXPECT_EQ(file, stamp_of(file.path));
  directory.write("server.crt", certificate_pem(server));
  EXPECT_NE(made.value()->files()[0], stamp_of(of_clients.cert_file));
}

TEST_F(TlsContextTest, WhatIsWrongIsSaidBySettingAndFile) {
  TlsSettings bad = of_clients;
  bad.cert_file = bad.key_file = "";
  expect_refused(bad, "client_tls_cert_file", "needs a certificate");
  bad = of_clients;
  bad.key_file = "";
  expect_refused(bad, "client_tls_cert_file", "no key");
  bad = of_clients;
  bad.cert_file = "";
  expect_refused(bad, "client_tls_key_file", "without a certificate");
  bad = of_clients;
  bad.cert_file = directory.path("nowhere");
  expect_refused(bad, "client_tls_cert_file", directory.path("nowhere") + "\": No such file");
  bad = of_clients;
  bad.cert_file = directory.write("junk", "junk");
  expect_refused(bad, "client_tls_cert_file", "no certificate in \"" + bad.cert_file);
  const std::string whole = certificate_pem(server);
  bad.cert_file = directory.write("half", whole.substr(0, whole.size() / 2));
  expect_refused(bad, "client_tls_cert_file", bad.cert_file);
  bad.cert_file = directory.write("chain", whole + whole.substr(0, whole.size() / 2));
  expect_refused(bad, "client_tls_cert_file", "broken certificate");
  bad = of_clients;
  bad.key_file = directory.write("other.key", key_pem(client));
  expect_refused(bad, "client_tls_key_file", "does not belong to the certificate of \"" + bad.cert_file);
  bad.key_file = directory.path("");
  expect_refused(bad, "client_tls_key_file", "is not a file");
  bad = of_clients;
  bad.mode = TlsMode::kVerifyCa;
  expect_refused(bad, "client_tls_ca_file", "verify-ca needs root certificates");
  bad.ca_file = directory.write("empty", "");
  expect_refused(bad, "client_tls_ca_file", "empty");
  bad = of_clients;
  bad.protocols = "tlsv1.4";
  expect_refused(bad, "client_tls_protocols", "tlsv1.4");
  bad = of_clients;
  bad.ciphers = "nonesuch";
  expect_refused(bad, "client_tls_ciphers", "nonesuch");
  bad = of_clients;
  bad.tls13_ciphers = "nonesuch";
  expect_refused(bad, "client_tls13_ciphers", "nonesuch");
  bad = of_clients;
  bad.ecdhcurve = "nonesuch";
  expect_refused(bad, "client_tls_ecdhcurve", "nonesuch");
  bad = of_clients;
  bad.dheparams = directory.path("nowhere");
  expect_refused(bad, "client_tls_dheparams", "nowhere");
  of_servers.mode = TlsMode::kVerifyFull;
  EXPECT_TRUE(TlsContext::for_servers(of_servers).error().text.starts_with("server_tls_ca_file: verify-full"));
  of_servers.mode = TlsMode::kVerifyCa;
  of_servers.ca_file = "system";
  EXPECT_TRUE(TlsContext::for_servers(of_servers).error().text.starts_with("server_tls_ca_file: the system's"));
  of_servers.mode = TlsMode::kVerifyFull;
  EXPECT_TRUE(TlsContext::for_servers(of_servers));
}

TEST_F(TlsContextTest, AKeyThatOthersMayReadIsRefused) {
  for (const mode_t mode : {0644, 0604, 0660, 0602}) {
    of_clients.key_file = directory.write("open.key", key_pem(server), mode);
    expect_refused(of_clients, "client_tls_key_file", "group or world access");
  }
  of_clients.key_file = directory.write("group.key", key_pem(server), 0640);
  const auto made = TlsContext::for_clients(of_clients);
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_EQ(geteuid() == 0 ? 0u : 1u, made.value()->warnings().size());  // root's key may have readers
}

// PostgreSQL and its libpq want more of a key's mode; the latter makes the link.
TEST_F(TlsContextTest, AKeyThatLibpqRefusesIsWarnedOf) {
  of_clients.ca_file.clear();
  of_clients.key_file = directory.write("group.key", key_pem(server), 0640);
  of_servers.cert_file = of_clients.cert_file;
  of_servers.key_file = of_clients.key_file;
  of_servers.mode = TlsMode::kRequire;
  of_servers.ca_file.clear();
  const uid_t me = geteuid(), other = me == 0 ? 65534 : me;  // root's key may have readers
  for (const std::string& path : {directory.path(""), of_clients.cert_file, of_clients.key_file})
    ASSERT_EQ(0, chown(path.c_str(), other, static_cast<gid_t>(-1)));
  ASSERT_EQ(0, seteuid(other));
  const auto for_servers = TlsContext::for_servers(of_servers);
  const auto for_clients = TlsContext::for_clients(of_clients);
  ASSERT_EQ(0, seteuid(me));
  ASSERT_TRUE(for_servers) << for_servers.error().text;
  ASSERT_TRUE(for_clients) << for_clients.error().text;
  ASSERT_EQ(1u, for_servers.value()->warnings().size());
  EXPECT_NE(std::string::npos, for_servers.value()->warnings()[0].find("libpq, which refuses it"));
  ASSERT_EQ(1u, for_clients.value()->warnings().size());
  EXPECT_EQ(std::string::npos, for_clients.value()->warnings()[0].find("libpq"));
}

TEST_F(TlsContextTest, TheTermsOfEverything) {
  test::Wanted wanted;
  wanted.until = -60;
  const Issued old = issue(wanted, &authority), other = test::make_authority("another one");
  of_clients.cert_file = directory.write("old.crt", certificate_pem(old) + certificate_pem(other));
  of_clients.key_file = directory.write("old.key", key_pem(old));
  // Of two lists of one authority the newer counts, wherever it stands.
  of_clients.ca_file =
      directory.write("roots", certificate_pem(authority) + certificate_pem(other) +
                                   test::crl_pem(authority, old, -3600) + test::crl_pem(authority, old, 3600) +
                                   test::crl_pem(authority, old, -7200) + test::crl_pem(other, old, -3600));
  const auto made = TlsContext::for_clients(of_clients);
  ASSERT_TRUE(made);
  EXPECT_TRUE(made.value()->warnings().empty());
  std::vector<std::string> ended, lasting;
  for (const TlsTerm& term : made.value()->terms()) {
    (term.until < made.value()->loaded_at() ? ended : lasting).push_back(term.what);
  }
  const std::string roots = "\"" + of_clients.ca_file + "\"", own = "\"" + of_clients.cert_file + "\"";
  const std::string list = "the list of revoked certificates of ";
  std::sort(ended.begin(), ended.end());
  std::sort(lasting.begin(), lasting.end());
  EXPECT_EQ((std::vector<std::string>{"the certificate of " + own, list + "\"CN=another one\" in " + roots}), ended);
  EXPECT_EQ((std::vector<std::string>{
                "the certificate \"CN=another one\" of " + own, "the certificate \"CN=another one\" of " + roots,
                "the certificate \"CN=test authority\" of " + roots, list + "\"CN=test authority\" in " + roots}),
            lasting);
}

TEST_F(TlsContextTest, ACertificateThatIsNotValidYetIsWarnedOf) {
  test::Wanted wanted;
  wanted.from = 3600;
  const Issued young = issue(wanted, &authority);
  of_clients.cert_file = directory.write("young.crt", certificate_pem(young));
  of_clients.key_file = directory.write("young.key", key_pem(young));
  const auto made = TlsContext::for_clients(of_clients);
  ASSERT_TRUE(made);
  ASSERT_EQ(1u, made.value()->warnings().size());
  EXPECT_NE(std::string::npos, made.value()->warnings()[0].find("is not valid yet"));
}

TEST_F(TlsContextTest, TheModeSaysWhatIsChecked) {
  const auto ours = TlsContext::for_clients(of_clients).value();
  of_servers.mode = TlsMode::kVerifyFull;
  of_servers.ca_file = roots;
  const auto full = TlsContext::for_servers(of_servers).value();
  for (const char* right : {"localhost", "127.0.0.1", "db.example.org"}) EXPECT_TRUE(shake(*ours, *full, right).done);
  for (const char* wrong : {"localhost.evil", "127.0.0.2", "a.b.example.org", "example.org", "::1"}) {
    EXPECT_FALSE(shake(*ours, *full, wrong).done) << wrong;
  }
  of_servers.mode = TlsMode::kVerifyCa;
  EXPECT_TRUE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "other").done);
  of_servers.ca_file = directory.write("other.crt", certificate_pem(test::make_authority("other")));
  EXPECT_FALSE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "localhost").done);
  of_servers.mode = TlsMode::kRequire;
  EXPECT_TRUE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "localhost").done);
}

TEST_F(TlsContextTest, ARevokedCertificateIsRefused) {
  const auto ours = TlsContext::for_clients(of_clients).value();
  of_servers.mode = TlsMode::kVerifyFull;
  of_servers.ca_file = directory.write("ca.pem", certificate_pem(authority) + test::crl_pem(authority, client));
  EXPECT_TRUE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "localhost").done);
  directory.write("ca.pem", certificate_pem(authority) + test::crl_pem(authority, server));
  EXPECT_FALSE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "localhost").done);
}

// The list of the authority above counts as well.
TEST_F(TlsContextTest, ARevokedAuthorityProvesNothing) {
  test::Wanted wanted;
  wanted.name = "between";
  wanted.authority = true;
  const Issued between = issue(wanted, &authority);
  wanted = {};
  wanted.alternatives = "DNS:localhost";
  const Issued below = issue(wanted, &between);
  of_clients.cert_file = directory.write("chain.crt", certificate_pem(below) + certificate_pem(between));
  of_clients.key_file = directory.write("chain.key", key_pem(below));
  const auto ours = TlsContext::for_clients(of_clients).value();
  of_servers.mode = TlsMode::kVerifyFull;
  const std::string trusted = certificate_pem(authority) + test::crl_pem(between, client);
  of_servers.ca_file = directory.write("ca.pem", trusted + test::crl_pem(authority, client));
  EXPECT_TRUE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "localhost").done);
  directory.write("ca.pem", trusted + test::crl_pem(authority, between));
  EXPECT_FALSE(shake(*ours, *TlsContext::for_servers(of_servers).value(), "localhost").done);
}

// With an anonymous cipher nobody shows a certificate, and OpenSSL finds nothing to check.
TEST_F(TlsContextTest, AnonymousCiphersAreNeverSpoken) {
  const std::shared_ptr<SSL_CTX> nobody(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_set_max_proto_version(nobody.get(), TLS1_2_VERSION);
  ASSERT_EQ(1, SSL_CTX_set_cipher_list(nobody.get(), "aNULL:@SECLEVEL=0"));
  SSL_CTX_set_dh_auto(nobody.get(), 1);
  of_servers.ca_file = roots;
  of_servers.ciphers = "ALL:@SECLEVEL=0";
  for (const TlsMode mode : {TlsMode::kRequire, TlsMode::kVerifyCa, TlsMode::kVerifyFull}) {
    of_servers.mode = mode;
    const auto theirs = TlsContext::for_servers(of_servers);
    ASSERT_TRUE(theirs) << theirs.error().text;
    EXPECT_FALSE(shake(nobody.get(), *theirs.value(), "localhost").done) << to_string(mode);
  }
  of_clients.ciphers = "aNULL:@SECLEVEL=0";
  expect_refused(of_clients, "client_tls_ciphers", "no cipher of \"aNULL:@SECLEVEL=0\"");
}

TEST_F(TlsContextTest, ClientsMayOrMustHaveACertificate) {
  const auto nobody = TlsContext::for_servers(of_servers).value();
  of_servers.cert_file = directory.write("alice.crt", certificate_pem(client));
  of_servers.key_file = directory.write("alice.key", key_pem(client));
  const auto alice = TlsContext::for_servers(of_servers).value();
  const Issued stranger = issue({});
  of_servers.cert_file = directory.write("stranger.crt", certificate_pem(stranger));
  of_servers.key_file = directory.write("stranger.key", key_pem(stranger));
  const auto other = TlsContext::for_servers(of_servers).value();

  const auto without_roots = TlsContext::for_clients(of_clients).value();
  EXPECT_TRUE(shake(*without_roots, *nobody, "").done);
  EXPECT_TRUE(shake(*without_roots, *other, "").done);  // not asked for, so not sent
  of_clients.ca_file = roots;
  const auto optional = TlsContext::for_clients(of_clients).value();
  EXPECT_TRUE(shake(*optional, *nobody, "").done);
  const Handshake known = shake(*optional, *alice, "");
  EXPECT_TRUE(known.done);
  EXPECT_EQ(binding_of(client.certificate.get()), known.binding_of_client);
  EXPECT_FALSE(shake(*optional, *other, "").done);
  of_clients.mode = TlsMode::kVerifyCa;
  const auto must = TlsContext::for_clients(of_clients).value();
  EXPECT_FALSE(shake(*must, *nobody, "").done);
  EXPECT_TRUE(shake(*must, *alice, "").done);
}

TEST_F(TlsContextTest, OnlyPostgresqlIsSpoken) {
  const auto ours = TlsContext::for_clients(of_clients).value();
  const auto theirs = TlsContext::for_servers(of_servers).value();
  EXPECT_EQ("postgresql", shake(*ours, *theirs, "").alpn);
  EXPECT_FALSE(shake(*ours, *theirs, "", nullptr, "\x08http/1.1").done);
  EXPECT_EQ("postgresql", shake(*ours, *theirs, "", nullptr, "\x08http/1.1\x0apostgresql").alpn);
}

TEST_F(TlsContextTest, TicketsOutliveAReloadOfEqualSettingsOnly) {
  const auto first = TlsContext::for_clients(of_clients).value();
  const auto theirs = TlsContext::for_servers(of_servers).value();
  const Handshake full = shake(*first, *theirs, "");
  ASSERT_TRUE(full.done);
  EXPECT_FALSE(full.resumed);
  const auto second = TlsContext::for_clients(of_clients).value();
  EXPECT_TRUE(shake(*second, *theirs, "", full.session.get()).resumed);
  of_clients.ca_file = roots;  // from now on certificates count: what was opened before proves nothing
  const auto third = TlsContext::for_clients(of_clients).value();
  const Handshake anew = shake(*third, *theirs, "", full.session.get());
  EXPECT_TRUE(anew.done);
  EXPECT_FALSE(anew.resumed);
}

// A client that resumes would bind its login to the certificate before.
TEST_F(TlsContextTest, TicketsEndWithOurCertificate) {
  const auto theirs = TlsContext::for_servers(of_servers).value();
  const auto first = TlsContext::for_clients(of_clients).value();
  const Handshake full = shake(*first, *theirs, "");
  const Issued renewed = issue({}, &authority);
  directory.write("server.crt", certificate_pem(renewed));
  directory.write("server.key", key_pem(renewed));
  const auto second = TlsContext::for_clients(of_clients).value();
  const Handshake anew = shake(*second, *theirs, "", full.session.get());
  EXPECT_TRUE(anew.done);
  EXPECT_FALSE(anew.resumed);
  EXPECT_EQ(binding_of(SSL_CTX_get0_certificate(second->native())), anew.binding_of_server);
}

// The first handshake takes an expired certificate because it does not look at the time, so that no test waits.
TEST_F(TlsContextTest, TicketsEndWithTheCertificateOfTheClient) {
  of_clients.mode = TlsMode::kVerifyCa;
  of_clients.ca_file = roots;
  const auto ours = TlsContext::for_clients(of_clients).value();
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ours->native()), X509_V_FLAG_NO_CHECK_TIME);
  for (const char* protocol : {"tlsv1.2", "tlsv1.3"}) {
    for (const long until : {3600, -60}) {
      test::Wanted wanted;
      wanted.until = until;
      const Issued alice = issue(wanted, &authority);
      of_servers.protocols = protocol;
      of_servers.cert_file = directory.write("alice.crt", certificate_pem(alice));
      of_servers.key_file = directory.write("alice.key", key_pem(alice));
      const auto theirs = TlsContext::for_servers(of_servers).value();
      const Handshake full = shake(*ours, *theirs, "");
      ASSERT_TRUE(full.done);
      const Handshake again = shake(*ours, *theirs, "", full.session.get());
      EXPECT_TRUE(again.done);
      EXPECT_EQ(until > 0, again.resumed) << protocol;
    }
  }
}

TEST_F(TlsContextTest, BothSidesAgreeOnTheBinding) {
  const auto ours = TlsContext::for_clients(of_clients).value();
  const Handshake done = shake(*ours, *TlsContext::for_servers(of_servers).value(), "");
  EXPECT_EQ(32u, done.binding_of_server.size());
  EXPECT_EQ(binding_of(SSL_CTX_get0_certificate(ours->native())), done.binding_of_server);
}

TEST(TlsBindingTest, TheHashIsThatOfTheSignature) {
  test::Wanted wanted;
  wanted.digest = EVP_sha384();
  EXPECT_EQ(48u, binding_of(issue(wanted).certificate.get()).size());
  wanted.digest = EVP_sha1();
  EXPECT_EQ(32u, binding_of(issue(wanted).certificate.get()).size());
  wanted.digest = nullptr;
  wanted.key_type = EVP_PKEY_ED25519;
  EXPECT_EQ("", binding_of(issue(wanted).certificate.get()));
  EXPECT_EQ("", binding_of(nullptr));
}

TEST(TlsTicketTest, AKeySealsForAWhileAndOpensForAsLongAgain) {
  TicketKeys keys;
  TicketKeys::Key found;
  bool renew = false;
  const TicketKeys::Key first = keys.sealing(1000);
  EXPECT_TRUE(keys.opening(first.name, 1000 + kTicketKeyTime - 1, found, renew));
  EXPECT_FALSE(renew);
  EXPECT_EQ(0, memcmp(first.cipher, found.cipher, sizeof found.cipher));
  const TicketKeys::Key second = keys.sealing(1000 + kTicketKeyTime);
  EXPECT_NE(0, memcmp(first.name, second.name, sizeof first.name));
  EXPECT_TRUE(keys.opening(first.name, 1000 + 2 * kTicketKeyTime - 1, found, renew));
  EXPECT_TRUE(renew);
  EXPECT_FALSE(keys.opening(first.name, 1000 + 2 * kTicketKeyTime, found, renew));
  EXPECT_FALSE(keys.opening(second.name, 1000 + 9 * kTicketKeyTime, found, renew));
}

// T18: who has a ticket's key and has recorded the handshake reads the session.
TEST(TlsTicketTest, KeysLiveInSecretMemory) {
  const std::shared_ptr<TicketKeys> others = TicketKeys::shared("of somebody");  // forgets those that nobody has now
  const size_t before = secret_memory().used;
  const std::shared_ptr<TicketKeys> keys = TicketKeys::shared("of nobody else");
  EXPECT_GE(secret_memory().used, before + sizeof(TicketKeys));
}

TEST(TlsWordsTest, PgBouncersWords) {
  EXPECT_EQ(kTls12 | kTls13, parse_tls_protocols("secure").value());
  EXPECT_EQ(kTls12 | kTls13, parse_tls_protocols("tlsv1.2,tlsv1.3").value());
  EXPECT_EQ(kTls12, parse_tls_protocols("TLSv1.2").value());
  EXPECT_EQ(kTls10 | kTls11 | kTls12 | kTls13, parse_tls_protocols("all").value());
  EXPECT_EQ(parse_tls_protocols("legacy").value(), parse_tls_protocols("all").value());
  EXPECT_EQ(kTls11 | kTls12 | kTls13, parse_tls_protocols("all:!tlsv1.0").value());
  EXPECT_FALSE(parse_tls_protocols(""));
  EXPECT_FALSE(parse_tls_protocols("all,!all"));
  for (const char* own : {"default", "secure", "normal", "fast"}) EXPECT_EQ("", tls_cipher_list(own));
  EXPECT_EQ("HIGH:!aNULL", tls_cipher_list("HIGH:!aNULL"));
  EXPECT_EQ("", tls_groups("auto"));
  EXPECT_EQ("X25519:P-256", tls_groups("X25519, P-256"));
}

TEST(TlsModeTest, WordsAndBack) {
  for (const char* word : {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}) {
    EXPECT_EQ(word, to_string(parse_tls_mode(word).value()));
  }
  EXPECT_FALSE(parse_tls_mode("Require"));
  EXPECT_FALSE(parse_tls_mode(""));
}

}  // namespace
}  // namespace berth::net
