#include "session/address_key.h"

#include <algorithm>
#include <cstring>

#include "base/siphash.h"

namespace berth::session {

// ::ffff:10.0.0.1, as an IPv4 client looks on a socket for both: the IPv4 address that it is.
static bool is_mapped(const net::ShortAddress& address) {
  return std::all_of(address.bytes.begin(), address.bytes.begin() + 10,
                     [](unsigned char byte) { return byte == 0; }) &&
         address.bytes[10] == 0xff && address.bytes[11] == 0xff;
}

AddressKey key_of(const net::ShortAddress& address) {
  AddressKey key;
  if (address.kind == AddressKey::Kind::kIpv4 || (address.kind == AddressKey::Kind::kIpv6 && is_mapped(address))) {
    key.kind = AddressKey::Kind::kIpv4;
    std::memcpy(&key.prefix, address.bytes.data() + (address.kind == AddressKey::Kind::kIpv6 ? 12 : 0), 4);
  } else if (address.kind == AddressKey::Kind::kIpv6) {
    key.kind = AddressKey::Kind::kIpv6;
    std::memcpy(&key.prefix, address.bytes.data(), 8);
  }
  return key;
}

uint64_t hash_of(const AddressKey& key) {
  char input[9];
  std::memcpy(input, &key.prefix, 8);
  input[8] = static_cast<char>(key.kind);
  return siphash(process_key(), {input, sizeof input});
}

std::string AddressKey::text() const {
  if (!counts()) return {};
  net::ShortAddress address;
  address.kind = kind;
  std::memcpy(address.bytes.data(), &prefix, sizeof prefix);
  return kind == Kind::kIpv6 ? address.host() + "/64" : address.host();
}

}  // namespace berth::session
