// Fuzzes addresses: what is written for one is understood as the system's own functions do, and what is shown of it
// is the same address. (Answers of DNS are read by getaddrinfo, and no code of ours sees them.)
#include <arpa/inet.h>

#include <cstdint>
#include <string>

#include "base/assert.h"
#include "net/address.h"

namespace berth::net {

static void try_ip(const std::string& text, int port) {
  const Result<Address> read = parse_ip(text, port);
  unsigned char bytes[16];
  const bool whole = text.find('\0') == std::string::npos;
  const bool v4 = whole && inet_pton(AF_INET, text.c_str(), bytes) == 1;
  const bool v6 = !v4 && whole && inet_pton(AF_INET6, text.c_str(), bytes) == 1;
  ASSERT(read.ok() == (v4 || v6));
  if (!read.ok()) return;
  const Address& address = read.value();
  ASSERT(address.valid() && !address.is_unix() && address.port() == port);
  const ShortAddress kept = shorten(address);
  ASSERT(kept.kind == (v4 ? ShortAddress::Kind::kIpv4 : ShortAddress::Kind::kIpv6) && kept.port == port);
  ASSERT(std::equal(bytes, bytes + (v4 ? 4 : 16), kept.bytes.begin()));
  ASSERT(kept.host() == address.host());
  const Result<Address> again = parse_ip(address.host(), port);
  ASSERT(again.ok() && again.value().text() == address.text());
}

static void try_unix(const std::string& directory, int port) {
  const Result<Address> made = unix_address(directory, port);
  const std::string path = directory + "/.s.PGSQL." + std::to_string(port);
  ASSERT(made.ok() == (path.size() <= 107 && path.find('\0') == std::string::npos));
  if (!made.ok()) return;
  const Address& address = made.value();
  ASSERT(address.is_unix() && address.size <= sizeof(sockaddr_storage) && address.host() == "unix");
  ASSERT(address.text() == "unix:" + path);
  ASSERT(shown_port(address) == port && shorten(address).kind == ShortAddress::Kind::kUnix);
}

}  // namespace berth::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const int port = data[0] << 8 | data[1];
  const std::string text(reinterpret_cast<const char*>(data) + 2, size - 2);
  berth::net::try_ip(text, port);
  berth::net::try_unix(text, port);
  return 0;
}
