// Goal: the broker takes a server for the right one if, and only if, that shows what the asked-for proof and the wish
// for channel binding want, and it sends exactly what the secret allows. Method: an input is a script of servers'
// messages, in which names stand for nonces and signatures (auth_script.h, value_of below); a second reading of the
// protocol says what each message has to lead to, byte by byte, with PostgreSQL's arithmetic. "%!" as a message
// begins another login by the same secret, to a server that knows what was said in the one before.
#include "auth/exchange.h"

#include "auth/limits.h"
#include "auth/step.h"
#include "fuzz/auth_script.h"
#include "unit/auth_steps.h"

namespace berth::auth {
namespace {

constexpr std::string_view kHash = "hash of a certificate";
constexpr std::string_view kSalt = "0123456789abcdef";
constexpr uint64_t kIterationsOfSecret = 4;
constexpr uint64_t kIterationsTried = 200;  // beyond these the target waits for no derivation

// What the broker may prove itself with, and how much it wants the login to be bound.
struct Means {
  enum Kind { kNothing, kClear, kMd5, kScram, kScramAndKeys, kScramAndOldKeys, kKeys, kMd5AndKeys };

  explicit Means(FuzzInput& input) {
    const uint8_t choice = input.byte(), more = input.byte();
    kind = static_cast<Kind>(choice & 7);
    wish = static_cast<BindingWish>((choice >> 3) % 3);
    hash = choice & 128 ? "" : kHash;
    password = kScriptPasswords[(more & 3) % std::size(kScriptPasswords)];
    user = kScriptUsers[more >> 2 & 1];
    const std::string prepared = postgres::saslprep(password);
    keys = postgres::scram_keys(prepared, kSalt, kIterationsOfSecret);
    std::string text;
    if (kind == kClear) text = password;
    if (kind == kMd5 || kind == kMd5AndKeys) text = postgres::md5(password, user);
    if (kind == kScram || kind == kScramAndKeys || kind == kScramAndOldKeys) {
      text = postgres::scram_secret(prepared, kSalt, kIterationsOfSecret);
    }
    proof.secret = parse_secret(text);
    if (kind >= kScramAndKeys) {
      proof.keys = {true, digest_of(keys.client), digest_of(keys.server)};
      if (kind == kScramAndOldKeys) proof.keys.server_key[31] ^= 1;
    }
  }

  std::unique_ptr<ServerLogin> login() const { return make_server_login(user, proof, {wish, std::string(hash)}); }
  bool able() const { return wish != BindingWish::kDisable && !hash.empty(); }
  bool must_bind() const { return wish == BindingWish::kRequire; }
  bool has_scram() const { return kind == kClear || kind == kScramAndKeys || kind == kKeys || kind == kMd5AndKeys; }

  Kind kind;
  BindingWish wish;
  std::string_view hash, password, user;
  postgres::ScramKeys keys;
  Proof proof;
};

// What is seen in one login, and of use in the next.
struct Seen {
  std::string nonce, final;
};

class Login {
 public:
  enum class Expected { kSend, kOk, kFailed, kUntold };

  Login(const Means& means, const Seen& before) : means_(means), before_(before), login_(means.login()) {}

  // False: the message asks for more work than a fuzzer should wait for.
  bool hear(std::string_view script) {
    const std::string body = body_of(script);
    std::string reply;
    const Expected expected = expect(body, reply);
    if (expected == Expected::kUntold) {
      must(login_->feed(body).kind == Step::Kind::kWork);
      return false;
    }
    const Step step = feed_through(*login_, body);
    must((step.kind == Step::Kind::kFailed) == !step.reason.empty());
    switch (expected) {
      case Expected::kSend: must(step.kind == Step::Kind::kSend); break;
      case Expected::kOk: must(step.kind == Step::Kind::kOk); break;
      case Expected::kFailed: must(step.kind == Step::Kind::kFailed); break;
      case Expected::kUntold: break;
    }
    if (expected == Expected::kSend && state_ == State::kSasl) {
      client_first_came(step.bytes);
    } else {
      must(step.bytes == reply);
    }
    // What all of it is for, once more and without the model.
    if (step.kind == Step::Kind::kOk && means_.must_bind()) must(plus_ && signed_);
    if (step.kind == Step::Kind::kOk && !nonce_.empty()) must(signed_);
    if (expected != Expected::kSend) state_ = State::kOver;
    if (state_ == State::kSigned) transcript_.proof = transcript_.bodies.size();
    transcript_.bodies.push_back(body);
    return true;
  }

  const Seen& seen() const { return seen_; }
  const Transcript& transcript() const { return transcript_; }

 private:
  enum class State { kStart, kAnswered, kSasl, kContinued, kSigned, kOver };

  // A letter stands for the code; or the bytes are as they come.
  std::string body_of(std::string_view script) const {
    constexpr std::string_view kLetters = "OCMSTF";
    constexpr uint32_t kCodes[] = {0, 3, 5, 10, 11, 12};
    const size_t letter = script.empty() ? std::string_view::npos : kLetters.find(script[0]);
    std::string body;
    if (letter != std::string_view::npos) {
      body = big_endian(kCodes[letter]);
      script.remove_prefix(1);
    }
    return body + expand(script, [this](char name, std::string_view) { return value_of(name); });
  }

  std::optional<std::string> value_of(char name) const {
    const auto b64 = [](std::string_view bytes) { return postgres::base64_encode(bytes); };
    switch (name) {
      case 'N': return nonce_;
      case 'n': return before_.nonce;
      case 'R': return before_.final;
      case 's': return b64(kSalt);
      case 'i': return std::to_string(kIterationsOfSecret);
      default: break;
    }
    if (state_ != State::kContinued) return {};
    switch (name) {
      case 'V': return b64(signature());
      case 'A': return b64(flipped(signature(), 31));
      case 'Z': return b64(flipped(signature(), 0));
      case 'W': return b64(postgres::hmac_sha256(keys_.client, auth_message_));
      case 'S': return b64(postgres::hmac_sha256(keys_.stored, auth_message_));
      default: return {};
    }
  }

  std::string signature() const { return postgres::hmac_sha256(keys_.server, auth_message_); }

  static std::string password_message(std::string_view text) {
    return "p" + big_endian(static_cast<uint32_t>(text.size() + 4)) + std::string(text);
  }
  static std::string password_message_of(std::string text) { return password_message(text.append(1, '\0')); }

  Expected expect(std::string_view body, std::string& reply) {
    if (body.size() < 4) return Expected::kFailed;
    const std::string code(body.substr(0, 4));
    body.remove_prefix(4);
    const bool starting = state_ == State::kStart;
    if (code == big_endian(0)) return expect_ok(body);
    if (code == big_endian(3) && starting) return expect_clear(body, reply);
    if (code == big_endian(5) && starting) return expect_md5(body, reply);
    if (code == big_endian(10) && starting) return expect_sasl(body);
    if (code == big_endian(11) && state_ == State::kSasl) return expect_continue(body, reply);
    if (code == big_endian(12) && state_ == State::kContinued) return expect_final(body);
    return Expected::kFailed;
  }

  Expected expect_ok(std::string_view rest) const {
    const bool unproved = (state_ == State::kStart || state_ == State::kAnswered) && !means_.must_bind();
    return rest.empty() && (unproved || state_ == State::kSigned) ? Expected::kOk : Expected::kFailed;
  }

  Expected expect_clear(std::string_view rest, std::string& reply) {
    if (means_.must_bind() || !rest.empty() || means_.kind != Means::kClear) return Expected::kFailed;
    state_ = State::kAnswered;
    reply = password_message_of(std::string(means_.password));
    return Expected::kSend;
  }

  Expected expect_md5(std::string_view salt, std::string& reply) {
    const bool able = means_.kind == Means::kClear || means_.kind == Means::kMd5 || means_.kind == Means::kMd5AndKeys;
    if (means_.must_bind() || salt.size() != 4 || !able) return Expected::kFailed;
    state_ = State::kAnswered;
    reply = password_message_of(postgres::md5(postgres::md5(means_.password, means_.user).substr(3), salt));
    return Expected::kSend;
  }

  Expected expect_sasl(std::string_view list) {
    bool scram = false, plus = false, ended = false;
    while (const auto name = part_before(list, '\0')) {
      ended = name->empty();
      if (ended) break;
      scram = scram || *name == "SCRAM-SHA-256";
      plus = plus || *name == "SCRAM-SHA-256-PLUS";
    }
    if (!ended || !list.empty()) return Expected::kFailed;
    plus_ = plus && means_.able();
    if (!plus_ && (means_.must_bind() || !scram)) return Expected::kFailed;
    if (!means_.has_scram()) return Expected::kFailed;
    state_ = State::kSasl;
    return Expected::kSend;
  }

  // <mechanism> NUL <size> <header>n=,r=<24 digits of base64, never the same>
  void client_first_came(std::string_view message) {
    header_ = plus_ ? "p=tls-server-end-point,," : means_.able() ? "y,," : "n,,";
    must(message.size() > 24);
    nonce_ = message.substr(message.size() - 24);
    std::string raw;
    must(postgres::base64_decode_strict(nonce_, raw) && nonce_ != before_.nonce);
    client_first_bare_ = "n=,r=" + nonce_;
    const std::string first = header_ + client_first_bare_;
    std::string body = plus_ ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256";
    body.append(1, '\0').append(big_endian(static_cast<uint32_t>(first.size()))).append(first);
    must(message == password_message(body));
    seen_.nonce = nonce_;
  }

  static bool is_message(std::string_view text) {
    return !text.empty() && text.size() <= kScramMessageSizeMax && text.find('\0') == std::string_view::npos;
  }

  Expected expect_continue(std::string_view message, std::string& reply) {
    const auto parts = attributes_of(message);
    if (!is_message(message) || !parts || parts->size() != 3) return Expected::kFailed;
    const std::string_view nonce = (*parts)[0].substr(2), iterations_text = (*parts)[2].substr(2);
    if ((*parts)[0][0] != 'r' || (*parts)[1][0] != 's' || (*parts)[2][0] != 'i') return Expected::kFailed;
    if (!nonce_is_good(nonce) || !nonce.starts_with(nonce_) || nonce == nonce_) return Expected::kFailed;
    std::string salt;
    if (!postgres::base64_decode_strict((*parts)[1].substr(2), salt)) return Expected::kFailed;
    if (salt.empty() || salt.size() > kScramSaltSizeMax) return Expected::kFailed;
    uint64_t iterations = 0;
    for (const char digit : iterations_text) {
      if (digit < '0' || digit > '9' || (iterations == 0 && digit == '0')) return Expected::kFailed;
      iterations = iterations * 10 + static_cast<uint64_t>(digit - '0');
      if (iterations > kScramIterationsMax) return Expected::kFailed;
    }
    if (iterations == 0) return Expected::kFailed;
    const bool stored = means_.kind == Means::kScramAndKeys;
    if (stored && (salt != kSalt || iterations != kIterationsOfSecret)) return Expected::kFailed;
    keys_ = means_.keys;
    if (means_.kind == Means::kClear) {
      if (iterations > kIterationsTried) return Expected::kUntold;
      keys_ = postgres::scram_keys(postgres::saslprep(means_.password), salt, static_cast<int>(iterations));
    }
    const std::string binding = header_ + std::string(plus_ ? means_.hash : "");
    const std::string without_proof = "c=" + postgres::base64_encode(binding) + ",r=" + std::string(nonce);
    auth_message_ = client_first_bare_ + "," + std::string(message) + "," + without_proof;
    reply = password_message(without_proof + ",p=" + postgres::base64_encode(proof_of(keys_, auth_message_)));
    state_ = State::kContinued;
    return Expected::kSend;
  }

  Expected expect_final(std::string_view message) {
    seen_.final = message;
    if (message != "v=" + postgres::base64_encode(signature())) return Expected::kFailed;
    signed_ = true;
    state_ = State::kSigned;
    return Expected::kSend;
  }

  const Means& means_;
  const Seen& before_;
  const std::unique_ptr<ServerLogin> login_;
  State state_ = State::kStart;
  bool plus_ = false, signed_ = false;
  std::string nonce_, header_, client_first_bare_, auth_message_;
  postgres::ScramKeys keys_;
  Seen seen_;
  Transcript transcript_;
};

void fuzz(FuzzInput input, size_t dice) {
  begin_input();
  const Means means(input);
  Seen before;
  std::vector<Transcript> said;
  for (int logins = 0; logins < 4 && !input.empty(); ++logins) {
    Login login(means, before);
    while (!input.empty()) {
      const std::string_view script = input.message();
      if (script == "%!") break;
      if (!login.hear(script)) return;
    }
    before = login.seen();
    said.push_back(login.transcript());
  }
  no_other_proof_is_taken(said, dice, [&] { return means.login(); });
}

}  // namespace
}  // namespace berth::auth

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::auth::fuzz(berth::auth::FuzzInput(data, size), berth::auth::dice_of(data, size));
  return 0;
}
