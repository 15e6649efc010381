// The rules of auth_hba_file and the maps of auth_ident_file: who may come from where, and how it proves itself.
// Pure: hba_parse.cc makes them from texts, hba.cc says which rule decides. The first rule that fits is the only one
// that counts; without one nobody is let in.
//
//   local                    DATABASES USERS            METHOD [NAME=VALUE ...]
//   host, hostssl, hostnossl DATABASES USERS ADDRESS    METHOD [NAME=VALUE ...]
//
//   DATABASES, USERS   a list with commas: names, "quoted names" (a keyword in quotes is a name), @file, all; among
//                      databases also sameuser, and replication: it alone fits a connection for physical replication
//   ADDRESS            all, 10.0.0.0/8, fd00::/8, or an address and its mask as two words
//   METHOD             trust, reject, password (or plain), md5, scram-sha-256, peer (local only), cert (hostssl
//                      only), pam, ldap
//   NAME=VALUE         map= of peer and cert, clientname= of cert, pamservice= of pam, ldapserver= and its like of
//   ldap (ldap_options.h)
//
// A line of auth_ident_file is: MAP SYSTEM-USER USER, where USER may be all. A comment starts with # anywhere outside
// of quotes. What PgBouncer skips with a warning refuses the file here: a line that is not obeyed would let a later
// one decide.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/ini.h"
#include "config/ldap_options.h"

namespace berth::config {

inline constexpr size_t kHbaFileSizeMax = size_t{4} << 20;    // of each file
inline constexpr size_t kHbaTotalSizeMax = size_t{16} << 20;  // of all that @file brings, each time that it does
inline constexpr size_t kHbaNameFilesMax = 10'000;  // how often @file may stand, counted as often as it is read
inline constexpr size_t kHbaLineSizeMax = 65536;    // a longer list belongs into a file of its own
inline constexpr size_t kHbaRulesMax = 10'000;      // all are walked at a login
inline constexpr size_t kIdentLinesMax = 100'000;
inline constexpr size_t kHbaNamesMax = 1'000'000;  // over all rules
inline constexpr size_t kHbaDepthMax = 10;         // @file in @file, as in PostgreSQL
inline constexpr size_t kHbaMistakesMax = 1000;    // then it is no such file

enum class HbaRecord : uint8_t { kLocal, kHost, kHostSsl, kHostNoSsl };
enum class HbaMethod : uint8_t { kTrust, kReject, kPassword, kMd5, kScramSha256, kPeer, kCert, kPam, kLdap };

struct HbaNames {
  bool all = false;
  bool same_user = false;          // of databases: the one that is named as the user
  bool replication = false;        // of databases: physical replication
  std::vector<std::string> names;  // sorted, each once

  bool operator==(const HbaNames&) const = default;
};

struct HbaAddress {
  enum class Family : uint8_t { kNone, kAll, kIpv4, kIpv6 };
  Family family = Family::kNone;
  std::array<unsigned char, 16> bytes{};  // in network order; of IPv4 the first four
  std::array<unsigned char, 16> mask{};

  bool operator==(const HbaAddress&) const = default;
};

struct HbaRule {
  HbaRecord record = HbaRecord::kLocal;
  HbaNames databases, users;
  HbaAddress address;  // kNone for kLocal
  HbaMethod method = HbaMethod::kReject;
  std::string map;          // of kPeer and kCert; empty: what is known of the peer must be the user's name
  bool whole_name = false;  // of kCert: by the distinguished name (clientname=DN), not by the common one
  std::string pam_service;  // of kPam; empty: the usual one
  LdapOptions ldap;         // of kLdap
  int line = 0;

  bool operator==(const HbaRule&) const = default;
};

struct IdentLine {
  std::string map, system_user;
  std::string user;  // of the login; empty: all
  bool operator==(const IdentLine&) const = default;
};

struct Hba {
  std::string file;
  std::vector<HbaRule> rules;
  std::vector<IdentLine> ident;

  bool operator==(const Hba&) const = default;
};

// A login as the rules see it.
struct HbaClient {
  bool local = false;  // by the Unix socket: `family` and `address` do not count
  bool tls = false;
  HbaAddress::Family family = HbaAddress::Family::kNone;  // kIpv4, kIpv6; kNone fits no rule but "all"
  std::array<unsigned char, 16> address{};
  std::string_view database, user;
  bool physical_replication = false;
};

// The rule that decides; null: none fits, which means no.
const HbaRule* find_rule(const Hba& hba, const HbaClient& client);
// Whether a process of `system_user` may log in as `user` by this rule (of kPeer).
bool peer_may_be(const Hba& hba, const HbaRule& rule, std::string_view system_user, std::string_view user);

struct ParsedHba {
  Hba hba;
  std::vector<Remark> mistakes;
  std::vector<Remark> warnings;
};

// Reads both files (an empty `ident_path`: no maps) and what @file names, relative to the file that names it.
ParsedHba parse_hba(const std::string& path, const std::string& ident_path, const ReadFile& read);

// "scram-sha-256" ...: the word of the file.
std::string_view to_string(HbaMethod method);

}  // namespace berth::config
