// See password_check.h.
#include "auth/password_check.h"

#include <utility>

#include "auth/limits.h"
#include "auth/step.h"
#include "base/assert.h"
#include "base/fault.h"
#include "wire/frame.h"

namespace berth::auth {

PasswordCheck::PasswordCheck(Lane lane_, std::string_view user, std::string_view password)
    : Work(lane_), user_(user), password_(password) {}

namespace {

class CheckingVerifier final : public ClientVerifier {
 public:
  explicit CheckingVerifier(std::function<std::unique_ptr<PasswordCheck>(std::string_view password)> make_check)
      : make_check_(std::move(make_check)) {}

  Step start() override { return step_send(authentication(AuthCode::kCleartextPassword)); }

  Step feed(std::string_view body) override {
    std::string_view password;
    if (state_ != State::kAsked) return step_violation("message after the end of the exchange");
    state_ = State::kOver;
    if (body.size() > kPasswordSizeMax + 1 || !wire::take_cstring(body, password) || !body.empty()) {
      return step_violation("malformed password message");
    }
    if (password.empty() && !FAULT(empty_password_asked)) return step_failed("empty password");
    claimed_ = password;
    state_ = State::kChecking;
    return step_work(make_check_(password));
  }

  Step resume(Work& work) override {
    ASSERT(state_ == State::kChecking);
    state_ = State::kOver;
    const auto& check = static_cast<const PasswordCheck&>(work);
    if (!check.right) {
      Step step = step_failed(check.why);
      step.unproved = check.broken;
      return step;
    }
    proved_ = true;
    return step_ok();
  }

  const ScramKeys& learned() const override {
    static const ScramKeys kNothing;
    return kNothing;
  }
  std::string_view password() const override { return proved_ ? claimed_.view() : std::string_view(); }

 private:
  enum class State { kAsked, kChecking, kOver };

  const std::function<std::unique_ptr<PasswordCheck>(std::string_view password)> make_check_;
  SecretString claimed_;
  State state_ = State::kAsked;
  bool proved_ = false;
};

}  // namespace

std::unique_ptr<ClientVerifier> make_checking_verifier(
    std::function<std::unique_ptr<PasswordCheck>(std::string_view password)> make_check) {
  return std::make_unique<CheckingVerifier>(std::move(make_check));
}

}  // namespace berth::auth
