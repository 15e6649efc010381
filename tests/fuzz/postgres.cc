// See postgres.h. The front end's variant: it takes memory by malloc, and reports by a return value.
#include "fuzz/postgres.h"

#include <cstdlib>
#include <memory>

extern "C" {
#include <postgres_fe.h>
// PostgreSQL's headers need the one above first.
#include <common/base64.h>
#include <common/hmac.h>
#include <common/md5.h>
#include <common/saslprep.h>
#include <common/scram-common.h>
}

namespace berth::postgres {
namespace {

void need(bool done) {
  if (!done) std::abort();
}

struct Free {
  void operator()(char* text) const { std::free(text); }
};
using Text = std::unique_ptr<char, Free>;

uint8* bytes_of(std::string& out) {
  return reinterpret_cast<uint8*>(out.data());
}
const uint8* bytes_of(std::string_view bytes) {
  return reinterpret_cast<const uint8*>(bytes.data());
}
int size_of(std::string_view bytes) {
  return static_cast<int>(bytes.size());
}

}  // namespace

std::string saslprep(std::string_view password) {
  const std::string text(password);
  char* prepared = nullptr;
  const pg_saslprep_rc done = pg_saslprep(text.c_str(), &prepared);
  const Text owner(prepared);
  need(done != SASLPREP_OOM);
  return done == SASLPREP_SUCCESS ? std::string(prepared) : text;
}

std::string base64_encode(std::string_view bytes) {
  std::string out(static_cast<size_t>(pg_b64_enc_len(size_of(bytes))), '\0');
  const int size = pg_b64_encode(bytes.data(), size_of(bytes), out.data(), size_of(out));
  need(size >= 0);
  out.resize(static_cast<size_t>(size));
  return out;
}

bool base64_decode(std::string_view text, std::string& out) {
  out.assign(static_cast<size_t>(pg_b64_dec_len(size_of(text))) + 1, '\0');
  const int size = pg_b64_decode(text.data(), size_of(text), out.data(), size_of(out));
  out.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return size >= 0;
}

bool base64_decode_strict(std::string_view text, std::string& out) {
  if (base64_decode(text, out) && base64_encode(out) == text) return true;
  out.clear();
  return false;
}

std::string md5(std::string_view first, std::string_view second) {
  const std::string text(first);
  const char* error = nullptr;
  char out[MD5_PASSWD_LEN + 1];
  need(pg_md5_encrypt(text.c_str(), second.data(), second.size(), out, &error));
  return out;
}

std::string sha256(std::string_view bytes) {
  std::string out(SCRAM_KEY_LEN, '\0');
  const char* error = nullptr;
  need(scram_H(bytes_of(bytes), size_of(bytes), bytes_of(out), &error) == 0);
  return out;
}

std::string hmac_sha256(std::string_view key, std::string_view text) {
  std::string out(SCRAM_KEY_LEN, '\0');
  pg_hmac_ctx* const context = pg_hmac_create(PG_SHA256);
  need(context && pg_hmac_init(context, bytes_of(key), key.size()) == 0);
  need(pg_hmac_update(context, bytes_of(text), text.size()) == 0);
  need(pg_hmac_final(context, bytes_of(out), out.size()) == 0);
  pg_hmac_free(context);
  return out;
}

ScramKeys scram_keys(std::string_view prepared, std::string_view salt, int iterations) {
  const std::string text(prepared);
  const char* error = nullptr;
  uint8 salted[SCRAM_KEY_LEN];
  ScramKeys keys{std::string(SCRAM_KEY_LEN, '\0'), {}, std::string(SCRAM_KEY_LEN, '\0')};
  need(scram_SaltedPassword(text.c_str(), salt.data(), size_of(salt), iterations, salted, &error) == 0);
  need(scram_ClientKey(salted, bytes_of(keys.client), &error) == 0);
  need(scram_ServerKey(salted, bytes_of(keys.server), &error) == 0);
  keys.stored = sha256(keys.client);
  return keys;
}

std::string scram_secret(std::string_view prepared, std::string_view salt, int iterations) {
  const std::string text(prepared);
  const char* error = nullptr;
  const Text secret(scram_build_secret(salt.data(), size_of(salt), iterations, text.c_str(), &error));
  need(secret != nullptr);
  return secret.get();
}

}  // namespace berth::postgres
