// SASLprep with the tables of GNU libidn and the NFKC of utf8proc, in the order of PostgreSQL's pg_saslprep
// (src/common/saslprep.c). libidn's own saslprep is not used, because it differs where it matters for PostgreSQL's
// passwords: it looks for prohibited characters after normalization (PostgreSQL before), lets characters pass that
// Unicode 3.2 did not know, and normalizes with the errors of that age (Unicode's Corrigenda 4 and 5).
#include "auth/saslprep.h"

#include <openssl/crypto.h>
#include <stringprep.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <utility>
#include <vector>

#include "auth/limits.h"
#include "auth/secrets.h"

namespace berth::auth {
namespace {

using CodePoint = utf8proc_int32_t;
using Table = const Stringprep_table_element*;
constexpr size_t kUtf8Max = 4;

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; });
}

const uint8_t* bytes_of(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// The code points of some of libidn's tables, for a binary search.
class CodePointSet {
 public:
  CodePointSet(std::initializer_list<Table> tables) {
    // A table ends with a zero element; `end` is 0 where an element is a single code point.
    for (Table at : tables) {
      for (; at->start != 0 || at->end != 0; ++at) {
        ranges_.push_back({static_cast<CodePoint>(at->start), static_cast<CodePoint>(std::max(at->start, at->end))});
      }
    }
    std::sort(ranges_.begin(), ranges_.end());
  }
  // Ranges of different tables overlap at most so that one holds a single code point of another: the last range that
  // begins at or before `code` and the one before it are enough.
  bool contains(CodePoint code) const {
    auto at = std::upper_bound(ranges_.begin(), ranges_.end(), Range{code, std::numeric_limits<CodePoint>::max()});
    for (int i = 0; i < 2 && at != ranges_.begin(); ++i) {
      --at;
      if (code >= at->first && code <= at->second) return true;
    }
    return false;
  }

 private:
  using Range = std::pair<CodePoint, CodePoint>;
  std::vector<Range> ranges_;
};

bool is_prohibited(CodePoint code) {
  // The tables of RFC 4013, section 2.3, and A.1: code points that Unicode 3.2 did not know (section 2.5).
  static const CodePointSet kSet = {
      stringprep_rfc3454_C_1_2, stringprep_rfc3454_C_2_1, stringprep_rfc3454_C_2_2, stringprep_rfc3454_C_3,
      stringprep_rfc3454_C_4,   stringprep_rfc3454_C_5,   stringprep_rfc3454_C_6,   stringprep_rfc3454_C_7,
      stringprep_rfc3454_C_8,   stringprep_rfc3454_C_9,   stringprep_rfc3454_A_1,
  };
  return kSet.contains(code);
}

// RFC 3454, section 6: a text with right-to-left characters begins and ends with one and has no left-to-right ones.
bool bidi_allows(const std::vector<CodePoint>& text) {
  static const CodePointSet kRight = {stringprep_rfc3454_D_1};
  static const CodePointSet kLeft = {stringprep_rfc3454_D_2};
  const auto right = [](CodePoint code) { return kRight.contains(code); };
  const auto left = [](CodePoint code) { return kLeft.contains(code); };
  if (std::none_of(text.begin(), text.end(), right)) return true;
  return right(text.front()) && right(text.back()) && std::none_of(text.begin(), text.end(), left);
}

// Decodes and maps (RFC 4013, section 2.1). False: not UTF-8.
bool decode_and_map(std::string_view password, std::vector<CodePoint>& out) {
  static const CodePointSet kToSpace = {stringprep_rfc3454_C_1_2};
  static const CodePointSet kToNothing = {stringprep_rfc3454_B_1};
  out.reserve(password.size());
  while (!password.empty()) {
    CodePoint code = 0;
    const auto size = utf8proc_iterate(bytes_of(password), static_cast<utf8proc_ssize_t>(password.size()), &code);
    if (size <= 0) return false;
    password.remove_prefix(static_cast<size_t>(size));
    if (kToSpace.contains(code)) {
      out.push_back(' ');
    } else if (!kToNothing.contains(code)) {
      out.push_back(code);
    }
  }
  return true;
}

// NFKC. utf8proc knows a later Unicode than 3.2, and that is right: PostgreSQL does too, and of what is new since 3.2
// only corrections reach this place.
bool normalize(const std::string& text, std::string& out) {
  constexpr auto kNfkc = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  uint8_t* normal = nullptr;
  const auto size = utf8proc_map(bytes_of(text), static_cast<utf8proc_ssize_t>(text.size()), &normal, kNfkc);
  if (size < 0) return false;
  out.assign(reinterpret_cast<const char*>(normal), static_cast<size_t>(size));
  OPENSSL_cleanse(normal, static_cast<size_t>(size));
  std::free(normal);
  return true;
}

bool prepare(std::string_view password, std::vector<CodePoint>& mapped, std::string& out) {
  if (!decode_and_map(password, mapped) || mapped.empty()) return false;
  if (std::any_of(mapped.begin(), mapped.end(), is_prohibited) || !bidi_allows(mapped)) return false;
  std::string text;
  text.reserve(mapped.size() * kUtf8Max);
  for (const CodePoint code : mapped) {
    uint8_t bytes[kUtf8Max];
    text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(utf8proc_encode_char(code, bytes)));
  }
  const bool good = normalize(text, out);
  scrub(text);
  return good;
}

}  // namespace

std::string saslprep(std::string_view password) {
  if (is_ascii(password)) return std::string(password);
  std::string prepared;
  std::vector<CodePoint> mapped;
  // NFKC sorts runs of combining marks in quadratic time; see kSaslprepSizeMax.
  const bool good = password.size() <= kSaslprepSizeMax && prepare(password, mapped, prepared);
  OPENSSL_cleanse(mapped.data(), mapped.size() * sizeof(CodePoint));
  if (!good) prepared = password;
  return prepared;
}

}  // namespace berth::auth
