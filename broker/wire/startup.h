// The first packet of a connection: StartupMessage, SSLRequest, GSSENCRequest or CancelRequest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/frame.h"

namespace berth::wire {

struct Startup {
  enum class Kind { kNeedMore, kBad, kStartup, kSsl, kGssEnc, kCancel };
  Kind kind = Kind::kNeedMore;
  size_t size = 0;       // of the packet; of kNeedMore: bytes needed before asking again
  const char* why = "";  // of kBad
  uint32_t version = 0;  // of kStartup; the major part is 3
  std::vector<std::pair<std::string_view, std::string_view>>
      parameters;           // of kStartup, in order, views into the packet
  uint32_t cancel_pid = 0;  // of kCancel
  std::string_view cancel_key;
};

// Reads the packet at the start of `bytes`. A length outside 8..kStartupSizeMax, a version other than 3.x and a
// parameter list that does not end as it must are kBad (T1, T7, T14, T24).
Startup parse_startup(std::string_view bytes);

// What a server that knows 3.2 and no option of the protocol (`_pq_.`) says to that kStartup in front of everything
// else: NegotiateProtocolVersion. Nothing, if there is nothing to negotiate.
void put_negotiation(std::string& out, const Startup& startup);

// The startup parameter `replication`, which is "database" or a boolean as PostgreSQL reads it: any beginning of a
// word that is no other word's. `out` is "database", "true" or, of what is false, nothing. False: it is none of them.
bool parse_replication(std::string_view value, std::string_view& out);

// One setting of the startup parameter `options`, as PostgreSQL splits it: `-c name=value`, `-cname=value`,
// `--name=value`; backslash escapes; behind `--` nothing may stand. Other switches are kept as they are in `others`.
// False: malformed (T14).
struct StartupOptions {
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<std::string> others;
};
bool parse_startup_options(std::string_view text, StartupOptions& out);

}  // namespace berth::wire
