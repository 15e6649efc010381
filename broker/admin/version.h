// The names under which the broker introduces itself.
#pragma once

#include <string_view>

namespace berth::admin {

inline constexpr std::string_view kBrokerVersion = "pgberth 0.2.0";
inline constexpr std::string_view kBrokerNumber = kBrokerVersion.substr(8);
// Dashboards, exporters and drivers look at these; they are PgBouncer's own forms.
inline constexpr std::string_view kPgBouncerVersion = "PgBouncer 1.26.1";
inline constexpr std::string_view kServerVersion = "1.26.1/bouncer";

}  // namespace berth::admin
