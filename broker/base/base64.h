// Base64 of RFC 4648, strict: the standard alphabet, padding where it must be and nowhere else, no white space,
// unused bits zero. So each sequence of bytes has exactly one text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace berth {

std::string base64_encode(std::string_view bytes);
// False: not base64; `out` is then empty.
bool base64_decode(std::string_view text, std::string& out);
// How many bytes a text stands for, without making them; nothing: it is not base64.
std::optional<size_t> base64_size(std::string_view text);

}  // namespace berth
