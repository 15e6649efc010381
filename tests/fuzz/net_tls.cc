// Fuzzes the TLS machine. Two sessions talk over a line that the input holds: it says how many bytes arrive, what is
// changed, put in or taken out on the way, and who writes or ends. Whatever happens: nothing breaks, nobody reads a
// byte that the other has not written, a session that has failed says why, once, and neither reads nor writes any
// more. With a line that changes nothing, all arrives.
#include <algorithm>
#include <cstdint>

#include "base/assert.h"
#include "unit/tls_support.h"

namespace berth::net {

using State = TlsSession::State;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  bool left() const { return !rest_.empty(); }
  size_t byte() {
    if (rest_.empty()) return 0;
    const auto value = static_cast<unsigned char>(rest_[0]);
    rest_.remove_prefix(1);
    return value;
  }
  std::string_view text(size_t size) {
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(out.size());
    return out;
  }

 private:
  std::string_view rest_;
};

struct End {
  std::unique_ptr<TlsSession> session;
  std::string to_come, got, wrote;
  bool failed = false, wants_to_end = false;

  void hear(End& other, size_t size) {
    const std::string cipher = to_come.substr(0, size);
    to_come.erase(0, cipher.size());
    std::string out;
    const size_t before = got.size();
    const TlsSession::Fed fed = feed(*session, cipher, got, out);
    ASSERT(fed.plain == got.size() - before);
    ASSERT(fed.plain == 0 || session->established() || session->state() == State::kFailed);
    ASSERT(!failed || (fed.error.empty() && fed.plain == 0 && out.empty()));
    ASSERT(failed || fed.error.empty() == (session->state() != State::kFailed));
    failed = session->state() == State::kFailed;
    ASSERT(std::string_view(other.wrote).substr(0, got.size()) == got);
    other.to_come += out;
  }
  void write(End& other, std::string_view text) {
    if (!session->established() || wants_to_end) return;
    wrote += text;  // before anything can arrive
    std::string out;
    const iovec span{const_cast<char*>(text.data()), text.size()};
    if (!session->encrypt({&span, 1}, out)) {
      ASSERT(session->state() == State::kFailed);
      failed = true;
    }
    other.to_come += out;
  }
  void end(End& other) {
    if (!session->established() || wants_to_end) return;
    wants_to_end = true;
    session->close_notify(other.to_come);
  }
};

static void try_input(Input input) {
  static const Ctx servers[] = {server_context(TLS1_2_VERSION), server_context(TLS1_3_VERSION)};
  static const Ctx clients[] = {client_context(TLS1_2_VERSION), client_context(TLS1_3_VERSION)};
  const size_t kind = input.byte();
  End a{TlsSession::accepting(servers[kind & 1].get(), (kind & 2) != 0), {}, {}, {}, false, false};
  End b{TlsSession::connecting(clients[(kind >> 2) & 1].get()), {}, {}, {}, false, false};
  bool changed = (kind & 2) != 0 || (kind & 1) != ((kind >> 2) & 1);  // ... or refused: no ALPN, another version
  b.hear(a, 0);
  if ((kind & 8) != 0) {  // what follows comes to an open session
    for (int i = 0; i < 8; ++i) {
      a.hear(b, a.to_come.size());
      b.hear(a, b.to_come.size());
    }
  }
  while (input.left()) {
    const size_t what = input.byte();
    End& one = what & 1 ? a : b;
    End& other = what & 1 ? b : a;
    switch (what / 2 % 8) {
      case 0:
      case 1: one.hear(other, one.to_come.size()); break;
      case 2: one.hear(other, 1 + input.byte()); break;
      case 3: one.write(other, input.text(input.byte())); break;
      case 4:
        if (input.byte() == 0) one.end(other);
        break;
      case 5: {  // a byte is changed
        const size_t at = input.byte() << 8 | input.byte();
        const char by = static_cast<char>(input.byte());
        if (at < one.to_come.size()) one.to_come[at] ^= by;
        changed = true;
        break;
      }
      case 6: {  // bytes come that nobody has sent
        const size_t at = input.byte() << 8 | input.byte();
        one.to_come.insert(std::min(at, one.to_come.size()), input.text(input.byte()));
        changed = true;
        break;
      }
      default: {  // bytes are lost
        const size_t at = std::min<size_t>(input.byte(), one.to_come.size());
        one.to_come.erase(at, 1 + input.byte());
        changed = true;
      }
    }
  }
  for (int i = 0; i < 20 && !(a.to_come.empty() && b.to_come.empty()); ++i) {
    a.hear(b, a.to_come.size());
    b.hear(a, b.to_come.size());
  }
  if (changed) return;
  ASSERT(a.session->established() && b.session->established() && a.wrote == b.got && b.wrote == a.got);
}

}  // namespace berth::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::net::try_input({data, size});
  return 0;
}
