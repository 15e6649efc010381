// See tls_words.h.
#include "net/tls_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace berth::net {

namespace {

constexpr unsigned kSecure = kTls12 | kTls13;
constexpr unsigned kAll = kTls10 | kTls11 | kSecure;

struct Word {
  std::string_view text;
  unsigned versions;
};
constexpr Word kWords[] = {{"secure", kSecure}, {"default", kSecure}, {"all", kAll},
                           {"legacy", kAll},    {"tlsv1", kAll},      {"tlsv1.0", kTls10},
                           {"tlsv1.1", kTls11}, {"tlsv1.2", kTls12},  {"tlsv1.3", kTls13}};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(separators), text.size());
    if (end > 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

}  // namespace

Result<unsigned> parse_tls_protocols(std::string_view text) {
  unsigned versions = 0;
  for (const std::string& part : split(lower(text), ",: \t")) {
    const bool away = part[0] == '!';
    const std::string_view name = std::string_view(part).substr(away ? 1 : 0);
    const Word* word =
        std::find_if(std::begin(kWords), std::end(kWords), [&](const Word& w) { return w.text == name; });
    if (word == std::end(kWords)) {
      return Error{fmt::format("\"{}\" is not one of secure, all, legacy, tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3", part),
                   {}};
    }
    versions = away ? versions & ~word->versions : versions | word->versions;
  }
  if (versions == 0) return Error{fmt::format("\"{}\" leaves no TLS version", text), {}};
  return versions;
}

std::string tls_cipher_list(std::string_view text) {
  const std::string word = lower(text);
  for (const std::string_view own : {"", "default", "secure", "normal", "fast"}) {
    if (word == own) return {};
  }
  if (word == "all") return "ALL";
  return std::string(text);
}

std::string tls_groups(std::string_view text) {
  const std::string word = lower(text);
  if (word.empty() || word == "auto") return {};
  // No elliptic curve at all: the groups of RFC 7919, which TLS 1.3 knows as well.
  if (word == "none") return "ffdhe2048:ffdhe3072:ffdhe4096";
  std::string out;
  for (const std::string& name : split(text, ",: \t")) {
    if (!out.empty()) out += ':';
    out += name;
  }
  return out;
}

}  // namespace berth::net
