#include "session/link_board.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "auth/scram.h"
#include "base/random.h"
#include "config/config.h"

namespace berth::session {

namespace {

constexpr size_t kIdBytes = 16;
constexpr size_t kPasswordBytes = 32;
constexpr size_t kSaltBytes = 16;
// A password of 256 random bits cannot be guessed, so stretching it adds nothing, and every view would pay for it.
constexpr uint32_t kIterations = 1;

template <size_t n>
std::string random_hex() {
  std::array<unsigned char, n> bytes;
  fill_secure(bytes.data(), bytes.size());
  std::string out;
  out.reserve(2 * n);
  for (const unsigned char byte : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", byte);
  return out;
}

}  // namespace

void make_identity(Identity& identity, std::string_view version, int64_t port) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  identity.id = random_hex<kIdBytes>();
  identity.name = fmt::format("{}:{}", host, port);
  identity.version = version;
  identity.started_at = wall_now();
  identity.password = random_hex<kPasswordBytes>();
  std::string salt(kSaltBytes, '\0');
  fill_secure(salt.data(), salt.size());
  identity.secret.kind = auth::SecretKind::kScram;
  identity.secret.scram = auth::make_scram_secret(identity.password.view(), salt, kIterations);
  identity.secret.text = auth::to_text(identity.secret.scram);
}

void LinkBoard::publish(std::vector<LinkRow> rows, bool off) {
  const std::lock_guard<std::mutex> guard(mutex_);
  rows_ = std::move(rows);
  off_ = off;
}

std::vector<LinkRow> LinkBoard::rows() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return rows_;
}

std::string LinkBoard::summary() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (off_) return "off";
  std::string up;
  for (const LinkRow& row : rows_) {
    if (row.state == "up" || row.state == "shared") up += (up.empty() ? "up: " : ", ") + row.database;
  }
  return up.empty() ? "none" : up;
}

}  // namespace berth::session
