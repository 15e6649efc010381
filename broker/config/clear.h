// Warnings about what a network would see or could use: passwords of clients in clear, passwords on their way to a
// directory, everything where a certificate is there but TLS is off, and a console that asks for no password. Pure.
#pragma once

#include <vector>

#include "config/config.h"
#include "config/hba.h"

namespace berth::config {

// By the settings alone; for what the rules of auth_hba_file ask there is the other one.
void warn_of_clear(const Config& config, std::vector<Remark>& warnings);
void warn_of_clear_rules(const Config& config, const Hba& hba, std::vector<Remark>& warnings);

}  // namespace berth::config
