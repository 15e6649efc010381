// What OpenSSL by itself takes for the accepting side of a TLS 1.3 handshake: in memory, so without the kernel and
// with warm caches. It is the floor of a broker's logins over TLS on this machine.
//
//   tls_floor CERTIFICATE KEY
//
// Prints a line for each kind: its name, a tab, microseconds (the median of kTimes).
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace {

constexpr int kTimes = 1000;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "tls_floor: %s\n", what);
  std::exit(1);
}

// The time of what is run in it, added up.
struct Watch {
  double microseconds = 0;
  void run(const std::function<void()>& what) {
    const auto before = std::chrono::steady_clock::now();
    what();
    microseconds += std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - before).count();
  }
};

SSL_SESSION* session = nullptr;

int keep(SSL*, SSL_SESSION* made) {
  if (session) SSL_SESSION_free(session);
  session = made;
  return 1;
}

struct Kind {
  const char* name;
  const char* suites;
  bool resumes;
};

// One connection of each side, which ask and answer once; returns what the accepting side took.
double handshake(SSL_CTX* server, SSL_CTX* client, bool resumes) {
  Watch watch;
  BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
  BIO_up_ref(to_server);
  BIO_up_ref(to_client);
  SSL *ours = nullptr, *theirs = SSL_new(client);
  watch.run([&] {
    ours = SSL_new(server);
    SSL_set_bio(ours, to_server, to_client);
    SSL_set_accept_state(ours);
  });
  SSL_set_bio(theirs, to_client, to_server);
  SSL_set_connect_state(theirs);
  if (resumes && session) SSL_set_session(theirs, session);
  for (int i = 0; i < 10 && !(SSL_is_init_finished(ours) && SSL_is_init_finished(theirs)); ++i) {
    SSL_do_handshake(theirs);
    watch.run([&] { SSL_do_handshake(ours); });
  }
  char byte = '?';
  SSL_write(theirs, &byte, 1);
  watch.run([&] {
    if (SSL_read(ours, &byte, 1) != 1 || SSL_write(ours, &byte, 1) != 1) fail("the handshake");
  });
  SSL_read(theirs, &byte, 1);
  SSL_set_shutdown(theirs, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_set_shutdown(ours, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(theirs);
  watch.run([&] { SSL_free(ours); });
  return watch.microseconds;
}

double median(std::vector<double>& samples) {
  std::nth_element(samples.begin(), samples.begin() + samples.size() / 2, samples.end());
  return samples[samples.size() / 2];
}

double measure(const Kind& kind, const char* certificate, const char* key) {
  SSL_CTX *server = SSL_CTX_new(TLS_server_method()), *client = SSL_CTX_new(TLS_client_method());
  if (SSL_CTX_use_certificate_file(server, certificate, SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(server, key, SSL_FILETYPE_PEM) != 1)
    fail("certificate or key");
  SSL_CTX_set_ciphersuites(server, kind.suites);
  SSL_CTX_set_num_tickets(server, 1);
  SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(server, reinterpret_cast<const unsigned char*>("bench"), 5);
  SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(client, keep);
  for (int i = 0; i < kTimes / 10; ++i) handshake(server, client, kind.resumes);
  std::vector<double> samples;
  for (int i = 0; i < kTimes; ++i) samples.push_back(handshake(server, client, kind.resumes));
  SSL_CTX_free(client);
  SSL_CTX_free(server);
  if (session) SSL_SESSION_free(session);
  session = nullptr;
  return median(samples);
}

// A key pair and an agreement with another: what every handshake with forward secrecy has to do.
double x25519() {
  EVP_PKEY_CTX* maker = EVP_PKEY_CTX_new_from_name(nullptr, "X25519", nullptr);
  EVP_PKEY* peer = nullptr;
  if (!maker || EVP_PKEY_keygen_init(maker) != 1 || EVP_PKEY_keygen(maker, &peer) != 1) fail("X25519");
  std::vector<double> samples;
  for (int i = 0; i < kTimes; ++i) {
    Watch watch;
    watch.run([&] {
      EVP_PKEY* own = nullptr;
      EVP_PKEY_keygen(maker, &own);
      EVP_PKEY_CTX* deriver = EVP_PKEY_CTX_new(own, nullptr);
      unsigned char secret[32];
      size_t size = sizeof secret;
      if (EVP_PKEY_derive_init(deriver) != 1 || EVP_PKEY_derive_set_peer(deriver, peer) != 1 ||
          EVP_PKEY_derive(deriver, secret, &size) != 1)
        fail("X25519");
      EVP_PKEY_CTX_free(deriver);
      EVP_PKEY_free(own);
    });
    samples.push_back(watch.microseconds);
  }
  EVP_PKEY_free(peer);
  EVP_PKEY_CTX_free(maker);
  return median(samples);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tls_floor CERTIFICATE KEY\n");
    return 2;
  }
  const Kind kinds[] = {{"whole, AES-256", "TLS_AES_256_GCM_SHA384", false},
                        {"whole, AES-128", "TLS_AES_128_GCM_SHA256", false},
                        {"resumed, AES-256", "TLS_AES_256_GCM_SHA384", true},
                        {"resumed, AES-128", "TLS_AES_128_GCM_SHA256", true}};
  for (const Kind& kind : kinds) std::printf("%s\t%.1f\n", kind.name, measure(kind, argv[1], argv[2]));
  std::printf("of it X25519\t%.1f\n", x25519());
  return 0;
}
