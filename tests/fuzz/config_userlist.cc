// Fuzzes the user list: nothing breaks, sizes hold, and what was read, written again, reads the same.
#include <cstdint>
#include <string>

#include "base/assert.h"
#include "config/userlist.h"

namespace berth::config {

static std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  return out + "\"";
}

static void try_input(std::string_view text) {
  const Userlist list = parse_userlist(text, "u");
  std::string again;
  for (const auto& [user, secret] : list.secrets) {
    ASSERT(!user.empty() && user.size() <= kMaxUserNameSize && secret.size() <= kMaxSecretSize);
    again += quoted(user) + " " + quoted(secret.view()) + "\n";
  }
  const Userlist reread = parse_userlist(again, "u");
  ASSERT(reread.mistakes.empty() && reread.secrets == list.secrets);
}

}  // namespace berth::config

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::config::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
