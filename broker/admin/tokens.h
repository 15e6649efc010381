// The words of a console query: a tokenizer for the little SQL that the console knows. Pure.
#pragma once

#include <string>
#include <string_view>

namespace berth::admin {

struct Token {
  enum class Kind : uint8_t {
    kEnd,
    kWord,       // anything without quotes: a keyword, a name, a number
    kName,       // "in double quotes"; `text` without them
    kString,     // 'in single quotes'; likewise
    kParameter,  // $1; `text` is the number
    kMark,       // one of = , ; ( ) *
    kBad,        // a quote or comment that does not end
  };
  Kind kind = Kind::kEnd;
  std::string text;

  // A keyword, in any case. `word` in capital letters.
  bool is(std::string_view word) const;
  bool mark(char which) const { return kind == Kind::kMark && text[0] == which; }
  bool end() const { return kind == Kind::kEnd || mark(';'); }
};

class Tokens {
 public:
  explicit Tokens(std::string_view sql) : rest_(sql) { advance(); }
  const Token& now() const { return token_; }
  Token take() {
    Token taken = std::move(token_);
    advance();
    return taken;
  }
  // Takes the next token if it is that keyword or mark.
  bool accept(std::string_view word);
  bool accept(char mark);

 private:
  void advance();
  bool skip_space();
  bool take_quoted(char quote);

  std::string_view rest_;
  Token token_;
};

}  // namespace berth::admin
