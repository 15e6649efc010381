// Goal (T13): a client gets in if, and only if, it shows that it knows the secret, whatever the method, the kind of
// secret and the binding to TLS. Method: an input is a script of clients' messages, in which names stand for nonces
// and proofs (auth_script.h, value_of below); a second reading of the protocol says what each message has to lead to,
// with PostgreSQL's arithmetic. "%!" as a message begins another login of the same user, which knows what was said in
// the one before.
#include "auth/exchange.h"

#include "auth/limits.h"
#include "auth/step.h"
#include "fuzz/auth_script.h"
#include "unit/auth_steps.h"
#include "wire/frame.h"

namespace berth::auth {
namespace {

constexpr std::string_view kHash = "hash of a certificate";
constexpr std::string_view kSalt = "0123456789abcdef";
constexpr int kMadeIterations[] = {1, 2, 5, 64};

enum class Expected { kSend, kOk, kRefused, kMalformed };

// Whose login it is, as the broker is told and as a right client knows it.
struct Role {
  explicit Role(FuzzInput& input) {
    const uint8_t choice = input.byte(), more = input.byte();
    constexpr Method kMethods[] = {Method::kScramSha256, Method::kMd5, Method::kPlain, Method::kTrust};
    method = kMethods[choice & 3];
    if (method == Method::kTrust && choice & 4) method = Method::kAny;
    binding = choice & 4 ? kHash : "";
    iterations = kMadeIterations[more & 3];
    password = kScriptPasswords[(more >> 2 & 3) % std::size(kScriptPasswords)];
    user = kScriptUsers[more >> 4 & 1];
    profile.kind = static_cast<SecretKind>(more >> 5 & 3);
    profile.iterations = more & 128 ? 3 : 0;
    make_secret(choice >> 3 & 7);
  }

  void make_secret(int kind) {
    static const int kScramIterations[] = {1, 3, 4096, 2'000'000};  // the last two are never derived here
    known = kind >= 1;
    switch (kind) {
      case 0:  // there is no such user
      case 1: break;
      case 2:
      case 5:
        secret.kind = SecretKind::kPlain;
        secret.text = password;
        break;
      case 3:
        secret = parse_secret(postgres::md5(password, user));
        must(secret.kind == SecretKind::kMd5);
        break;
      default: {
        const bool derived = method == Method::kPlain || kind == 4;
        iterations_of_secret = kScramIterations[(iterations & 1) + (derived ? 0 : 2)];
        keys = postgres::scram_keys(postgres::saslprep(password), kSalt, derived ? iterations_of_secret : 1);
        secret.kind = SecretKind::kScram;
        secret.scram = {static_cast<uint32_t>(iterations_of_secret), std::string(kSalt), digest_of(keys.stored),
                        digest_of(keys.server)};
      }
    }
    refused = !known || secret.empty() || (method == Method::kScramSha256 && secret.kind == SecretKind::kMd5);
    // Nobody knows these, but who did must not get in either.
    const SecretKind seen = refused ? profile.kind : secret.kind;
    if (refused && seen == SecretKind::kPlain) password = std::string(mock_secret(user, profile).text.view());
    md5 = refused ? std::string(mock_secret(user, {SecretKind::kMd5}).text.view()) : postgres::md5(password, user);
    if (secret.kind == SecretKind::kMd5) md5 = secret.text.view();
    request = AuthCode::kSasl;
    if (method == Method::kPlain) request = AuthCode::kCleartextPassword;
    if (method == Method::kMd5 && seen != SecretKind::kScram) request = AuthCode::kMd5Password;
  }

  std::unique_ptr<ClientVerifier> verifier() const {
    return make_client_verifier(method, user, known ? &secret : nullptr, iterations, profile, binding);
  }
  // What a right client derives from what the server says. Of a stored secret it knows the keys.
  postgres::ScramKeys keys_for(std::string_view salt, std::string_view of_password) const {
    if (secret.kind == SecretKind::kScram && of_password == password) return keys;
    return postgres::scram_keys(postgres::saslprep(of_password), salt, iterations);
  }

  Method method;
  std::string_view binding, user;
  std::string password, md5;
  Secret secret;
  MockProfile profile;
  postgres::ScramKeys keys;
  AuthCode request;
  int iterations, iterations_of_secret = 0;
  bool known = false, refused = false;
};

// What is learned in one login, and of use in the next.
struct Said {
  std::string nonce, proof, final;
};

class Login {
 public:
  Login(const Role& role, const Said& before) : role_(role), before_(before), verifier_(role.verifier()) {
    const std::string body = body_of(verifier_->start());
    must(body.substr(0, 4) == big_endian(static_cast<uint32_t>(role_.request)));
    const std::string rest = body.substr(4);
    const std::string lists[] = {std::string("SCRAM-SHA-256\0\0", 15),
                                 std::string("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0", 34)};
    if (role_.request == AuthCode::kSasl) must(rest == lists[!role_.binding.empty()]);
    if (role_.request == AuthCode::kMd5Password) must(rest.size() == 4);
    if (role_.request == AuthCode::kCleartextPassword) must(rest.empty());
    md5_salt_ = rest;
  }
  ~Login() {
    must(verifier_->learned().known == (ok_ && scram() && role_.secret.kind == SecretKind::kScram));
    if (verifier_->learned().known) {
      must(view_of(verifier_->learned().client_key) == role_.keys.client);
      must(view_of(verifier_->learned().server_key) == role_.keys.server);
    }
    must(verifier_->password() == (ok_ && role_.method == Method::kPlain ? std::string_view(role_.password) : ""));
  }

  void say(std::string_view script) {
    const std::string body =
        expand(script, [this](char name, std::string_view so_far) { return value_of(name, so_far); });
    std::string reply;
    const Expected expected = expect(body, reply);
    const Step step = feed_through(*verifier_, body);
    if (expected == Expected::kSend) {
      const std::string sent = body_of(step);
      must(sent.substr(0, 4) == big_endian(static_cast<uint32_t>(AuthCode::kSaslContinue)));
      if (wait_ == Wait::kFinal) server_first_came(sent.substr(4));
      must(wait_ == Wait::kFinal || sent.size() == 4);
    } else if (expected == Expected::kOk) {
      must(step.kind == Step::Kind::kOk && step.bytes == reply && step.reason.empty());
      must(!role_.refused);
      ok_ = true;
    } else {
      must(step.kind == Step::Kind::kFailed && step.bytes.empty() && !step.reason.empty());
      must(step.protocol_violation == (expected == Expected::kMalformed));
    }
    if (expected != Expected::kSend) wait_ = Wait::kNothing;
    // (Two passwords may be one to SASLprep; auth_password has those.)
    if (expected == Expected::kOk && role_.method != Method::kPlain) transcript_.proof = transcript_.bodies.size();
    transcript_.bodies.push_back(body);
  }

  const Said& said() const { return said_; }
  const Transcript& transcript() const { return transcript_; }

 private:
  enum class Wait { kMechanism, kFirst, kFinal, kNothing };

  bool scram() const { return role_.request == AuthCode::kSasl; }
  static std::string body_of(const Step& step) {
    must(step.kind == Step::Kind::kSend && step.bytes.size() >= 9 && step.bytes[0] == 'R' && step.reason.empty());
    must(step.bytes.substr(1, 4) == big_endian(static_cast<uint32_t>(step.bytes.size() - 1)));
    return step.bytes.substr(5);
  }

  // r=<the client's nonce><ours, 24 digits of base64, never the same>,s=<salt>,i=<iterations>
  void server_first_came(std::string text) {
    const auto parts = attributes_of(text);
    must(parts && parts->size() == 3);
    said_.nonce = (*parts)[0].substr(2);
    must((*parts)[0].substr(0, 2) == "r=" && said_.nonce.starts_with(client_nonce_));
    std::string raw;
    must(said_.nonce.size() == client_nonce_.size() + 24);
    must(postgres::base64_decode_strict(said_.nonce.substr(client_nonce_.size()), raw));
    must(!before_.nonce.ends_with(said_.nonce.substr(client_nonce_.size())));
    must((*parts)[1].substr(0, 2) == "s=" && postgres::base64_decode_strict((*parts)[1].substr(2), salt_));
    int iterations = role_.iterations;
    if (role_.secret.kind == SecretKind::kScram) iterations = role_.iterations_of_secret;
    if (role_.refused && role_.profile.kind == SecretKind::kScram && role_.profile.iterations != 0) {
      iterations = static_cast<int>(role_.profile.iterations);
    }
    must((*parts)[2] == "i=" + std::to_string(iterations));
    must(salt_.size() == kSalt.size() && (role_.secret.kind != SecretKind::kScram || salt_ == kSalt));
    server_first_ = std::move(text);
  }

  std::string auth_message(std::string_view without_proof) const {
    return client_first_bare_ + "," + server_first_ + "," + std::string(without_proof);
  }
  // Of the message so far, which ends in ",p=".
  std::string proof(std::string_view so_far, std::string_view password) const {
    const std::string_view without = so_far.substr(0, so_far.size() < 3 ? 0 : so_far.size() - 3);
    return proof_of(role_.keys_for(salt_, password), auth_message(without));
  }
  std::string stored_as_proof(std::string_view so_far) const {
    postgres::ScramKeys keys = role_.keys_for(salt_, role_.password);
    keys.client = keys.stored;
    return proof_of(keys, auth_message(so_far.substr(0, so_far.size() < 3 ? 0 : so_far.size() - 3)));
  }
  std::string wrong_password() const { return role_.password + "l"; }

  std::optional<std::string> value_of(char name, std::string_view so_far) const {
    const auto b64 = [](std::string_view bytes) { return postgres::base64_encode(bytes); };
    switch (name) {
      case 'N': return said_.nonce;
      case 'n': return before_.nonce;
      case 'F': return before_.final;
      case 'R': return before_.proof;
      case 'B': return b64(header_ + std::string(role_.binding));  // what is right for a bound login
      case 'b': return b64(header_);                               // and for one that is not
      case 'X': return b64(header_ + "hash of another one");
      case 'p': return role_.password;
      case 'q': return wrong_password();
      case 'M': return postgres::md5(std::string_view(role_.md5).substr(3), md5_salt_);
      case 'm': return postgres::md5(postgres::md5(wrong_password(), role_.user).substr(3), md5_salt_);
      case 'D': return role_.md5;
      case '-': return std::string(4, '\xff');
      default: break;
    }
    if (wait_ != Wait::kFinal) return {};
    switch (name) {
      case 'P': return b64(proof(so_far, role_.password));
      case 'Q': return b64(proof(so_far, wrong_password()));
      case 'H': return b64(flipped(proof(so_far, role_.password), 31));
      case 'h': return b64(flipped(proof(so_far, role_.password), 0));
      case 'K': return b64(stored_as_proof(so_far));  // whoever has read pg_authid
      default: return {};
    }
  }

  // What the next message must lead to; with kOk, `reply` goes before AuthenticationOk.
  Expected expect(std::string_view body, std::string& reply) {
    if (wait_ == Wait::kNothing) return Expected::kMalformed;
    if (!scram()) return expect_password(body);
    switch (wait_) {
      case Wait::kMechanism: return expect_mechanism(body);
      case Wait::kFirst: return expect_first(body);
      default: return expect_final(body, reply);
    }
  }

  Expected expect_password(std::string_view body) const {
    if (body.empty() || body.find('\0') != body.size() - 1 || body.size() > kPasswordSizeMax + 1)
      return Expected::kMalformed;
    body.remove_suffix(1);
    if (role_.refused) return Expected::kRefused;
    bool right = false;
    if (role_.method == Method::kMd5) {
      right = body == postgres::md5(std::string_view(role_.md5).substr(3), md5_salt_);
    } else {
      // The passwords of these roles have no other spelling: auth_password has those.
      right = body == role_.password;
    }
    return right ? Expected::kOk : Expected::kRefused;
  }

  Expected expect_mechanism(std::string_view body) {
    const auto name = part_before(body, '\0');
    if (!name || body.size() < 4) return Expected::kMalformed;
    bound_ = !role_.binding.empty() && *name == "SCRAM-SHA-256-PLUS";
    if (!bound_ && *name != "SCRAM-SHA-256") return Expected::kMalformed;
    const std::string_view size = body.substr(0, 4);
    body.remove_prefix(4);
    if (size == big_endian(UINT32_MAX) && body.empty()) {
      wait_ = Wait::kFirst;
      return Expected::kSend;
    }
    return size == big_endian(static_cast<uint32_t>(body.size())) ? expect_first(body) : Expected::kMalformed;
  }

  static bool is_message(std::string_view text) {
    return !text.empty() && text.size() <= kScramMessageSizeMax && text.find('\0') == std::string_view::npos;
  }

  Expected expect_first(std::string_view message) {
    if (!is_message(message)) return Expected::kMalformed;
    // "y" means: I could bind, and you cannot. Where we can, somebody in between has changed our offer (T31).
    std::vector<std::string_view> headers{"n,,", "y,,"};
    if (!role_.binding.empty()) headers = {"n,,"};
    if (bound_) headers = {"p=tls-server-end-point,,"};
    const auto header = std::find_if(headers.begin(), headers.end(), [&](auto h) { return message.starts_with(h); });
    if (header == headers.end()) return Expected::kMalformed;
    header_ = *header;
    client_first_bare_ = message.substr(header_.size());
    const auto parts = attributes_of(client_first_bare_);
    if (!parts || parts->size() < 2 || (*parts)[0][0] != 'n' || (*parts)[1][0] != 'r') return Expected::kMalformed;
    client_nonce_ = (*parts)[1].substr(2);
    if (!nonce_is_good(client_nonce_)) return Expected::kMalformed;
    wait_ = Wait::kFinal;
    return Expected::kSend;
  }

  Expected expect_final(std::string_view message, std::string& reply) {
    if (!is_message(message)) return Expected::kMalformed;
    const auto first = std::string(message.substr(0, message.find(',')));
    if (!first.starts_with("c=") || first.size() < 2) return Expected::kMalformed;
    const std::string binding = header_ + std::string(bound_ ? role_.binding : "");
    if (first.substr(2) != postgres::base64_encode(binding))
      return bound_ ? Expected::kRefused : Expected::kMalformed;
    const auto parts = attributes_of(message);
    if (!parts || parts->size() < 3 || (*parts)[1] != "r=" + said_.nonce) return Expected::kMalformed;
    for (size_t i = 2; i < parts->size(); ++i) {
      if (((*parts)[i][0] == 'p') != (i + 1 == parts->size())) return Expected::kMalformed;
    }
    const std::string_view text = parts->back().substr(2);
    std::string claimed;
    if (!postgres::base64_decode_strict(text, claimed) || claimed.size() != 32) return Expected::kMalformed;
    said_.proof = text;
    said_.final = message;
    const std::string all = auth_message(message.substr(0, message.size() - text.size() - 3));
    const postgres::ScramKeys keys = role_.keys_for(salt_, role_.password);
    // The client key that it shows is whatever fits its proof; RFC 5802 looks only at its hash.
    const std::string shown = xor_bytes(claimed, postgres::hmac_sha256(keys.stored, all));
    if (role_.refused || postgres::sha256(shown) != keys.stored) return Expected::kRefused;
    reply =
        authentication(AuthCode::kSaslFinal, "v=" + postgres::base64_encode(postgres::hmac_sha256(keys.server, all)));
    return Expected::kOk;
  }

  const Role& role_;
  const Said& before_;
  const std::unique_ptr<ClientVerifier> verifier_;
  Said said_;
  Transcript transcript_;
  Wait wait_ = Wait::kMechanism;
  bool bound_ = false, ok_ = false;
  std::string md5_salt_, header_, client_first_bare_, client_nonce_, salt_, server_first_;
};

// Where nothing is asked, only trust wants to know the user, and no password is wanted afterwards.
void fuzz_unasked(const Role& role, std::string_view body) {
  const auto verifier = role.verifier();
  const Step step = verifier->start();
  const bool in = role.method == Method::kAny || role.known;
  must(step.kind == (in ? Step::Kind::kOk : Step::Kind::kFailed));
  must(step.bytes.empty() && step.reason.empty() == in && !step.protocol_violation);
  must(verifier->feed(body).kind == Step::Kind::kFailed);
  must(!verifier->learned().known && verifier->password().empty());
}

void fuzz(FuzzInput input, size_t dice) {
  begin_input();
  const Role role(input);
  if (role.method == Method::kTrust || role.method == Method::kAny) return fuzz_unasked(role, input.message());
  Said before;
  std::vector<Transcript> all;
  for (int logins = 0; logins < 4 && !input.empty(); ++logins) {
    Login login(role, before);
    while (!input.empty()) {
      const std::string_view script = input.message();
      if (script == "%!") break;
      login.say(script);
    }
    before = login.said();
    all.push_back(login.transcript());
  }
  no_other_proof_is_taken(all, dice, [&] {
    auto verifier = role.verifier();
    verifier->start();
    return verifier;
  });
}

}  // namespace
}  // namespace berth::auth

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::auth::fuzz(berth::auth::FuzzInput(data, size), berth::auth::dice_of(data, size));
  return 0;
}
