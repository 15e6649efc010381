// How the broker proves itself to one server: answers its Authentication messages with what the proof allows, and
// wants a proof back where the server gave the choice of SCRAM.
#include <fmt/format.h>

#include <utility>
#include <vector>

#include "auth/exchange.h"
#include "auth/key_cache.h"
#include "auth/md5.h"
#include "auth/scram.h"
#include "auth/scram_client.h"
#include "auth/step.h"
#include "base/assert.h"
#include "wire/backend.h"

namespace berth::auth {
namespace {

std::string_view name_of(AuthCode code) {
  switch (code) {
    case AuthCode::kKerberosV5: return "Kerberos V5";
    case AuthCode::kCryptPassword: return "crypt";
    case AuthCode::kScmCredential: return "SCM credentials";
    case AuthCode::kGss:
    case AuthCode::kGssContinue: return "GSSAPI";
    case AuthCode::kSspi: return "SSPI";
    case AuthCode::kOk:
    case AuthCode::kCleartextPassword:
    case AuthCode::kMd5Password:
    case AuthCode::kSasl:
    case AuthCode::kSaslContinue:
    case AuthCode::kSaslFinal: break;
  }
  return "an unknown method";
}

std::string password_message(std::string_view text) {
  std::string out;
  {
    wire::Message message(out, wire::kPassword);
    wire::put_cstring(out, text);
  }
  return out;
}

struct Offered {
  bool scram = false, plus = false;
};

// What of SCRAM-SHA-256 is in the list of a SASL message. False: the list does not end as it must (T24).
bool read_mechanisms(std::string_view list, Offered& out) {
  std::vector<std::string_view> names;
  if (!wire::parse_mechanisms(list, names)) return false;
  for (const std::string_view name : names) {
    out.scram = out.scram || name == kScramMechanism;
    out.plus = out.plus || name == kScramPlusMechanism;
  }
  return true;
}

class ServerLoginImpl final : public ServerLogin {
 public:
  ServerLoginImpl(std::string_view user, const Proof& proof, ChannelBinding binding)
      : user_(user), proof_(proof), binding_(std::move(binding)), scram_(make_nonce()) {}
  ~ServerLoginImpl() override {
    scrub(proof_.secret);
    scrub(proof_.keys);
  }

  Step feed(std::string_view body) override {
    uint32_t code;
    std::string_view rest;
    if (!wire::parse_authentication(body, code, rest)) {
      return over(step_violation("Authentication message without a code"));
    }
    return note(on_message(static_cast<AuthCode>(code), rest));
  }
  Step resume(Work& work) override {
    ASSERT(state_ == State::kKeys);
    take_keys(static_cast<KeyWork&>(work).salted);
    return note(send_final());
  }

 private:
  // What came last from the server; kKeys: they are being derived for SASLContinue; kOver: nothing may come any more.
  enum class State { kStart, kPassword, kSasl, kKeys, kSaslContinue, kSaslFinal, kOver };

  Step note(Step step) {
    const bool goes_on = step.kind == Step::Kind::kSend || step.kind == Step::Kind::kWork;
    return goes_on ? std::move(step) : over(std::move(step));
  }
  Step over(Step step) {
    state_ = State::kOver;
    return step;
  }

  Step on_message(AuthCode code, std::string_view rest) {
    switch (code) {
      case AuthCode::kOk: return on_ok(rest);
      case AuthCode::kCleartextPassword: return state_ == State::kStart ? start_on_cleartext(rest) : out_of_order();
      case AuthCode::kMd5Password: return state_ == State::kStart ? start_on_md5(rest) : out_of_order();
      case AuthCode::kSasl: return state_ == State::kStart ? start_on_sasl(rest) : out_of_order();
      case AuthCode::kSaslContinue: return state_ == State::kSasl ? sasl_on_continue(rest) : out_of_order();
      case AuthCode::kSaslFinal: return state_ == State::kSaslContinue ? sasl_on_final(rest) : out_of_order();
      case AuthCode::kKerberosV5:
      case AuthCode::kCryptPassword:
      case AuthCode::kScmCredential:
      case AuthCode::kGss:
      case AuthCode::kGssContinue:
      case AuthCode::kSspi: break;
    }
    return step_failed(fmt::format("the server asks for {} (code {}), which is not supported", name_of(code),
                                   static_cast<uint32_t>(code)));
  }

  bool must_bind() const { return binding_.wish == BindingWish::kRequire; }
  static Step unbound() {
    return step_failed("channel binding is required, and the server does not bind this login to a TLS connection");
  }

  static Step out_of_order() { return step_violation("Authentication message out of order"); }

  Step on_ok(std::string_view rest) {
    if (!rest.empty()) return step_violation("malformed AuthenticationOk");
    switch (state_) {
      case State::kStart:
      case State::kPassword: return must_bind() ? unbound() : step_ok();
      case State::kSaslFinal: return step_ok();
      case State::kSasl:
      case State::kKeys:
      case State::kSaslContinue: return step_violation("the server ends SCRAM without proving itself");
      case State::kOver: break;
    }
    return out_of_order();
  }

  Step start_on_cleartext(std::string_view rest) {
    if (must_bind()) return unbound();
    if (!rest.empty()) return step_violation("malformed AuthenticationCleartextPassword");
    if (proof_.secret.kind != SecretKind::kPlain && !take_other()) {
      return step_failed("the server asks for a clear password, and there is none for this user");
    }
    state_ = State::kPassword;
    return step_send(password_message(proof_.secret.text.view()));
  }

  Step start_on_md5(std::string_view salt) {
    if (must_bind()) return unbound();
    if (salt.size() != kMd5SaltSize) return step_violation("malformed AuthenticationMD5Password");
    if (proof_.secret.empty() || proof_.secret.kind == SecretKind::kScram) take_other();
    std::string stored(proof_.secret.text.view());
    switch (proof_.secret.kind) {
      case SecretKind::kMd5: break;
      case SecretKind::kPlain:
        if (md5_secret(proof_.secret.text.view(), user_, stored)) break;
        return step_failed("this OpenSSL refuses MD5");
      case SecretKind::kNone:
      case SecretKind::kScram:
        return step_failed("the server asks for md5, and there is no fitting secret for this user");
    }
    std::string answer;
    const bool available = md5_response(stored, salt, answer);
    scrub(stored);
    if (!available) return step_failed("this OpenSSL refuses MD5");
    state_ = State::kPassword;
    return step_send(password_message(answer));
  }

  Step start_on_sasl(std::string_view list) {
    Offered offered;
    if (!read_mechanisms(list, offered)) return step_violation("malformed AuthenticationSASL");
    const bool able = binding_.wish != BindingWish::kDisable && !binding_.hash.empty();
    const bool plus = offered.plus && able;
    if (!plus && must_bind()) return unbound();
    if (!plus && !offered.scram) return step_failed("the server offers SASL, but not SCRAM-SHA-256");
    scram_.bind(plus ? binding_.hash : std::string(), able);
    const std::string_view why = why_no_scram();
    if (!why.empty() && !take_other()) return step_failed(std::string(why));
    state_ = State::kSasl;
    const std::string first = scram_.client_first();
    std::string out;
    {
      wire::Message message(out, wire::kPassword);
      wire::put_cstring(out, plus ? kScramPlusMechanism : kScramMechanism);
      wire::put32(out, static_cast<uint32_t>(first.size()));
      out.append(first);
    }
    return step_send(std::move(out));
  }

  // Nothing else of the proof answers the request; false: nor is there a clear password beside it.
  bool take_other() {
    if (proof_.otherwise.empty()) return false;
    scrub(proof_.secret);
    proof_.secret.kind = SecretKind::kPlain;
    proof_.secret.text = std::move(proof_.otherwise);
    return true;
  }

  std::string_view why_no_scram() const {
    if (proof_.secret.kind == SecretKind::kPlain) return {};
    if (proof_.keys.known) {
      const bool stale = proof_.secret.kind == SecretKind::kScram &&
                         !equal_constant_time(proof_.keys.server_key, proof_.secret.scram.server_key);
      return stale ? "the user's secret has changed since its last login: the client must log in again" : "";
    }
    switch (proof_.secret.kind) {
      case SecretKind::kNone: return "the server asks for SCRAM, and there is no secret for this user";
      case SecretKind::kMd5: return "the server asks for SCRAM, and the secret for this user is md5";
      case SecretKind::kScram: return "the SCRAM secret of this user serves only after a client's SCRAM login";
      case SecretKind::kPlain: break;
    }
    return {};
  }

  Step sasl_on_continue(std::string_view message) {
    const Result<ScramClient::Challenge> challenge = scram_.server_first(message);
    if (!challenge.ok()) return step_violation(challenge.error().text);
    if (proof_.secret.kind == SecretKind::kPlain) {
      return ask_for_keys(challenge.value());
    } else if (proof_.secret.kind == SecretKind::kScram && differs(challenge.value())) {
      return step_failed("the server's secret for this user is not the one in auth_file");
    }
    return send_final();
  }

  Step ask_for_keys(const ScramClient::Challenge& challenge) {
    Digest salted;
    if (!server_keys().find(proof_.secret.text.view(), challenge.salt, challenge.iterations, salted)) {
      state_ = State::kKeys;
      return step_work(std::make_unique<KeyWork>(Lane::kServerKeys, proof_.secret.text.view(), challenge.salt,
                                                 challenge.iterations, true));
    }
    take_keys(salted);
    scrub(salted);
    return send_final();
  }

  void take_keys(const Digest& salted) { proof_.keys = {true, client_key(salted), server_key(salted)}; }

  Step send_final() {
    state_ = State::kSaslContinue;
    std::string out;
    {
      wire::Message answer(out, wire::kPassword);
      out.append(scram_.client_final(proof_.keys.client_key));
    }
    return step_send(std::move(out));
  }

  bool differs(const ScramClient::Challenge& challenge) const {
    const ScramSecret& ours = proof_.secret.scram;
    return challenge.salt != ours.salt || challenge.iterations != ours.iterations;
  }

  Step sasl_on_final(std::string_view message) {
    std::string why = scram_.server_final(message, proof_.keys.server_key);
    if (!why.empty()) return step_failed(std::move(why));
    state_ = State::kSaslFinal;
    return step_send({});
  }

  const std::string user_;
  Proof proof_;
  const ChannelBinding binding_;
  ScramClient scram_;
  State state_ = State::kStart;
};

}  // namespace

std::unique_ptr<ServerLogin> make_server_login(std::string_view user, const Proof& proof, ChannelBinding binding) {
  return std::make_unique<ServerLoginImpl>(user, proof, std::move(binding));
}

}  // namespace berth::auth
