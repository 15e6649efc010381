// Whom an address counts for: an IPv4 address for itself, an IPv6 address for its network of 64 bits, since whoever
// has one address of it has all of them. A Unix socket counts for nobody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "net/address.h"

namespace berth::session {

struct AddressKey {
  using Kind = net::ShortAddress::Kind;
  uint64_t prefix = 0;  // in network order: of IPv4 the address, of IPv6 the first 64 bits
  Kind kind = Kind::kNone;

  bool counts() const { return kind == Kind::kIpv4 || kind == Kind::kIpv6; }
  bool operator==(const AddressKey&) const = default;
  std::string text() const;  // "10.0.0.1", "2001:db8::/64"; empty for nobody
};

AddressKey key_of(const net::ShortAddress& address);
uint64_t hash_of(const AddressKey& key);  // with the process's key: nobody outside can choose who collides

}  // namespace berth::session
