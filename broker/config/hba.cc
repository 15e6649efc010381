// See hba.h: which rule decides.
#include "config/hba.h"

#include <algorithm>

#include "base/fault.h"

namespace berth::config {

namespace {

bool holds(const HbaNames& list, std::string_view name) {
  return std::binary_search(list.names.begin(), list.names.end(), name);
}

bool fits_record(const HbaRule& rule, const HbaClient& client) {
  if (client.local) return rule.record == HbaRecord::kLocal;
  switch (rule.record) {
    case HbaRecord::kLocal: return false;
    case HbaRecord::kHost: return true;
    case HbaRecord::kHostSsl: return client.tls;
    case HbaRecord::kHostNoSsl: return !client.tls;
  }
  return false;
}

bool fits_address(const HbaAddress& range, const HbaClient& client) {
  if (range.family == HbaAddress::Family::kAll) return true;
  if (range.family != client.family || client.family == HbaAddress::Family::kNone) return false;
  const size_t size = range.family == HbaAddress::Family::kIpv4 ? 4 : 16;
  for (size_t i = 0; i < size; ++i) {
    if (FAULT(last_bits_ignored) && range.mask[i] != 0xFF) continue;
    if ((client.address[i] & range.mask[i]) != range.bytes[i]) return false;
  }
  return true;
}

// `all` does not mean physical replication, which is a database of its own kind.
bool fits_database(const HbaNames& list, const HbaClient& client) {
  if (client.physical_replication) return list.replication || (FAULT(all_is_replication) && list.all);
  if (list.all || (list.same_user && client.database == client.user)) return true;
  return holds(list, client.database);
}

bool fits(const HbaRule& rule, const HbaClient& client) {
  if (!fits_record(rule, client)) return false;
  if (!client.local && !fits_address(rule.address, client)) return false;
  return fits_database(rule.databases, client) && (rule.users.all || holds(rule.users, client.user));
}

}  // namespace

const HbaRule* find_rule(const Hba& hba, const HbaClient& client) {
  for (const HbaRule& rule : hba.rules) {
    if (fits(rule, client)) return &rule;
  }
  return nullptr;
}

bool peer_may_be(const Hba& hba, const HbaRule& rule, std::string_view system_user, std::string_view user) {
  if (system_user.empty()) return false;  // the system does not know who it is
  if (rule.map.empty()) return system_user == user;
  return std::any_of(hba.ident.begin(), hba.ident.end(), [&](const IdentLine& line) {
    return line.map == rule.map && line.system_user == system_user && (line.user.empty() || line.user == user);
  });
}

}  // namespace berth::config
