// The keys by which a session ticket is sealed: all workers and all contexts of equal settings share them, so that a
// client that comes back resumes its session wherever it lands and also after a reload. A key seals for
// kTicketKeyTime and opens for as long again; then what was recorded can no longer be read by whoever takes the
// process's memory.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/time.h"

struct ssl_ctx_st;

namespace berth::net {

class TicketKeys {
 public:
  // The keys for everything that `likeness` describes (settings, roots, our certificate: a session that was opened
  // under others is not resumed). They live as long as somebody holds them.
  static std::shared_ptr<TicketKeys> shared(const std::string& likeness);

  struct Key {
    unsigned char name[16];
    unsigned char cipher[32];
    unsigned char mac[32];
    Micros born = -1;  // -1: there is none
  };
  // The key that seals now.
  Key sealing(Micros now);
  // The key of that name. False: forgotten, or never ours. `renew`: a new ticket should replace it.
  bool opening(const unsigned char* name, Micros now, Key& out, bool& renew);

  // Makes `ctx` use `keys`, which must live longer.
  static void install(ssl_ctx_st* ctx, TicketKeys* keys);

  TicketKeys() = default;
  ~TicketKeys();

 private:
  void turn(Micros now);

  std::mutex mutex_;  // for the time of a copy, at handshakes
  Key present_, past_;
};

inline constexpr Micros kTicketKeyTime = 2 * 3600 * kSecond;

}  // namespace berth::net
