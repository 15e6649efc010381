// What a view costs beside a bare program: asks a database for a view of the extension, and, in turn with it, asks
// the broker's console by libpq as a program does that has nothing else to do: connect, log in, SHOW POOLS, close.
// Both go to the console by the same address, with the same login and the same secret.
//
//   views DATABASE CONSOLE ROUNDS QUERY...
//
// DATABASE and CONSOLE are connection strings. A line for the bare program, then two for each query, sent as text and
// prepared: median microseconds, a tab, what it was.
#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void die(PGconn* conn, const char* what) {
  std::fprintf(stderr, "views: %s: %s\n", what, PQerrorMessage(conn));
  std::exit(1);
}

PGconn* connect(const char* conninfo) {
  PGconn* conn = PQconnectdb(conninfo);
  if (PQstatus(conn) != CONNECTION_OK) die(conn, "connect");
  return conn;
}

void take(PGconn* conn, PGresult* result) {
  if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) die(conn, "no rows");
  PQclear(result);
}

void bare(const char* console) {
  PGconn* conn = connect(console);
  take(conn, PQexec(conn, "SHOW POOLS"));
  PQfinish(conn);
}

template <typename What>
double microseconds(const What& what) {
  const Clock::time_point start = Clock::now();
  what();
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

std::string name(size_t query) {
  return "q" + std::to_string(query);
}

double median(std::vector<double>& samples) {
  std::nth_element(samples.begin(), samples.begin() + static_cast<long>(samples.size() / 2), samples.end());
  return samples[samples.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "views DATABASE CONSOLE ROUNDS QUERY...\n");
    return 1;
  }
  const char* console = argv[2];
  const int rounds = std::atoi(argv[3]);
  const std::vector<const char*> queries(argv + 4, argv + argc);
  PGconn* database = connect(argv[1]);
  std::vector<double> alone;
  std::vector<std::vector<double>> plain(queries.size()), prepared(queries.size());
  for (size_t i = 0; i < queries.size(); i++) {
    PQclear(PQprepare(database, name(i).c_str(), queries[i], 0, nullptr));
  }
  for (int round = -rounds / 10; round < rounds; round++) {  // the first ones fill caches and do not count
    const auto keep = [&](std::vector<double>& samples, double sample) {
      if (round >= 0) samples.push_back(sample);
    };
    keep(alone, microseconds([&] { bare(console); }));
    for (size_t i = 0; i < queries.size(); i++) {
      keep(plain[i], microseconds([&] { take(database, PQexec(database, queries[i])); }));
      keep(prepared[i], microseconds([&] {
             take(database, PQexecPrepared(database, name(i).c_str(), 0, nullptr, nullptr, nullptr, 0));
           }));
    }
  }
  PQfinish(database);
  std::printf("%.1f\tSHOW POOLS by a bare program\n", median(alone));
  for (size_t i = 0; i < queries.size(); i++) {
    std::printf("%.1f\t%s\n%.1f\tthe same, prepared\n", median(plain[i]), queries[i], median(prepared[i]));
  }
}
