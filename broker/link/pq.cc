#include "link/pq.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "config/own_connections.h"
#include "net/tls_words.h"
#include "session/tls_contexts.h"

namespace berth::link {

namespace {

// libpq tries each pair of these lists in turn.
void put_hosts(std::vector<config::Pair>& pairs, const Target& target, const std::vector<net::Address>& addresses) {
  std::string hosts, numbers;
  for (const net::Address& address : addresses) {
    hosts += (hosts.empty() ? "" : ",") + target.host;
    numbers += (numbers.empty() ? "" : ",") + address.host();
  }
  pairs.push_back({"host", hosts.empty() ? target.host : hosts});
  if (!numbers.empty()) pairs.push_back({"hostaddr", numbers});
}

// Not there: libpq takes no file instead of the one of the home directory.
constexpr const char* kNoFile = "/dev/null/none";

// libpq takes a range of versions only. Where the settings leave a gap it is the part above it.
void put_protocols(std::vector<config::Pair>& pairs, const std::string& text) {
  constexpr const char* kNames[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
  const Result<unsigned> parsed = net::parse_tls_protocols(text);
  const unsigned versions =
      parsed ? parsed.value() : net::kTls12 | net::kTls13;  // rules have refused what is no list
  size_t last = std::size(kNames) - 1;
  while (!(versions >> last & 1)) --last;
  size_t first = last;
  while (first > 0 && versions >> (first - 1) & 1) --first;
  pairs.push_back({"ssl_min_protocol_version", kNames[first]});
  pairs.push_back({"ssl_max_protocol_version", kNames[last]});
}

bool has_revoked(const std::string& file) {
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return text.find("-----BEGIN X509 CRL-----") != std::string::npos;
}

constexpr int kKnowsSystemRoots = 160000, kKnowsDirect = 170000;

// The settings of server_tls_*, as far as the installed libpq knows them. It checks a server also with `require` if
// there is a root certificate, so that is given only where it is meant; and it looks for lists of revoked
// certificates nowhere but in sslcrl.
void put_tls(std::vector<config::Pair>& pairs, const config::Config& config) {
  const config::Options& options = config.options;
  const net::TlsSettings settings = session::server_tls_settings(config);
  const std::string& mode = options.server_tls_sslmode;
  pairs.push_back({"sslmode", mode});
  std::string roots = kNoFile, revoked = kNoFile;
  if (mode.starts_with("verify-")) {
    const bool system = settings.ca_file == net::kSystemRoots;
    roots = system && PQlibVersion() < kKnowsSystemRoots ? "/etc/ssl/certs/ca-certificates.crt" : settings.ca_file;
    if (roots.empty()) roots = kNoFile;
    if (!system && has_revoked(roots)) revoked = roots;
  }
  pairs.push_back({"sslrootcert", roots});
  pairs.push_back({"sslcrl", revoked});
  pairs.push_back({"sslcert", settings.cert_file.empty() ? kNoFile : settings.cert_file});
  pairs.push_back({"sslkey", settings.key_file.empty() ? kNoFile : settings.key_file});
  put_protocols(pairs, settings.protocols);
  pairs.push_back({"channel_binding", options.server_channel_binding});
  if (PQlibVersion() >= kKnowsDirect) pairs.push_back({"sslnegotiation", options.server_tls_negotiation});
}

}  // namespace

std::vector<config::Pair> connect_parameters(const Target& target, const char* application,
                                             const config::Config& config,
                                             const std::vector<net::Address>& addresses) {
  std::vector<config::Pair> pairs;
  put_hosts(pairs, target, addresses);
  pairs.push_back({"port", std::to_string(target.port)});
  pairs.push_back({"dbname", target.dbname});
  pairs.push_back({"user", target.user});
  if (!target.password.empty()) pairs.push_back({"password", std::string(target.password.view())});
  pairs.push_back({"passfile", kNoFile});
  pairs.push_back({"application_name", application});
  pairs.push_back({"gssencmode", "disable"});  // asking for tickets blocks
  put_tls(pairs, config);
  pairs.insert(pairs.end(), target.more.begin(), target.more.end());  // the last word counts
  return pairs;
}

std::vector<config::Remark> unknown_to_libpq(const config::Config& config, int version) {
  if (version == 0) version = PQlibVersion();
  if (config.options.server_tls_negotiation != "direct" || version >= kKnowsDirect) return {};
  std::vector<config::Remark> out;
  for (const config::OwnConnection& own : config::remote_own_connections(config)) {
    if (!own.by_libpq) continue;
    config::Remark remark = config.where("server_tls_negotiation");
    remark.text = fmt::format(
        "the connection of {} asks for TLS by SSLRequest all the same: the installed libpq {} knows direct from 17 "
        "on",
        own.words, version / 10000);
    out.push_back(std::move(remark));
  }
  return out;
}

void forget_environment() {
  std::vector<std::string> names;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text = *entry;
    if (text.starts_with("PG") && !text.starts_with("PGBERTH_")) names.emplace_back(text.substr(0, text.find('=')));
  }
  for (const std::string& name : names) unsetenv(name.c_str());
}

void PqFinish::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

void PqClear::operator()(pg_result* result) const {
  PQclear(result);
}

PqConnection start_connecting(const Target& target, const char* application, const config::Config& config,
                              const std::vector<net::Address>& addresses) {
  const std::vector<config::Pair> pairs = connect_parameters(target, application, config, addresses);
  std::vector<const char*> keys, values;
  for (const config::Pair& pair : pairs) {
    keys.push_back(pair.key.c_str());
    values.push_back(pair.value.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  PqConnection connection(PQconnectStartParams(keys.data(), values.data(), 0));
  // The default writes what the server says to stderr.
  if (connection)
    PQsetNoticeProcessor(
        connection.get(), [](void*, const char*) {}, nullptr);
  return connection;
}

}  // namespace berth::link
