// OpenSSL's memory. What it needs for a connection has the keys of that connection, and what was recorded of it could
// be read with them: so its memory is in no core dump (base/hidden_heap.h), but for pieces larger than kHiddenMost,
// which are buffers of records. Its decoders leave copies of a private key in what they free; while a WipeFreed
// lives, what this thread frees by OpenSSL is overwritten first. Not for longer than that: a TLS connection frees its
// buffers with every record, and queries shall not pay for it.
#pragma once

#include <string>

namespace berth::net {

// Puts functions of ours in OpenSSL's place for memory. Once, before OpenSSL has allocated anything and before there
// are threads. Gives what did not work, for the log; empty: nothing.
std::string watch_openssl_memory();

class WipeFreed {
 public:
  WipeFreed();
  ~WipeFreed();
  WipeFreed(const WipeFreed&) = delete;
  WipeFreed& operator=(const WipeFreed&) = delete;
};

}  // namespace berth::net
