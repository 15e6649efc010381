// See tls_tickets.h.
#include "net/tls_tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstring>
#include <map>

#include "base/random.h"
#include "base/secret_memory.h"

namespace berth::net {

namespace {

void wipe(TicketKeys::Key& key) {
  OPENSSL_cleanse(&key, sizeof key);
  key.born = -1;
}

// OpenSSL's callback: chooses the key and starts cipher and MAC. 0: no such key, a full handshake follows.
int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int seal) {
  auto* keys = static_cast<TicketKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  TicketKeys::Key key;
  bool renew = false;
  if (seal) {
    key = keys->sealing(monotonic_now());
    std::memcpy(name, key.name, sizeof key.name);
    fill_secure(iv, static_cast<size_t>(EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())));
  } else if (!keys->opening(name, monotonic_now(), key, renew)) {
    return 0;
  }
  char digest[] = "sha256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
                                   OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                   OSSL_PARAM_construct_end()};
  const bool started = EVP_MAC_CTX_set_params(mac, parameters) == 1 &&
                       EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher, iv, seal) == 1;
  wipe(key);
  if (!started) return -1;
  // A ticket of TLS 1.3 is used once: whoever has shown one gets the next.
  if (!seal && (renew || SSL_version(ssl) >= TLS1_3_VERSION)) return 2;
  return 1;
}

// A session proves its client by the certificate that stands in its ticket. Every use gives a new ticket, so a
// certificate that has expired would be as good as one that never does: the client has to show another.
SSL_TICKET_RETURN on_opened(SSL*, SSL_SESSION* session, const unsigned char*, size_t, SSL_TICKET_STATUS status,
                            void*) {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_IGNORE_RENEW;
  const X509* peer = SSL_SESSION_get0_peer(session);
  if (peer && X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

}  // namespace

std::shared_ptr<TicketKeys> TicketKeys::shared(const std::string& likeness) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<TicketKeys>> all;
  const std::lock_guard<std::mutex> guard(mutex);
  std::erase_if(all, [](const auto& one) { return one.second.expired(); });
  std::weak_ptr<TicketKeys>& at = all[likeness];
  std::shared_ptr<TicketKeys> keys = at.lock();
  if (!keys) at = keys = std::allocate_shared<TicketKeys>(SecretAllocator<TicketKeys>());
  return keys;
}

TicketKeys::~TicketKeys() {
  wipe(present_);
  wipe(past_);
}

// Under the lock.
void TicketKeys::turn(Micros now) {
  if (present_.born >= 0 && now - present_.born < kTicketKeyTime) return;
  // Nobody came for a whole time: the one before is too old as well.
  const bool both = present_.born < 0 || now - present_.born >= 2 * kTicketKeyTime;
  wipe(past_);
  if (!both) past_ = present_;
  fill_secure(present_.name, sizeof present_.name);
  fill_secure(present_.cipher, sizeof present_.cipher);
  fill_secure(present_.mac, sizeof present_.mac);
  present_.born = now;
}

TicketKeys::Key TicketKeys::sealing(Micros now) {
  const std::lock_guard<std::mutex> guard(mutex_);
  turn(now);
  return present_;
}

bool TicketKeys::opening(const unsigned char* name, Micros now, Key& out, bool& renew) {
  const std::lock_guard<std::mutex> guard(mutex_);
  turn(now);
  for (const Key* key : {&present_, &past_}) {
    if (key->born < 0 || std::memcmp(key->name, name, sizeof key->name) != 0) continue;
    out = *key;
    renew = key == &past_;
    return true;
  }
  return false;
}

void TicketKeys::install(SSL_CTX* ctx, TicketKeys* keys) {
  SSL_CTX_set_app_data(ctx, keys);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
  SSL_CTX_set_session_ticket_cb(ctx, nullptr, on_opened, nullptr);
}

}  // namespace berth::net
