// Short ways to write the outcome of a step; for the verifiers and the server login only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "auth/exchange.h"
#include "auth/limits.h"
#include "wire/encode.h"

namespace berth::auth {

// The codes of Authentication messages (PostgreSQL manual, 55.7).
enum class AuthCode : uint32_t {
  kOk = 0,
  kKerberosV5 = 2,
  kCleartextPassword = 3,
  kCryptPassword = 4,
  kMd5Password = 5,
  kScmCredential = 6,
  kGss = 7,
  kGssContinue = 8,
  kSspi = 9,
  kSasl = 10,
  kSaslContinue = 11,
  kSaslFinal = 12,
};
inline constexpr std::string_view kScramMechanism = "SCRAM-SHA-256";
inline constexpr std::string_view kScramPlusMechanism = "SCRAM-SHA-256-PLUS";

inline Step step_send(std::string bytes) {
  return {Step::Kind::kSend, std::move(bytes), {}, false};
}
inline Step step_ok(std::string bytes = {}) {
  return {Step::Kind::kOk, std::move(bytes), {}, false};
}
// The proof is wrong or missing (28P01).
inline Step step_failed(std::string reason) {
  return {Step::Kind::kFailed, {}, std::move(reason), false};
}
// The message is malformed or out of order (08P01).
inline Step step_violation(std::string reason) {
  return {Step::Kind::kFailed, {}, std::move(reason), true};
}

inline Step step_work(std::unique_ptr<Work> work) {
  return {Step::Kind::kWork, {}, {}, false, false, std::move(work)};
}

// One Authentication message.
inline std::string authentication(AuthCode code, std::string_view rest = {}) {
  std::string out;
  {
    wire::Message message(out, wire::kAuthentication);
    wire::put32(out, static_cast<uint32_t>(code));
    out.append(rest);
  }
  return out;
}

}  // namespace berth::auth
