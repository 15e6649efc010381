// docs/admin.md, generated from commands.def and the tables' columns: `pgberth --docs admin` prints it, a unit test
// compares it.
#pragma once

#include <string>

namespace berth::admin {

std::string admin_markdown();

}  // namespace berth::admin
