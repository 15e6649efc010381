// How a client proves itself: one verifier for each exchange (none, clear text, md5, SCRAM), and the rules which
// exchange a method and a kind of secret lead to. A user that does not exist goes through the same code with a
// made-up secret.
#include "auth/exchange.h"

#include <algorithm>
#include <utility>

#include "auth/key_cache.h"
#include "auth/limits.h"
#include "auth/md5.h"
#include "auth/mock.h"
#include "auth/scram.h"
#include "auth/scram_server.h"
#include "auth/step.h"
#include "base/assert.h"
#include "base/fault.h"
#include "base/random.h"
#include "wire/frame.h"

namespace berth::auth {
namespace {

// Whom a client claims to be, and what is known of that user. `refusal` says why no proof can help; the proof is
// checked all the same, so that it takes as long.
struct Subject {
  std::string user;
  Secret secret;
  std::string_view refusal;

  ~Subject() { scrub(secret); }
};

// The password of a PasswordMessage: one string with its NUL, nothing behind it (T7).
bool parse_password(std::string_view body, std::string_view& out) {
  return body.size() <= kPasswordSizeMax + 1 && wire::take_cstring(body, out) && body.empty();
}

// What the verifiers have in common: nothing may follow the end, nothing is learned by default.
class Verifier : public ClientVerifier {
 public:
  explicit Verifier(Subject subject) : subject_(std::move(subject)) {}
  Step feed(std::string_view body) final {
    if (over_) return step_violation("message after the end of the exchange");
    ASSERT(!working_);
    return note(on_message(body));
  }
  Step resume(Work& work) final {
    ASSERT(working_ && !over_);
    return note(on_work(work));
  }
  const ScramKeys& learned() const override {
    static const ScramKeys kNothing;
    return kNothing;
  }
  std::string_view password() const override { return {}; }

 protected:
  virtual Step on_message(std::string_view body) = 0;
  // Of the work of a kWork step.
  virtual Step on_work(Work&) {
    ASSERT(!working_);
    return step_failed("no work was asked for");
  }
  Step verdict(bool proved) const {
    if (!subject_.refusal.empty()) return step_failed(std::string(subject_.refusal));
    return proved ? step_ok() : step_failed("wrong password");
  }
  const Subject subject_;

 private:
  Step note(Step step) {
    working_ = step.kind == Step::Kind::kWork;
    over_ = !working_ && step.kind != Step::Kind::kSend;
    return step;
  }
  bool over_ = false;
  bool working_ = false;
};

// trust and any: nothing is asked.
class NoVerifier final : public Verifier {
 public:
  using Verifier::Verifier;
  Step start() override { return verdict(true); }

 protected:
  Step on_message(std::string_view) override { return step_violation("password message, but none was asked for"); }
};

// A clear password, against a secret of any kind.
class PlainVerifier final : public Verifier {
 public:
  using Verifier::Verifier;
  Step start() override {
    if (FAULT(unknown_user_told_early) && !subject_.refusal.empty()) return verdict(false);
    return step_send(authentication(AuthCode::kCleartextPassword));
  }
  std::string_view password() const override { return proved_ ? claimed_.view() : std::string_view(); }

 protected:
  Step on_message(std::string_view body) override {
    std::string_view password;
    if (!parse_password(body, password)) return step_violation("malformed password message");
    if (password.empty()) return step_failed("empty password");
    claimed_ = password;
    switch (subject_.secret.kind) {
      case SecretKind::kNone: break;
      case SecretKind::kPlain: return proved(fits_plain(password));
      case SecretKind::kMd5: return proved(fits_md5(password));
      case SecretKind::kScram: return ask_for_key();
    }
    ASSERT(subject_.secret.kind != SecretKind::kNone);
    return proved(false);
  }
  Step on_work(Work& work) override {
    const Digest& salted = static_cast<KeyWork&>(work).salted;
    const ScramSecret& secret = subject_.secret.scram;
    const bool fits = fits_scram(salted);
    if (fits && subject_.refusal.empty()) client_keys().keep(claimed_.view(), secret.salt, secret.iterations, salted);
    return proved(fits);
  }

 private:
  Step proved(bool fits) {
    Step step = verdict(fits);
    proved_ = step.kind == Step::Kind::kOk;
    return step;
  }
  Step ask_for_key() {
    const ScramSecret& secret = subject_.secret.scram;
    if (secret.iterations > kScramIterationsMax) return proved(false);
    Digest salted;
    if (!client_keys().find(claimed_.view(), secret.salt, secret.iterations, salted)) {
      return step_work(
          std::make_unique<KeyWork>(Lane::kClientKeys, claimed_.view(), secret.salt, secret.iterations, false));
    }
    const bool fits = fits_scram(salted);
    scrub(salted);
    return proved(fits);
  }
  // Digests are compared, so that the time says nothing of the size either.
  bool fits_plain(std::string_view password) const {
    const std::string_view key = view_of(process_secret());
    return equal_constant_time(hmac_sha256(key, {password}), hmac_sha256(key, {subject_.secret.text.view()}));
  }
  bool fits_md5(std::string_view password) const {
    std::string claimed;
    const bool fits =
        md5_secret(password, subject_.user, claimed) && equal_constant_time(claimed, subject_.secret.text.view());
    scrub(claimed);
    return fits;
  }
  bool fits_scram(const Digest& salted) const {
    Digest client = client_key(salted);
    const bool fits = equal_constant_time(stored_key(client), subject_.secret.scram.stored_key);
    scrub(client);
    return fits;
  }

  SecretString claimed_;
  bool proved_ = false;
};

// md5 with a salt, against a clear or an md5 secret.
class Md5Verifier final : public Verifier {
 public:
  explicit Md5Verifier(Subject subject) : Verifier(std::move(subject)) { fill_secure(salt_, sizeof salt_); }
  size_t message_max() const override { return kMd5AnswerMax; }
  Step start() override { return step_send(authentication(AuthCode::kMd5Password, {salt_, sizeof salt_})); }

 protected:
  Step on_message(std::string_view body) override {
    std::string_view answer;
    if (!parse_password(body, answer)) return step_violation("malformed password message");
    const Secret& secret = subject_.secret;
    std::string stored(secret.text.view());
    std::string expected;
    const bool available =
        (secret.kind == SecretKind::kMd5 || md5_secret(secret.text.view(), subject_.user, stored)) &&
        md5_response(stored, {salt_, sizeof salt_}, expected);
    scrub(stored);
    if (!available) return step_failed("this OpenSSL refuses MD5");
    Step step = verdict(equal_constant_time(expected, answer));
    scrub(expected);
    return step;
  }

 private:
  char salt_[kMd5SaltSize];
};

// SCRAM-SHA-256, against a SCRAM or a clear secret.
class ScramVerifier final : public Verifier {
 public:
  ScramVerifier(Subject subject, uint32_t iterations, std::string_view binding)
      : Verifier(std::move(subject)),
        salt_(made() ? user_salt(subject_.user, kScramSaltSize) : subject_.secret.scram.salt),
        iterations_(made() ? iterations : subject_.secret.scram.iterations),
        scram_(salt_, iterations_, make_nonce()),
        binding_(binding) {}
  ~ScramVerifier() override { scrub(learned_); }
  size_t message_max() const override { return kScramClientMessageMax; }
  Step start() override {
    std::string mechanisms;
    if (!binding_.empty()) mechanisms.append(kScramPlusMechanism).append(1, '\0');  // first: the better one
    mechanisms.append(kScramMechanism).append(2, '\0');  // ends the name, and then the list
    return step_send(authentication(AuthCode::kSasl, mechanisms));
  }
  const ScramKeys& learned() const override { return learned_; }

 protected:
  Step on_message(std::string_view body) override {
    switch (state_) {
      case State::kMechanism: return mechanism_on_message(body);
      case State::kFirst: return first_on_message(body);
      case State::kFinal: return final_on_message(body);
      case State::kOver: break;
    }
    return step_violation("unexpected SASL message");
  }
  Step on_work(Work& work) override { return verify(static_cast<KeyWork&>(work).salted); }

 private:
  enum class State { kMechanism, kFirst, kFinal, kOver };

  // Whether the secret is clear and the SCRAM secret is ours to make.
  bool made() const { return subject_.secret.kind == SecretKind::kPlain; }

  // SASLInitialResponse: the mechanism's name, the size of the first message or -1, the message.
  Step mechanism_on_message(std::string_view body) {
    std::string_view name;
    if (!wire::take_cstring(body, name)) return step_violation("malformed SASLInitialResponse");
    const bool bound = name == kScramPlusMechanism && !binding_.empty();
    if (name != kScramMechanism && !bound)
      return step_violation("client chose a SASL mechanism that was not offered");
    scram_.bind(binding_, bound);
    if (body.size() < sizeof(uint32_t)) return step_violation("malformed SASLInitialResponse");
    const uint32_t size = wire::read32(body.data());
    body.remove_prefix(sizeof(uint32_t));
    if (size == UINT32_MAX && body.empty()) {
      state_ = State::kFirst;  // the client wants to be asked for its first message
      return step_send(authentication(AuthCode::kSaslContinue));
    }
    if (size != body.size()) return step_violation("malformed SASLInitialResponse");
    return first_on_message(body);
  }

  Step first_on_message(std::string_view message) {
    const Result<std::string> answer = scram_.client_first(message);
    if (!answer.ok()) return step_violation(answer.error().text);
    state_ = State::kFinal;
    return step_send(authentication(AuthCode::kSaslContinue, answer.value()));
  }

  Step final_on_message(std::string_view message) {
    const Result<Digest> proof = scram_.client_final(message);
    if (!proof.ok()) {
      const bool wrong = proof.error().sqlstate == "28000";
      return wrong ? step_failed(proof.error().text) : step_violation(proof.error().text);
    }
    proof_ = proof.value();
    state_ = State::kOver;
    if (!made()) return verify(subject_.secret.scram.stored_key, subject_.secret.scram.server_key);
    Digest salted;
    if (!client_keys().find(subject_.secret.text.view(), salt_, iterations_, salted)) {
      return step_work(
          std::make_unique<KeyWork>(Lane::kClientKeys, subject_.secret.text.view(), salt_, iterations_, true));
    }
    Step step = verify(salted);
    scrub(salted);
    return step;
  }

  // With the SCRAM secret that a clear one makes.
  Step verify(const Digest& salted) {
    Digest client = client_key(salted);
    Digest stored = stored_key(client);
    Digest server = server_key(salted);
    Step step = verify(stored, server);
    scrub(client);
    scrub(stored);
    scrub(server);
    return step;
  }

  Step verify(const Digest& stored, const Digest& server) {
    Digest client;
    Step step = verdict(scram_.proves(proof_, stored, client));
    if (step.kind == Step::Kind::kOk) {
      step.bytes = authentication(AuthCode::kSaslFinal, scram_.server_final(server));
      if (!made()) learned_ = {true, client, server};
    }
    scrub(client);
    return step;
  }

  const std::string salt_;
  const uint32_t iterations_;
  ScramServer scram_;
  const std::string binding_;
  State state_ = State::kMechanism;
  Digest proof_{};
  ScramKeys learned_;
};

// The kind of secret that stands in for a missing one, of the kinds that the method can use.
SecretKind mock_kind(Method method, SecretKind common) {
  if (method == Method::kScramSha256) return SecretKind::kScram;
  if (method == Method::kMd5) return common == SecretKind::kScram ? SecretKind::kScram : SecretKind::kMd5;
  return common == SecretKind::kNone ? SecretKind::kPlain : common;
}

// Why no proof of this user can help; empty: a proof can.
std::string_view why_refused(Method method, const Secret* secret) {
  if (method == Method::kAny) return {};
  if (!secret) return "no such user";
  if (method == Method::kTrust) return {};
  if (secret->empty()) return "the user has no password";
  if (secret->kind == SecretKind::kMd5 && method == Method::kScramSha256) {
    return "the user has an md5 secret, which does not serve for SCRAM";
  }
  return {};
}

Subject make_subject(Method method, std::string_view user, const Secret* secret, MockProfile profile,
                     uint32_t scram_iterations) {
  Subject subject;
  subject.user = user;
  subject.refusal = why_refused(method, secret);
  if (method == Method::kTrust || method == Method::kAny) return subject;
  if (profile.kind != SecretKind::kScram || profile.iterations == 0) profile.iterations = scram_iterations;
  profile.kind = mock_kind(method, profile.kind);
  // Made up for every user, so that it takes no longer for one that does not exist (T3).
  subject.secret = mock_secret(user, profile);
  if (subject.refusal.empty()) subject.secret = *secret;
  return subject;
}

}  // namespace

std::unique_ptr<ClientVerifier> make_client_verifier(Method method, std::string_view user, const Secret* secret,
                                                     int scram_iterations, const MockProfile& profile,
                                                     std::string_view binding) {
  const auto iterations =
      static_cast<uint32_t>(std::clamp(scram_iterations, 1, static_cast<int>(kScramIterationsMax)));
  Subject subject = make_subject(method, user, secret, profile, iterations);
  switch (method) {
    case Method::kTrust:
    case Method::kAny: return std::make_unique<NoVerifier>(std::move(subject));
    case Method::kPlain: return std::make_unique<PlainVerifier>(std::move(subject));
    case Method::kMd5:
      if (subject.secret.kind != SecretKind::kScram) return std::make_unique<Md5Verifier>(std::move(subject));
      return std::make_unique<ScramVerifier>(std::move(subject), iterations, binding);
    case Method::kScramSha256: return std::make_unique<ScramVerifier>(std::move(subject), iterations, binding);
  }
  ASSERT(method == Method::kScramSha256);
  return nullptr;
}

}  // namespace berth::auth
