// See tls_session.h. OpenSSL reads and writes through a BIO of ours: it reads what is lent and then says "later", and
// what it writes is appended, so it never waits for room.
#include "net/tls_session.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/fault.h"
#include "net/tls_context.h"

namespace berth::net {

static_assert(TlsSession::kHeldMost >= SSL3_RT_MAX_PACKET_SIZE);

struct TlsSession::Call {
  std::string_view in;
  std::string* out = nullptr;
};

// SSL_get_error looks at this thread's queue of errors, which must have been empty before. It mostly is, and to look
// costs a tenth of clearing it.
static void forget_errors() {
  if (ERR_peek_error() != 0) ERR_clear_error();
}

// ---- The BIO ----

int TlsSession::bio_read(BIO* bio, char* into, size_t size, size_t* got) {
  Call* call = static_cast<TlsSession*>(BIO_get_data(bio))->call_;
  BIO_clear_retry_flags(bio);
  if (!call || call->in.empty()) {
    BIO_set_retry_read(bio);
    *got = 0;
    return 0;
  }
  *got = std::min(size, call->in.size());
  std::memcpy(into, call->in.data(), *got);
  call->in.remove_prefix(*got);
  return 1;
}

int TlsSession::bio_write(BIO* bio, const char* bytes, size_t size, size_t* sent) {
  Call* call = static_cast<TlsSession*>(BIO_get_data(bio))->call_;
  BIO_clear_retry_flags(bio);
  ASSERT(call && call->out);
  call->out->append(bytes, size);
  *sent = size;
  return 1;
}

long TlsSession::bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* TlsSession::bio_method() {
  // Never freed: sessions of other threads may end after any destructor of ours.
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pgberth");
    ASSERT(made);
    BIO_meth_set_read_ex(made, &TlsSession::bio_read);
    BIO_meth_set_write_ex(made, &TlsSession::bio_write);
    BIO_meth_set_ctrl(made, &TlsSession::bio_control);
    return made;
  }();
  return method;
}

TlsSession* TlsSession::of(const SSL* ssl) {
  // In place of ex_data, which would be one more allocation per connection.
  return static_cast<TlsSession*>(BIO_get_data(SSL_get_rbio(ssl)));
}

// ---- Contexts ----

static void prepare_both(SSL_CTX* context) {
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ASSERT(SSL_CTX_set_max_send_fragment(context, TlsSession::kRecordMost) == 1);
}

void TlsSession::prepare_accepting(SSL_CTX* context) {
  prepare_both(context);
  SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);                // until peer_has_proved(),
  SSL_CTX_set_num_tickets(context, FAULT(ticket_before_proof) ? 1 : 0);  // and none before it
  // Data that a resumed handshake carries early can be replayed by whoever has seen it.
  SSL_CTX_set_max_early_data(context, 0);
  SSL_CTX_set_recv_max_early_data(context, 0);
  SSL_CTX_set_client_hello_cb(context, &TlsSession::on_client_hello, nullptr);
  SSL_CTX_set_alpn_select_cb(context, &TlsSession::on_alpn, nullptr);
}

void TlsSession::prepare_connecting(SSL_CTX* context) {
  prepare_both(context);
  std::string protocol(1, static_cast<char>(kTlsProtocol.size()));
  protocol += kTlsProtocol;
  // 0 is success here, alone among its siblings.
  ASSERT(SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(protocol.data()),
                                 static_cast<unsigned int>(protocol.size())) == 0);
}

void TlsSession::peer_has_proved() const {
  SSL_clear_options(ssl_, SSL_OP_CLEANSE_PLAINTEXT);
  ticket_due_ = SSL_version(ssl_) >= TLS1_3_VERSION;  // in older versions the handshake brings it
}

// In front of what is written next. OpenSSL takes itself to be in a handshake meanwhile, and takes a buffer for
// reading that it gives back only when it is read from: there is nothing to read, or the session is not in order.
void TlsSession::put_ticket() {
  // An answer that is owed to a key update would go in place of the ticket: it goes with the data, the ticket the
  // next time.
  if (SSL_get_key_update_type(ssl_) != SSL_KEY_UPDATE_NONE) return;
  ticket_due_ = false;
  forget_errors();
  char nothing = 0;
  size_t got = 0;
  if (SSL_new_session_ticket(ssl_) != 1 || SSL_do_handshake(ssl_) != 1) return ERR_clear_error();
  if (SSL_read_ex(ssl_, &nothing, 1, &got) == 1) fail(nullptr);
  forget_errors();
}

int TlsSession::on_client_hello(SSL* ssl, int* alert, void*) {
  const unsigned char* extension = nullptr;
  size_t size = 0;
  if (of(ssl)->alpn_required_ &&
      SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension, &size) != 1) {
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
  }
  return SSL_CLIENT_HELLO_SUCCESS;
}

// Called only if the client names protocols. OpenSSL has checked the list's form.
int TlsSession::on_alpn(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                        unsigned int offered_size, void*) {
  for (unsigned int at = 0; at < offered_size; at += 1u + offered[at]) {
    if (offered[at] != kTlsProtocol.size() ||
        std::memcmp(offered + at + 1, kTlsProtocol.data(), kTlsProtocol.size()) != 0)
      continue;
    *out = offered + at + 1;
    *size = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// ---- Life ----

std::unique_ptr<TlsSession> TlsSession::make(SSL_CTX* context, std::shared_ptr<const void> owner) {
  SSL* ssl = SSL_new(context);
  if (!ssl) return nullptr;
  std::unique_ptr<TlsSession> session(new TlsSession(ssl));
  session->owner_ = std::move(owner);
  BIO* bio = BIO_new(bio_method());
  if (!bio) return nullptr;
  BIO_set_data(bio, session.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_info_callback(ssl, &TlsSession::on_info);
  return session;
}

std::unique_ptr<TlsSession> TlsSession::accepting(SSL_CTX* context, bool alpn_required,
                                                  std::shared_ptr<const void> owner) {
  std::unique_ptr<TlsSession> session = make(context, std::move(owner));
  if (!session) return nullptr;
  session->accepts_ = true;
  session->alpn_required_ = alpn_required;
  SSL_set_accept_state(session->ssl_);
  return session;
}

std::unique_ptr<TlsSession> TlsSession::connecting(SSL_CTX* context, std::shared_ptr<const void> owner) {
  std::unique_ptr<TlsSession> session = make(context, std::move(owner));
  if (session) SSL_set_connect_state(session->ssl_);
  return session;
}

TlsSession::~TlsSession() {
  ASSERT(!call_);
  // Without a close_notify OpenSSL takes the session for broken and would forget it: it could not be resumed.
  if (established()) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(ssl_);
}

// ---- Bytes ----

TlsSession::Fed TlsSession::feed(std::string_view cipher, std::span<char> plain, std::string& out) {
  ASSERT(!call_ && (cipher.empty() || plain.size() >= cipher.size() + kHeldMost));
  Fed fed;
  if (state_ == State::kEnded || state_ == State::kFailed) return fed;  // what comes now means nothing
  Call call{cipher, &out};
  call_ = &call;
  if (state_ == State::kOpen || shake()) fed.plain = read(plain);
  if (state_ == State::kFailed) fail(&fed.error);
  call_ = nullptr;
  return fed;
}

// True: the handshake is over. False: it wants more bytes, or has failed.
bool TlsSession::shake() {
  forget_errors();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    state_ = State::kOpen;
    steps_ = 0;
    return true;
  }
  if (SSL_get_error(ssl_, result) != SSL_ERROR_WANT_READ) state_ = State::kFailed;
  return false;
}

size_t TlsSession::read(std::span<char> plain) {
  size_t total = 0;
  while (total < plain.size()) {
    forget_errors();
    size_t got = 0;
    const int result = SSL_read_ex(ssl_, plain.data() + total, plain.size() - total, &got);
    if (result == 1) {
      total += got;
      steps_ = 0;
      // The usual end: whole records have come. To ask once more would take OpenSSL a buffer, only to find nothing.
      if (call_->in.empty() && SSL_has_pending(ssl_) == 0) return total;
      continue;
    }
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_ZERO_RETURN) {
      state_ = State::kEnded;
    } else if (error != SSL_ERROR_WANT_READ || steps_ > kStepsMost) {
      state_ = State::kFailed;
    }
    return total;
  }
  ASSERT(call_->in.empty());  // the caller's room was as much as could come
  return total;
}

bool TlsSession::encrypt(std::span<const iovec> plain, std::string& out) {
  ASSERT(!call_);
  if (!established()) return false;
  Call call{{}, &out};
  call_ = &call;
  std::array<char, kRecordMost>
      gathered;  // what is less than a record; many small pieces shall not be as many records
  size_t held = 0;
  const auto put = [this](const char* bytes, size_t size) {
    forget_errors();
    size_t written = 0;
    while (size > 0 && SSL_write_ex(ssl_, bytes, size, &written) == 1) {
      bytes += written;
      size -= written;
    }
    if (size > 0) fail(nullptr);
    return size == 0;
  };
  if (ticket_due_) [[unlikely]]
    put_ticket();
  bool good = state_ != State::kFailed;
  for (const iovec& span : plain) {
    const char* bytes = static_cast<const char*>(span.iov_base);
    size_t left = span.iov_len;
    while (good && left > 0) {
      if (held == 0 && (left >= gathered.size() || plain.size() == 1)) {
        const size_t whole = plain.size() == 1 ? left : left - left % gathered.size();
        good = put(bytes, whole);
        bytes += whole;
        left -= whole;
        continue;
      }
      const size_t some = std::min(left, gathered.size() - held);
      std::memcpy(gathered.data() + held, bytes, some);
      held += some;
      bytes += some;
      left -= some;
      if (held == gathered.size()) {
        good = put(gathered.data(), held);
        held = 0;
      }
    }
  }
  if (good && held > 0) good = put(gathered.data(), held);
  call_ = nullptr;
  return good;
}

void TlsSession::close_notify(std::string& out) {
  ASSERT(!call_);
  if (!established() || said_goodbye_) return;
  said_goodbye_ = true;
  Call call{{}, &out};
  call_ = &call;
  forget_errors();
  SSL_shutdown(ssl_);
  call_ = nullptr;
}

// Why it failed, in OpenSSL's words, and of a refused certificate what is wrong with it.
void TlsSession::fail(std::string* error) {
  state_ = State::kFailed;
  if (!error) return;
  const unsigned long code = ERR_peek_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  if (steps_ > kStepsMost) {
    *error = "too many messages of the TLS protocol without data";
  } else if (ERR_GET_REASON(code) == SSL_R_CALLBACK_FAILED && alpn_required_) {
    *error = "no application protocol is named (ALPN)";  // on_client_hello
  } else if (reason) {
    *error = reason;
    const long verdict = SSL_get_verify_result(ssl_);
    if (ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verdict != X509_V_OK) {
      *error += std::string(": ") + X509_verify_cert_error_string(verdict);
    }
  } else {
    *error = "unknown TLS error";
  }
}

bool tells_of_expiry(std::string_view error) {
  return error.find("certificate has expired") != std::string_view::npos ||  // our verdict
         error.find("alert certificate expired") != std::string_view::npos;
}

// Called for every step of a handshake, for what is said between two records of data, and never for data.
void TlsSession::on_info(const SSL* ssl, int, int) {
  TlsSession* session = of(ssl);
  if (session->state_ != State::kOpen) return;
  if (session->steps_ <= kStepsMost) ++session->steps_;
}

// ---- What was agreed on ----

std::string TlsSession::describe() const {
  return std::string(SSL_get_version(ssl_)) + "/" + SSL_get_cipher_name(ssl_);
}

bool TlsSession::resumed() const {
  return SSL_session_reused(ssl_) == 1;
}

std::string_view TlsSession::alpn() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string TlsSession::end_point_hash() const {
  return binding_of(accepts_ ? SSL_get_certificate(ssl_) : SSL_get0_peer_certificate(ssl_));
}

bool TlsSession::has_peer_certificate() const {
  return SSL_get0_peer_certificate(ssl_) && (SSL_get_verify_mode(ssl_) & SSL_VERIFY_PEER) &&
         SSL_get_verify_result(ssl_) == X509_V_OK;
}

std::string TlsSession::peer_common_name() const {
  const X509* certificate = SSL_get0_peer_certificate(ssl_);
  const X509_NAME* subject = certificate ? X509_get_subject_name(certificate) : nullptr;
  const int place = subject ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
  if (place < 0) return {};
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
  OPENSSL_free(text);
  if (name.find('\0') != std::string::npos) return {};
  return name;
}

std::string TlsSession::peer_distinguished_name() const {
  const X509* certificate = SSL_get0_peer_certificate(ssl_);
  BIO* text = certificate ? BIO_new(BIO_s_mem()) : nullptr;
  if (!text) return {};
  std::string name;
  // As PostgreSQL writes it: of a character beyond ASCII, the bytes of UTF-8 as \C3\BC.
  if (X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(text, &bytes);
    if (size > 0) name.assign(bytes, static_cast<size_t>(size));
  }
  BIO_free(text);
  if (name.find('\0') != std::string::npos) return {};
  return name;
}

}  // namespace berth::net
