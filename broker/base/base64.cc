// Strict base64. Its own few lines, because the decoders of the libraries at hand skip white space or unused bits.
#include "base/base64.h"

#include <array>
#include <cstdint>

namespace berth {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint32_t kNoDigit = 64;

constexpr std::array<uint8_t, 256> make_digits() {
  std::array<uint8_t, 256> digits{};
  for (uint8_t& digit : digits) digit = kNoDigit;
  for (size_t i = 0; i < kAlphabet.size(); ++i) digits[static_cast<uint8_t>(kAlphabet[i])] = static_cast<uint8_t>(i);
  return digits;
}
constexpr std::array<uint8_t, 256> kDigits = make_digits();

uint32_t byte_at(std::string_view bytes, size_t at) {
  return at < bytes.size() ? static_cast<uint8_t>(bytes[at]) : 0;
}

// How many '=' end the text: 0, 1 or 2.
size_t count_padding(std::string_view text) {
  if (text.ends_with("==")) return 2;
  return text.ends_with("=") ? 1 : 0;
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4, '=');
  char* to = out.data();
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const uint32_t group = byte_at(bytes, at) << 16 | byte_at(bytes, at + 1) << 8 | byte_at(bytes, at + 2);
    to[0] = kAlphabet[group >> 18];
    to[1] = kAlphabet[group >> 12 & 63];
    if (at + 1 < bytes.size()) to[2] = kAlphabet[group >> 6 & 63];
    if (at + 2 < bytes.size()) to[3] = kAlphabet[group & 63];
    to += 4;
  }
  return out;
}

std::optional<size_t> base64_size(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t padding = count_padding(text);
  uint32_t last = 0;
  for (const char character : text.substr(0, text.size() - padding)) {
    last = kDigits[static_cast<uint8_t>(character)];
    if (last == kNoDigit) return std::nullopt;
  }
  if ((last & ((1u << 2 * padding) - 1)) != 0) return std::nullopt;  // bits that are left over
  return text.size() / 4 * 3 - padding;
}

bool base64_decode(std::string_view text, std::string& out) {
  out.clear();
  if (text.size() % 4 != 0) return false;
  const size_t padding = count_padding(text);
  const std::string_view digits = text.substr(0, text.size() - padding);
  out.resize(text.size() / 4 * 3 - padding);
  char* to = out.data();
  uint32_t bits = 0;
  int count = 0;
  for (const char character : digits) {
    const uint32_t digit = kDigits[static_cast<uint8_t>(character)];
    if (digit == kNoDigit) {
      out.clear();
      return false;
    }
    bits = (bits << 6 | digit) & 0xffffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      *to++ = static_cast<char>(bits >> count);
    }
  }
  // With one '=' two bits are left over, with two '=' four: they must be zero.
  if ((bits & ((1u << count) - 1)) != 0) out.clear();
  return (bits & ((1u << count) - 1)) == 0;
}

}  // namespace berth
