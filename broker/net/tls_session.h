// The TLS machine of one connection, without a socket: bytes in, bytes out, over OpenSSL. It owns one SSL and no
// buffer: what it reads from and writes to is lent for each call, so a session may go from one worker to another
// between calls, and an idle one holds only what OpenSSL keeps of a record that has not arrived whole.
//
// Who has the other end decides nothing here: contexts (net/tls_context.h) say what is offered and what is demanded.
// One thread at a time.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

// OpenSSL's SSL, SSL_CTX, BIO and BIO_METHOD: its headers are large, and this one is read everywhere.
struct ssl_st;
struct ssl_ctx_st;
struct bio_st;
struct bio_method_st;

namespace berth::net {

// Whether that is why a session failed (Fed::error): the peer's certificate, or ours as the peer says.
bool tells_of_expiry(std::string_view error);

class TlsSession {
 public:
  // OpenSSL keeps at most one record that has not arrived whole: so many plain bytes may come on top of what is fed.
  static constexpr size_t kHeldMost = 18 * 1024;
  // Longer records would be cut in two by libpq's receive buffer, and an asynchronous client that waits for its
  // socket would not see the second half (failure class 49).
  static constexpr int kRecordMost = 8192;
  // For messages of TLS itself between two records of data (key updates, tickets, refused renegotiations): each takes
  // OpenSSL up to five steps, so these are some 24 of them. More is no peer of ours.
  static constexpr int kStepsMost = 120;

  enum class State : uint8_t {
    kHandshake,
    kOpen,
    kEnded,   // the peer has said close_notify
    kFailed,  // a bad record, a refused certificate, ...: nothing goes either way any more
  };

  // For the context of each side, once: what the callbacks and limits of sessions need.
  static void prepare_accepting(ssl_ctx_st* context);
  static void prepare_connecting(ssl_ctx_st* context);

  // The server's side of TLS, for clients. With `alpn_required` a ClientHello without ALPN is answered by an alert,
  // as PostgreSQL demands of direct TLS; one that names other protocols only is refused anyway. `owner`
  // is what must live as long as the session: whoever has what the context's callbacks use. Null: out of memory.
  static std::unique_ptr<TlsSession> accepting(ssl_ctx_st* context, bool alpn_required,
                                               std::shared_ptr<const void> owner = nullptr);
  // The client's side. Names and checks are set on ssl() before the first call.
  static std::unique_ptr<TlsSession> connecting(ssl_ctx_st* context, std::shared_ptr<const void> owner = nullptr);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  struct Fed {
    size_t plain = 0;   // bytes written to `plain`
    std::string error;  // of kFailed, once: why
  };
  // Takes all of `cipher`, which may end anywhere; with none, the side that connects says its ClientHello. `plain`
  // has room for cipher.size() + kHeldMost. What must be sent now, alerts included, is appended to `out` whatever the
  // outcome.
  Fed feed(std::string_view cipher, std::span<char> plain, std::string& out);
  // Only when open() (or ended). False: the session has failed.
  [[nodiscard]] bool encrypt(std::span<const iovec> plain, std::string& out);
  // Says that nothing follows, unless the handshake is not over or the session has failed. Once.
  void close_notify(std::string& out);

  State state() const { return state_; }
  bool established() const { return state_ == State::kOpen || state_ == State::kEnded; }

  // ---- once established
  std::string describe() const;  // as SHOW and the log have it: TLSv1.3/TLS_AES_128_GCM_SHA256
  bool resumed() const;
  std::string_view alpn() const;  // empty: none was agreed on
  // The channel binding tls-server-end-point (RFC 5929): the hash of the accepting side's certificate. Empty: its
  // signature names no hash (Ed25519), and there is no such binding.
  std::string end_point_hash() const;
  // Of the peer's certificate; empty without one. A name with a zero byte in it is no name.
  bool has_peer_certificate() const;  // that the context's roots have proved
  std::string peer_common_name() const;
  std::string peer_distinguished_name() const;  // as RFC 2253 writes it: CN=anna,O=Shop

  // For the accepting side: the peer has proved who it is. Up to now OpenSSL has overwritten what it decrypted, since
  // a password may be in it; queries do not pay for that. And the peer gets the ticket of TLS 1.3 by which it resumes
  // the session, in front of the next bytes: only who has logged in has one, and it costs no packet of its own.
  void peer_has_proved() const;

  ssl_st* ssl() { return ssl_; }

 private:
  struct Call;  // what is lent for one call
  explicit TlsSession(ssl_st* ssl) : ssl_(ssl) {}
  static std::unique_ptr<TlsSession> make(ssl_ctx_st* context, std::shared_ptr<const void> owner);
  static TlsSession* of(const ssl_st* ssl);

  bool shake();
  void put_ticket();
  size_t read(std::span<char> plain);
  void fail(std::string* error);

  // OpenSSL's callbacks.
  static int bio_read(bio_st* bio, char* into, size_t size, size_t* got);
  static int bio_write(bio_st* bio, const char* bytes, size_t size, size_t* sent);
  static long bio_control(bio_st* bio, int command, long number, void* pointer);
  static const bio_method_st* bio_method();
  static void on_info(const ssl_st* ssl, int where, int value);
  static int on_client_hello(ssl_st* ssl, int* alert, void*);
  static int on_alpn(ssl_st* ssl, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                     unsigned int offered_size, void*);

  ssl_st* ssl_;
  std::shared_ptr<const void> owner_;
  Call* call_ = nullptr;  // during a call
  State state_ = State::kHandshake;
  bool accepts_ = false;
  bool alpn_required_ = false;
  bool said_goodbye_ = false;
  mutable bool ticket_due_ = false;  // peer_has_proved() changes nothing else, and who calls it only looks
  uint8_t steps_ = 0;                // of OpenSSL's machine, since the last record of data
};

}  // namespace berth::net
