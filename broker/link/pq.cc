#include "link/pq.h"

#include <libpq-fe.h>

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

// The settings of server_tls_*, as far as the installed libpq knows them. It checks a server also with `require` if
// there is a root certificate, so that is given only where it is meant.
void put_tls(std::vector<config::Pair>& pairs, const config::Options& options) {
  constexpr int kKnowsSystemRoots = 160000, kKnowsDirect = 170000;
  const std::string& mode = options.server_tls_sslmode;
  pairs.push_back({"sslmode", mode});
  if (mode.starts_with("verify-")) {
    const bool own = options.server_tls_ca_file != "system" || PQlibVersion() >= kKnowsSystemRoots;
    pairs.push_back({"sslrootcert", own ? options.server_tls_ca_file : "/etc/ssl/certs/ca-certificates.crt"});
  } else {
    pairs.push_back({"sslrootcert", "/dev/null/none"});  // nor the one of the home directory
  }
  if (!options.server_tls_cert_file.empty()) pairs.push_back({"sslcert", options.server_tls_cert_file});
  if (!options.server_tls_key_file.empty()) pairs.push_back({"sslkey", options.server_tls_key_file});
  pairs.push_back({"channel_binding", options.server_channel_binding});
  if (PQlibVersion() >= kKnowsDirect) pairs.push_back({"sslnegotiation", options.server_tls_negotiation});
}

std::vector<config::Pair> parameters(const Target& target, const char* application, const config::Options& options,
                                     const std::vector<net::Address>& addresses) {
  std::vector<config::Pair> pairs;
  put_hosts(pairs, target, addresses);
  pairs.push_back({"port", std::to_string(target.port)});
  pairs.push_back({"dbname", target.dbname});
  pairs.push_back({"user", target.user});
  if (!target.password.empty()) pairs.push_back({"password", std::string(target.password.view())});
  pairs.push_back({"application_name", application});
  pairs.push_back({"gssencmode", "disable"});  // asking for tickets blocks
  put_tls(pairs, options);
  pairs.insert(pairs.end(), target.more.begin(), target.more.end());  // the last word counts
  return pairs;
}

}  // namespace

void PqFinish::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

void PqClear::operator()(pg_result* result) const {
  PQclear(result);
}

// libpq's messages have lines and end in one.
std::string one_line(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    const bool space = static_cast<unsigned char>(letter) <= ' ';
    if (!space) {
      out += letter;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

PqConnection start_connecting(const Target& target, const char* application, const config::Options& options,
                              const std::vector<net::Address>& addresses) {
  const std::vector<config::Pair> pairs = parameters(target, application, options, addresses);
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
