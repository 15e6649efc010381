// How the link connects to PostgreSQL over libpq: to whom, and as whom, and with which TLS settings. Nothing here
// blocks.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "link/targets.h"
#include "net/address.h"

// libpq's own names for PGconn and PGresult: its header is for the files that call it only.
struct pg_conn;
struct pg_result;

namespace berth::link {

struct PqFinish {
  void operator()(pg_conn* connection) const;
};
struct PqClear {
  void operator()(pg_result* result) const;
};
using PqConnection = std::unique_ptr<pg_conn, PqFinish>;
using PqResult = std::unique_ptr<pg_result, PqClear>;

// Takes what libpq would read from the process: every PG* variable but those of the broker. What it connects with is
// in connect_parameters() and nowhere else. Before there are threads.
void forget_environment();

// What libpq is told of a connection, the last word for a key counts. `addresses` as below.
std::vector<config::Pair> connect_parameters(const Target& target, const char* application,
                                             const config::Config& config,
                                             const std::vector<net::Address>& addresses);

// What of the settings the link does not obey, because a libpq of this version (PQlibVersion's number; 0: the
// installed one) does not know it.
std::vector<config::Remark> unknown_to_libpq(const config::Config& config, int version = 0);

// Begins to connect, to be polled on. `addresses` are those of the target's host if that is a name: libpq would block
// to look it up. Null: out of memory.
PqConnection start_connecting(const Target& target, const char* application, const config::Config& config,
                              const std::vector<net::Address>& addresses);

}  // namespace berth::link
