// OpenSSL's memory. Its decoders leave copies of a private key in what they free; while a WipeFreed lives, what this
// thread frees by OpenSSL is overwritten first. Not for longer than that: a TLS connection frees its buffers with
// every record, and queries shall not pay for it.
#pragma once

namespace berth::net {

// Puts functions of ours in OpenSSL's place for memory; without it WipeFreed does nothing. Once, before OpenSSL has
// allocated anything: false if it is too late.
bool watch_openssl_memory();

class WipeFreed {
 public:
  WipeFreed();
  ~WipeFreed();
  WipeFreed(const WipeFreed&) = delete;
  WipeFreed& operator=(const WipeFreed&) = delete;
};

}  // namespace berth::net
