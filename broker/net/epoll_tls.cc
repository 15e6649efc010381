// The epoll engine's connections that speak TLS. What arrives is received into a buffer of its own, decrypted at once
// to where plain bytes would have been received, and goes on as those (epoll_read.cc); what is written is encrypted
// and goes on as what a plain connection writes (epoll_write.cc). Blocks, pauses, backpressure and ends know nothing
// of it.
//
//     cipher_in_ --TlsSession--> receive buffer or tail block --> on_bytes
//     write() --TlsSession--> cipher_out_ --> gather, send, chain of blocks
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/epoll_engine.h"

namespace berth::net {
namespace {

// A buffer for encrypted bytes that has grown beyond this is given back.
constexpr size_t kCipherOutKept = 256 * 1024;

// Behind all but the last byte of the longest message, too.
static_assert(BlockPool::kMessageMax + kTlsReceiveMin <= BlockPool::kMax);

}  // namespace

void Handler::on_handshake(std::string_view) {
  ASSERT(false);  // a handler that starts TLS waits for it
}

void Engine::start_tls(Conn*, std::unique_ptr<TlsSession>) {
  ASSERT(false);  // an engine without TLS is a test's, for what needs none
}

void EpollEngine::start_tls(Conn* handle, std::unique_ptr<TlsSession> tls) {
  EpollConn* conn = reinterpret_cast<EpollConn*>(handle);
  ASSERT(tls && !conn->tls && conn->state == ConnState::kOpen && !conn->paused);
  if (!cipher_in_) cipher_in_.reset(new char[kReceiveSize]);
  conn->tls = std::move(tls);
  conn->need = 0;
  const TlsSession::State state = conn->tls->state();
  if (state != TlsSession::State::kHandshake) {
    ASSERT(!conn->tail);
    if (state == TlsSession::State::kOpen) return;
    // It came to its end where it was before, and whoever has it now is to be told.
    conn->half_closed = 1;
    if (state == TlsSession::State::kFailed) conn->error = EPROTO;
    return post(conn, kWorkRead);
  }
  // This may be a call from within on_bytes: what it leaves is looked at afterwards, by shake().
  conn->resumed = 1;
  post(conn, kWorkRead);
}

const TlsSession* EpollEngine::tls(const Conn* conn) const {
  return reinterpret_cast<const EpollConn*>(conn)->tls.get();
}

// The first word of a handshake: a hello of ours, or what has come with the bytes before. All of the tail is TLS
// here.
void EpollEngine::shake(EpollConn* conn) {
  Block* tail = conn->tail;
  conn->tail = nullptr;
  const std::string_view cipher = tail ? tail->bytes() : std::string_view();
  ASSERT(cipher.size() <= kReceiveSize);  // it was left of bytes that were received at once
  decrypt(conn, cipher, 0, {receive_.get(), cipher.size() + TlsSession::kHeldMost});
  if (tail) blocks_.give(tail);
}

void EpollEngine::receive_tls(EpollConn* conn) {
  if (conn->tls->state() >= TlsSession::State::kEnded) return tell_eof(conn, conn->error);
  const size_t kept = conn->tail ? conn->tail->size() : 0;
  std::span<char> into;
  if (kept <= kTailCopyMax) {
    if (kept > 0) std::memcpy(receive_.get(), conn->tail->bytes().data(), kept);
    into = {receive_.get() + kept, kReceiveSize + TlsSession::kHeldMost - kept};
  } else {
    conn->tail->compact();
    if (conn->tail->room() < kTlsReceiveMin) make_room(conn, kTlsReceiveMin);
    into = {conn->tail->data() + conn->tail->end, conn->tail->room()};
  }
  const size_t room = std::min(into.size() - TlsSession::kHeldMost, kReceiveSize);
  ssize_t got = 0;
  do {
    got = syscall(SYS_recvfrom, conn->fd, cipher_in_.get(), room, MSG_DONTWAIT, nullptr, nullptr);  // as receive()
  } while (got < 0 && errno == EINTR);
  conn->readable = got == static_cast<ssize_t>(room);
  if (got <= 0) return received_nothing(conn, got);
  decrypt(conn, {cipher_in_.get(), static_cast<size_t>(got)}, kept, into);
}

// `plain` stands behind `kept` bytes, as for received().
void EpollEngine::decrypt(EpollConn* conn, std::string_view cipher, size_t kept, std::span<char> plain) {
  const bool shaking = conn->tls->state() == TlsSession::State::kHandshake;
  ASSERT(!shaking || kept == 0);
  const TlsSession::Fed fed = conn->tls->feed(cipher, plain, cipher_out_);
  put_cipher(conn);
  const TlsSession::State state = conn->tls->state();
  if (state >= TlsSession::State::kEnded) {
    // As a FIN: told behind the bytes before it (receive_tls), or at once where that does for a paused connection.
    conn->half_closed = 1;
    if (state == TlsSession::State::kFailed && conn->error == 0) conn->error = EPROTO;
  }
  if (shaking && state != TlsSession::State::kHandshake && !tell_handshake(conn, fed.error)) return;
  if (fed.plain > 0 && !conn->paused) return received(conn, kept, fed.plain);
  if (fed.plain > 0) {  // on_handshake has paused it
    make_room(conn, fed.plain);
    conn->tail->append({plain.data(), fed.plain});
  }
  if (conn->paused || !conn->wants_read()) return;
  conn->work |= kWorkRead;
  if (!conn->linked()) later_.push_back(conn);
}

// False: the connection is at its end.
bool EpollEngine::tell_handshake(EpollConn* conn, std::string_view error) {
  if (!error.empty()) conn->eof_told = 1;  // this is its end, and was told
  conn->handler->on_handshake(error);
  return error.empty() && conn->state == ConnState::kOpen;
}

// Sends what the session has said, as a plain connection would; while it does, it is one. Returns the bytes that are
// unsent.
size_t EpollEngine::put_cipher(EpollConn* conn) {
  if (cipher_out_.empty()) return conn->unsent;
  const iovec span{cipher_out_.data(), cipher_out_.size()};
  std::unique_ptr<TlsSession> session = std::move(conn->tls);
  const size_t unsent = write(reinterpret_cast<Conn*>(conn), {&span, 1});
  conn->tls = std::move(session);
  cipher_out_.clear();
  if (cipher_out_.capacity() > kCipherOutKept) cipher_out_.shrink_to_fit();
  return unsent;
}

size_t EpollEngine::encrypt(EpollConn* conn, std::span<const iovec> spans) {
  if (!conn->tls->established()) return 0;
  if (!conn->tls->encrypt(spans, cipher_out_)) {
    cipher_out_.clear();
    fail_output(conn, EPROTO);
    return 0;
  }
  return put_cipher(conn);
}

// The last words. The peer need not answer them.
void EpollEngine::say_goodbye(EpollConn* conn) {
  if (conn->state != ConnState::kOpen || conn->broken) return;
  conn->tls->close_notify(cipher_out_);
  put_cipher(conn);
}

}  // namespace berth::net
