#include "session/session_features.h"

#include "base/log.h"
#include "session/client.h"

namespace berth::session {

static std::string_view words_of(SessionFeature feature) {
  switch (feature) {
    case kFeatureListen:
      return "LISTEN stays on one server: notifications do not reach the client between transactions";
    case kFeaturePrepare:
      return "PREPARE in SQL stays on one server: EXECUTE does not find it on another (prepared statements of the "
             "protocol follow the client)";
    case kFeatureHoldCursor: return "a cursor WITH HOLD stays on one server: FETCH does not find it on another";
    case kFeatureSet:
      return "SET of a parameter that PostgreSQL does not report stays on one server, for whoever uses it next (SET "
             "LOCAL in a transaction, or the startup packet, or ALTER ROLE ... SET do not)";
  }
  return {};
}

std::string feature_names(uint8_t features) {
  constexpr std::string_view kNames[] = {"listen", "prepare", "hold_cursor", "set"};  // in the order of the bits
  std::string out;
  for (size_t bit = 0; bit < std::size(kNames); ++bit) {
    if (!(features & 1u << bit)) continue;
    if (!out.empty()) out += ',';
    out += kNames[bit];
  }
  return out;
}

void tell_feature(Client& client, SessionFeature feature) {
  if (client.mode == config::PoolMode::kSession || (client.told_features & feature)) return;
  client.told_features = (client.told_features | feature) & 15;
  LOG_WARNING("{} {} mode: {}; use session mode for it", client.label(), config::to_string(client.mode),
              words_of(feature));
}

}  // namespace berth::session
