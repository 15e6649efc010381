// Base64 of RFC 4648, strict: the standard alphabet, padding where it must be and nowhere else, no white space,
// unused bits zero. So each sequence of bytes has exactly one text.
#pragma once

#include <string>
#include <string_view>

namespace berth::auth {

std::string base64_encode(std::string_view bytes);
// False: not base64; `out` is then empty.
bool base64_decode(std::string_view text, std::string& out);

}  // namespace berth::auth
