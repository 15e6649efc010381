// What the settings may not be together or must not claim: doors (values that promise a protection which does not
// work yet refuse to start), ports that collide, nothing to listen on. Pure.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace berth::config {

// Where a setting stands in the file; line 0 when the file does not set it.
using WhereIs = std::function<Remark(std::string_view key)>;

// Who names root certificates for servers means that they are to be checked: unless server_tls_sslmode is written, it
// is verify-full then.
void choose_server_sslmode(Config& config);

// The mistakes of `config`; its warnings are appended to `warnings`.
std::vector<Remark> check_rules(const Config& config, const WhereIs& where, std::vector<Remark>& warnings);

}  // namespace berth::config
