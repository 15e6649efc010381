// Goal: secrets, base64, md5 and SASLprep are what PostgreSQL 15 makes of the same bytes, and a password gets in
// where, and only where, PostgreSQL would take it for the same. Method: PostgreSQL's own code (postgres.h) on the
// same input; a wrong password is the right one with some small change.
//
// Where we differ on purpose:
// - Base64 is strict here (base64.h); PostgreSQL skips white space and ignores unused bits.
// - What is longer than kSaslprepSizeMax and not ASCII is not prepared (limits.h).
// - A stored SCRAM secret has digits for its iterations, a salt of 1 to kScramSaltSizeMax bytes and nothing empty;
//   PostgreSQL's strtol takes "+1" and " 1" as well, its strtok passes over a second "$" or ":", and it does not look
//   at the salt's size. None of these comes out of PostgreSQL; to us they are clear passwords.
#include <utf8proc.h>

#include <cstring>

#include "auth/exchange.h"
#include "auth/limits.h"
#include "auth/md5.h"
#include "auth/saslprep.h"
#include "base/base64.h"
#include "config/secret_form.h"
#include "fuzz/auth_script.h"
#include "unit/auth_steps.h"

namespace berth::auth {
namespace {

// What SASLprep and NFKC look at: spaces of several kinds, what is mapped to nothing, marks in and out of order,
// Hangul, ligatures, right to left, prohibited, unassigned, and what Unicode has corrected since 3.2.
constexpr uint32_t kCodes[] = {
    0x20,   0xa0,   0x1680, 0x2000,  0x200b,  0x202f,  0x205f,   0x3000, 0xad,   0x34f,  0x1806, 0x180b, 0x200c,
    0x2060, 0xfe00, 0xfeff, 0x300,   0x301,   0x307,   0x323,    0x327,  0x345,  0x5b4,  0x3099, 0x41,   0x61,
    0xc5,   0xe9,   0x1e9b, 0x212b,  0x2168,  0xfb01,  0x1100,   0x1161, 0x11a8, 0xac00, 0x5d0,  0x627,  0x661,
    0x6dd,  0x200e, 0x202a, 0xe001,  0xfffd,  0x1d16d, 0xfdd0,   0xffff, 0xe000, 0x340,  0x2028, 0x80,   0x7f,
    0x221,  0x234f, 0xf951, 0x2f868, 0x2f95f, 0x2f9bf, 0x10ffff, 0x378,  0x95c,  0x2126, 0x1f71, 0x3b9,
};
static_assert(std::size(kCodes) == 64);

void put_code(std::string& out, uint32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

// Fuzzers seldom write good UTF-8. A byte below 64 is one of kCodes, below 128 itself, 255 leaves the next one as it
// is; others begin a code point of three bytes.
std::string text_of(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size(); ++at) {
    const auto byte = static_cast<uint8_t>(bytes[at]);
    const auto next = [&] { return at + 1 < bytes.size() ? static_cast<uint8_t>(bytes[++at]) : uint8_t{0}; };
    if (byte < 64) {
      put_code(out, kCodes[byte]);
    } else if (byte < 128) {
      out += static_cast<char>(byte);
    } else if (byte == 255) {
      out += static_cast<char>(next());
    } else {
      const uint32_t code = (byte & 3u) << 16 | static_cast<uint32_t>(next()) << 8;
      put_code(out, code | next());
    }
  }
  return out;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}
bool is_password(std::string_view text) {
  return !text.empty() && text.find('\0') == std::string_view::npos && text.size() <= kPasswordSizeMax;
}

// PostgreSQL's, but for the limit.
std::string prepared(std::string_view password) {
  if (password.size() > kSaslprepSizeMax && !is_ascii(password)) return std::string(password);
  return postgres::saslprep(password);
}

// PostgreSQL's get_password_type and parse_scram_secret, but for what stands above.
SecretKind kind_of(std::string_view text) {
  if (text.empty()) return SecretKind::kNone;
  const std::string copy(text);
  if (text.size() == 35 && copy.starts_with("md5") && std::strspn(copy.c_str() + 3, "0123456789abcdef") == 32) {
    return SecretKind::kMd5;
  }
  constexpr std::string_view kPrefix = "SCRAM-SHA-256$";
  if (!text.starts_with(kPrefix)) return SecretKind::kPlain;
  text.remove_prefix(kPrefix.size());
  const auto iterations = part_before(text, ':');
  const auto salt = iterations ? part_before(text, '$') : std::nullopt;
  const auto stored = salt ? part_before(text, ':') : std::nullopt;
  if (!stored || iterations->empty()) return SecretKind::kPlain;
  uint64_t count = 0;
  for (const char digit : *iterations) {
    if (digit < '0' || digit > '9') return SecretKind::kPlain;
    count = std::min<uint64_t>(count * 10 + static_cast<uint64_t>(digit - '0'), UINT32_MAX);
  }
  std::string raw_salt, raw_stored, raw_server;
  const bool good = postgres::base64_decode_strict(*salt, raw_salt) &&
                    postgres::base64_decode_strict(*stored, raw_stored) &&
                    postgres::base64_decode_strict(text, raw_server);
  const bool sizes =
      !raw_salt.empty() && raw_salt.size() <= kScramSaltSizeMax && raw_stored.size() == 32 && raw_server.size() == 32;
  return good && sizes && count >= 1 && count <= INT32_MAX ? SecretKind::kScram : SecretKind::kPlain;
}

void fuzz_stored(std::string_view text) {
  const Secret secret = parse_secret(text);
  must(secret.kind == kind_of(text));
  const bool broken = text.starts_with("SCRAM-SHA-256$") && secret.kind != SecretKind::kScram;
  must(!config::look_at_secret(text).mistake.empty() == broken);
  must(secret.text.view() == text && secret.empty() == text.empty());
  if (secret.kind != SecretKind::kScram) return must(secret.scram.iterations == 0 && secret.scram.salt.empty());
  std::string rest = std::to_string(secret.scram.iterations) + ":" + postgres::base64_encode(secret.scram.salt) +
                     "$" + postgres::base64_encode(view_of(secret.scram.stored_key)) + ":" +
                     postgres::base64_encode(view_of(secret.scram.server_key));
  must(to_text(secret.scram) == "SCRAM-SHA-256$" + rest);
  // PostgreSQL takes zeros in front.
  const std::string_view digits = text.substr(14);
  must(digits.substr(std::min(digits.find_first_not_of('0'), digits.size())) == rest);
}

void fuzz_base64(std::string_view bytes) {
  const std::string text = base64_encode(bytes);
  must(text == postgres::base64_encode(bytes));
  std::string ours, theirs;
  must(base64_decode(text, ours) && ours == bytes);
  must(base64_size(bytes) == (base64_decode(bytes, ours) ? std::optional(ours.size()) : std::nullopt));
  must(base64_decode(bytes, ours) == postgres::base64_decode_strict(bytes, theirs) && ours == theirs);
}

void fuzz_saslprep(std::string_view password) {
  if (password.find('\0') != std::string_view::npos) return;
  must(saslprep(password) == prepared(password));
}

// Secrets are made as PostgreSQL makes them, and read back.
void fuzz_made(std::string_view password, std::string_view user, std::string_view salt, int iterations) {
  if (!is_password(password)) return;
  std::string hash;
  must(md5_secret(password, user, hash) && hash == postgres::md5(password, user));
  must(parse_secret(hash).kind == SecretKind::kMd5);
  std::string answer;
  must(md5_response(hash, salt, answer) && answer == postgres::md5(std::string_view(hash).substr(3), salt));
  if (salt.empty() || salt.size() > kScramSaltSizeMax) return;
  const std::string text = to_text(make_scram_secret(password, salt, static_cast<uint32_t>(iterations)));
  must(text == postgres::scram_secret(prepared(password), salt, iterations));
  must(parse_secret(text).kind == SecretKind::kScram);
}

std::string recased(std::string text) {
  for (char& c : text) {
    if ((c | 32) >= 'a' && (c | 32) <= 'z') c = static_cast<char>(c ^ 32);
  }
  return text;
}

std::string in_form(const std::string& text, int options) {
  utf8proc_uint8_t* out = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(options));
  std::string result = size < 0 ? text : std::string(reinterpret_cast<char*>(out), static_cast<size_t>(size));
  std::free(out);
  return result;
}

// What is nearly the same: a bit changed, cut, another case, longer, another normal form.
std::vector<std::string> neighbours(const std::string& text, size_t place) {
  std::vector<std::string> out{text,
                               text.substr(0, text.size() - 1),
                               text.substr(1),
                               text.substr(0, text.size() / 2),
                               recased(text),
                               text + "x",
                               text + " ",
                               text + text.back(),
                               text + text,
                               text + "\xc2\xad",
                               flipped(text, 0),
                               flipped(text, text.size() - 1),
                               flipped(text, place % text.size())};
  if (text.size() <= kSaslprepSizeMax) {  // as in saslprep: a row of marks takes quadratic time
    out.push_back(in_form(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    out.push_back(in_form(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
    out.push_back(in_form(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT));
    out.push_back(saslprep(text));
  }
  return out;
}

bool lets_in(Method method, std::string_view user, const Secret& secret, std::string_view claimed, bool as_answer) {
  const auto verifier = make_client_verifier(method, user, &secret, 1);
  const Step asked = verifier->start();
  must(asked.kind == Step::Kind::kSend);
  std::string body(claimed);
  if (method == Method::kMd5 && !as_answer) {
    must(asked.bytes.size() == 13);
    const std::string_view salt = std::string_view(asked.bytes).substr(9);
    body = postgres::md5(postgres::md5(claimed, user).substr(3), salt);
  }
  const bool in = feed_through(*verifier, body + '\0').kind == Step::Kind::kOk;
  must(verifier->password() == (in && method == Method::kPlain ? claimed : ""));
  return in;
}

// Whether PostgreSQL would take one password for the other.
bool are_same(SecretKind kind, std::string_view a, std::string_view b) {
  return kind == SecretKind::kScram ? prepared(a) == prepared(b) : a == b;
}

// With `other` and a neighbour of the password, or with all of these.
void fuzz_login(SecretKind kind, std::string_view user, const std::string& password, const std::string& other,
                bool all) {
  if (!is_password(password) || user.find('\0') != std::string_view::npos) return;
  Secret secret;
  if (kind == SecretKind::kPlain) {
    secret.kind = kind;  // whatever it looks like
    secret.text = password;
  } else {
    const bool md5 = kind == SecretKind::kMd5;
    secret =
        parse_secret(md5 ? postgres::md5(password, user) : postgres::scram_secret(prepared(password), "salt", 1));
    must(secret.kind == kind);
  }
  std::vector<std::string> claims = neighbours(password, other.size());
  if (!all) claims = {claims[other.size() % claims.size()], password};
  claims.push_back(other);
  for (const std::string& claim : claims) {
    const bool right = is_password(claim) && are_same(kind, claim, password);
    must(lets_in(Method::kPlain, user, secret, claim, false) == right);
    if (kind == SecretKind::kScram) {  // with the key that the right password has left in the cache
      must(lets_in(Method::kPlain, user, secret, password, false));
      must(lets_in(Method::kPlain, user, secret, claim, false) == right);
    } else if (claim.find('\0') == std::string::npos) {
      must(lets_in(Method::kMd5, user, secret, claim, false) == (claim == password));
      must(!lets_in(Method::kMd5, user, secret, claim, true));
    }
  }
  if (kind == SecretKind::kScram) return;
  // None of the neighbours of a right answer will do.
  for (size_t i = 0, count = 1; i < (all ? count : 1); ++i) {
    const auto verifier = make_client_verifier(Method::kMd5, user, &secret, 1);
    const std::string salt = verifier->start().bytes.substr(9);
    const std::string answer = postgres::md5(postgres::md5(password, user).substr(3), salt);
    const std::vector<std::string> answers = neighbours(answer, other.size());
    count = answers.size();
    const bool in = feed_through(*verifier, answers[i] + '\0').kind == Step::Kind::kOk;
    must(in == (answers[i] == answer));
  }
}

void fuzz(FuzzInput input) {
  begin_input();
  const uint8_t choice = input.byte(), variant = choice / 4;
  const auto text = [&] {
    const std::string_view bytes = input.message();
    return variant & 1 ? text_of(bytes) : std::string(bytes);
  };
  switch (choice % 4) {
    case 0: {
      if (variant < 32) return fuzz_stored(input.message());
      const std::string_view user = input.message(), salt = input.message();
      return fuzz_made(text(), user, salt, 1 + (variant >> 1 & 3));
    }
    case 1: return fuzz_base64(input.message());
    case 2: return fuzz_saslprep(text());
    case 3: {
      constexpr SecretKind kKinds[] = {SecretKind::kPlain, SecretKind::kMd5, SecretKind::kScram, SecretKind::kScram};
      const std::string_view user = input.message();
      const std::string password = text();
      return fuzz_login(kKinds[variant >> 1 & 3], user, password, text(), variant >= 32);
    }
  }
}

}  // namespace
}  // namespace berth::auth

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::auth::fuzz(berth::auth::FuzzInput(data, size));
  return 0;
}
