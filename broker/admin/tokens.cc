#include "admin/tokens.h"

#include "base/assert.h"

namespace berth::admin {

namespace {

char upper(char letter) {
  return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
}
bool is_space(char letter) {
  return letter == ' ' || (letter >= '\t' && letter <= '\r');
}
bool is_mark(char letter) {
  return std::string_view("=,;()*").find(letter) != std::string_view::npos;
}
bool is_digit(char letter) {
  return letter >= '0' && letter <= '9';
}

// The length of a comment at the start of `text`, blocks nested as in PostgreSQL; 0: none, npos: it does not end.
size_t comment_size(std::string_view text) {
  if (text.starts_with("--")) {
    const size_t end = text.find('\n');
    return end == std::string_view::npos ? text.size() : end + 1;
  }
  if (!text.starts_with("/*")) return 0;
  size_t depth = 0, at = 0;
  while (at + 1 < text.size()) {
    if (text[at] == '/' && text[at + 1] == '*') {
      ++depth;
      at += 2;
    } else if (text[at] == '*' && text[at + 1] == '/') {
      at += 2;
      if (--depth == 0) return at;
    } else {
      ++at;
    }
  }
  return std::string_view::npos;
}

}  // namespace

bool Token::is(std::string_view word) const {
  if (kind != Kind::kWord || text.size() != word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    if (upper(text[i]) != word[i]) return false;
  }
  return true;
}

bool Tokens::accept(std::string_view word) {
  if (!token_.is(word)) return false;
  advance();
  return true;
}

bool Tokens::accept(char mark) {
  if (!token_.mark(mark)) return false;
  advance();
  return true;
}

// False: a comment does not end.
bool Tokens::skip_space() {
  while (!rest_.empty()) {
    if (is_space(rest_[0])) {
      rest_.remove_prefix(1);
      continue;
    }
    const size_t size = comment_size(rest_);
    if (size == std::string_view::npos) return false;
    if (size == 0) return true;
    rest_.remove_prefix(size);
  }
  return true;
}

// A quote inside is doubled. False: there is no closing quote.
bool Tokens::take_quoted(char quote) {
  ASSERT(rest_[0] == quote);
  for (size_t at = 1; at < rest_.size(); ++at) {
    if (rest_[at] != quote) {
      token_.text += rest_[at];
      continue;
    }
    if (at + 1 < rest_.size() && rest_[at + 1] == quote) {
      token_.text += quote;
      ++at;
      continue;
    }
    rest_.remove_prefix(at + 1);
    return true;
  }
  return false;
}

void Tokens::advance() {
  if (token_.kind == Token::Kind::kBad) return;
  token_ = {};
  if (!skip_space()) {
    token_.kind = Token::Kind::kBad;
    return;
  }
  if (rest_.empty()) return;
  const char first = rest_[0];
  if (first == '"' || first == '\'') {
    token_.kind = first == '"' ? Token::Kind::kName : Token::Kind::kString;
    if (!take_quoted(first)) token_.kind = Token::Kind::kBad;
    return;
  }
  if (is_mark(first)) {
    token_ = {Token::Kind::kMark, std::string(1, first)};
    rest_.remove_prefix(1);
    return;
  }
  size_t end = 0;
  while (end < rest_.size() && !is_space(rest_[end]) && !is_mark(rest_[end]) && rest_[end] != '"' &&
         rest_[end] != '\'')
    ++end;
  token_ = {Token::Kind::kWord, std::string(rest_.substr(0, end))};
  rest_.remove_prefix(end);
  if (first != '$' || end < 2 || end > 4) return;
  for (size_t i = 1; i < end; ++i) {
    if (!is_digit(token_.text[i])) return;
  }
  token_ = {Token::Kind::kParameter, token_.text.substr(1)};
}

}  // namespace berth::admin
