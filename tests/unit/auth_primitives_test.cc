// Goal: the small parts give what the standards and PostgreSQL give. Method: published vectors, and secrets that
// PostgreSQL 15 made.
#include <fmt/format.h>

#include <cstring>
#include <set>
#include <thread>

#include "auth/exchange.h"
#include "auth/key_cache.h"
#include "auth/limits.h"
#include "auth/mock.h"
#include "auth/saslprep.h"
#include "config/secret_form.h"
#include "unit/auth_support.h"
#include "unit/seeds.h"

namespace berth::auth {
namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return out;
}

TEST(Base64, Rfc4648Vectors) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : kVectors) {
    std::string back;
    EXPECT_EQ(base64_encode(bytes), text);
    EXPECT_TRUE(base64_decode(text, back));
    EXPECT_EQ(back, bytes);
    EXPECT_EQ(base64_size(text), std::string_view(bytes).size());
  }
}

TEST(Base64, EveryByteThereAndBack) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    bytes += static_cast<char>(255 - i);
    std::string back;
    ASSERT_TRUE(base64_decode(base64_encode(bytes), back));
    ASSERT_EQ(back, bytes);
  }
}

TEST(Base64, RefusesWhatIsNotItsOnlyForm) {
  const std::string_view kBad[] = {
      "Z",        "Zg",   "Zg=",  "Zg===", "=",        "==",   "====",  "Zh==",       "Zm9=",    "Zm9v\n",
      "Zm9v Zg=", "Zm 9", "Zm-_", "Zm=v",  "Zg==Zg==", "Z===", "Zm9vZ", "Zm\xc3\xa9", "Zm9v===="};
  for (const std::string_view text : kBad) {
    std::string out = "before";
    EXPECT_FALSE(base64_decode(text, out)) << text;
    EXPECT_EQ(out, "") << text;
    EXPECT_FALSE(base64_size(text)) << text;
  }
  std::string out;
  EXPECT_FALSE(base64_decode(std::string_view("\0\0\0\0", 4), out));
  EXPECT_FALSE(base64_decode(std::string_view("Zm9\0", 4), out));
}

TEST(Md5, Rfc1321Vectors) {
  std::string out;
  ASSERT_TRUE(md5_hex("", out));
  EXPECT_EQ(out, "d41d8cd98f00b204e9800998ecf8427e");
  ASSERT_TRUE(md5_hex("message digest", out));
  EXPECT_EQ(out, "f96b697d7cb7938d525a2f31aaf161d0");
}

TEST(Md5, SecretAsPostgreSQL15StoresIt) {
  EXPECT_EQ(md5_of("secret", "r6"), "md5e32916d65635923197a3214f70df664a");
}

TEST(Md5, ResponseIsTheDigestOfTheDigitsAndTheSalt) {
  const std::string secret = md5_of("secret", "r6");
  std::string response, expected;
  ASSERT_TRUE(md5_response(secret, std::string_view("\0\x01\xff\x7f", 4), response));
  ASSERT_TRUE(md5_hex(secret.substr(3) + std::string("\0\x01\xff\x7f", 4), expected));
  EXPECT_EQ(response, "md5" + expected);
}

TEST(Scram, HmacVectorsOfRfc4231) {
  EXPECT_EQ(hex(view_of(hmac_sha256(std::string(20, '\x0b'), {"Hi ", "", "There"}))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(view_of(hmac_sha256("Jefe", {"what do ya want for nothing?"}))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(
      hex(view_of(hmac_sha256(std::string(131, '\xaa'), {"Test Using Larger Than Block-Size Key - Hash Key First"}))),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Scram, SecretsThatPostgreSQL15Made) {
  const std::pair<std::string_view, std::string_view> kSecrets[] = {
      {"pencil", kPencilScram},
      // n with tilde, and the ligature fi, which becomes two letters
      {"pi\xc3\xb1"
       "ata \xef\xac\x81x",
       "SCRAM-SHA-256$4096:S72A2vdv4f73pO/8M8ANQg==$05FXAoTq2IGd7Zhm6iiTBf/uYU6U6Q0+uCTLiquIVYA="
       ":5/vfC9TCoUpI+F2cU1FZgagMVfPCYX6gCF/g9L4g8go="},
      // a soft hyphen, which goes, and an ideographic space, which becomes a space
      {"a\xc2\xad"
       "b\xe3\x80\x80"
       "c",
       "SCRAM-SHA-256$4096:UxFESFa8G0dXObOW/y0NmQ==$+3lRCmnIjkXhBmeKSPhVpr8uU+/jFUP2lE9hn5OoqKc="
       ":CYaEkGjFS6p5ipuINuuwPRAk8UOk3EC9MzklQfCBcIw="},
      // Hebrew and Latin together are prohibited: the raw bytes
      {"\xd7\x90x",
       "SCRAM-SHA-256$4096:NrJ5OnlxpUMbBF8Z3YlLdw==$8JIcCSa40gQ5vruCgc7XOCzz2/es4hIoB9aTUxhJVrM="
       ":pFRkZI1QmsItdwjp7fvK3RAGdG9NATlEGvfo6dxr/sM="},
      // U+2F868, whose decomposition Unicode corrected
      {"\xf0\xaf\xa1\xa8",
       "SCRAM-SHA-256$4096:wEf8Wks3hWzLFkH8qCFUCw==$QIiI2e4VVB9eMqwVoBeJvLvUfGlqiJ4FcKibnlJkJds="
       ":cBwORDCL78oLnhxXfeCkByhPg2ahV48NdGTilYwORgs="}};
  for (const auto& [password, text] : kSecrets) {
    const Secret secret = parse_secret(text);
    ASSERT_EQ(secret.kind, SecretKind::kScram);
    EXPECT_EQ(to_text(make_scram_secret(password, secret.scram.salt, secret.scram.iterations)), text);
  }
}

TEST(Saslprep, ExamplesOfRfc4013AndPostgreSQLsRules) {
  const std::pair<std::string_view, std::string_view> kExamples[] = {
      {"I\xc2\xadX", "IX"},
      {"user", "user"},
      {"USER", "USER"},
      {"\xc2\xaa", "a"},
      {"\xe2\x85\xa8", "IX"},
      {"\x07", "\x07"},                                  // prohibited by the RFC, but ASCII: PostgreSQL does not look
      {"\xd8\xa7\x31", "\xd8\xa7\x31"},                  // right-to-left without its like at the end: raw
      {"\xef\xac\x81\xd8\xa7", "\xef\xac\x81\xd8\xa7"},  // left-to-right beside right-to-left: raw, not "fi"
      {"\xc2\xb2\xd8\xa7", "\xc2\xb2\xd8\xa7"},          // neither, but before right-to-left: raw, not "2"
      {"\xd8\xa7\xc2\xb2\xd8\xa7", "\xd8\xa7\x32\xd8\xa7"},
      {"\xd8\xa7\x31\xd8\xa7", "\xd8\xa7\x31\xd8\xa7"},
      {"\xc2\xad", "\xc2\xad"},                                  // nothing would be left: raw
      {"\xef\xac\x81\x07", "\xef\xac\x81\x07"},                  // prohibited beside non-ASCII: raw, not "fi"
      {"\xef\xac\x81\xcd\x80", "\xef\xac\x81\xcd\x80"},          // U+0340: prohibited before it could become U+0300
      {"\xef\xac\x81\xc8\xa1", "\xef\xac\x81\xc8\xa1"},          // U+0221: unassigned in Unicode 3.2
      {"\xef\xac\x81\xff", "\xef\xac\x81\xff"},                  // not UTF-8
      {"\xef\xac\x81\xc0\x80", "\xef\xac\x81\xc0\x80"},          // overlong
      {"\xef\xac\x81\xed\xa0\x80", "\xef\xac\x81\xed\xa0\x80"},  // a surrogate
      {"\xef\xac\x81\xf0\x9f", "\xef\xac\x81\xf0\x9f"},          // cut short
  };
  for (const auto& [password, prepared] : kExamples) EXPECT_EQ(saslprep(password), prepared) << hex(password);
}

TEST(Saslprep, LongRowsOfMarksAreLeftAlone) {
  std::string marks;
  while (marks.size() <= kSaslprepSizeMax) marks += marks.size() % 4 == 0 ? "\xcc\x81" : "\xcc\xa3";
  EXPECT_EQ(saslprep(marks), marks);
  marks.resize(kSaslprepSizeMax);
  EXPECT_NE(saslprep(marks), marks);
}

TEST(Secrets, KindByForm) {
  EXPECT_EQ(parse_secret("").kind, SecretKind::kNone);
  EXPECT_EQ(parse_secret("secret").kind, SecretKind::kPlain);
  EXPECT_EQ(parse_secret("md5e32916d65635923197a3214f70df664a").kind, SecretKind::kMd5);
  EXPECT_EQ(parse_secret("md5E32916d65635923197a3214f70df664a").kind, SecretKind::kPlain);
  EXPECT_EQ(parse_secret("md5e32916d65635923197a3214f70df664").kind, SecretKind::kPlain);
  EXPECT_EQ(parse_secret("md5e32916d65635923197a3214f70df664aa").kind, SecretKind::kPlain);
  const Secret scram = parse_secret(kPencilScram);
  EXPECT_EQ(scram.kind, SecretKind::kScram);
  EXPECT_EQ(scram.scram.iterations, 4096u);
  EXPECT_EQ(scram.scram.salt.size(), kScramSaltSize);
  EXPECT_EQ(scram.text, kPencilScram);
}

// What config/ says of a line of auth_file, by the form alone, is what counts here.
TEST(Secrets, WhatIsCalledBrokenIsNoScramSecret) {
  SEEDED(dice);
  const std::string good(kPencilScram);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (uint64_t changes = dice.below(3); changes > 0; --changes) {
      const size_t at = dice.below(text.size());
      const std::string put = random_bytes(dice, 2, "=+/:$019AQgw");
      text.replace(at, dice.below(3), put);
    }
    if (dice.below(4) == 0) text.resize(dice.below(text.size() + 1));
    const bool broken = text.starts_with("SCRAM-SHA-256$") && parse_secret(text).kind != SecretKind::kScram;
    ASSERT_EQ(!config::look_at_secret(text).mistake.empty(), broken) << text;
  }
}

TEST(Secrets, MalformedScramIsAClearPassword) {
  const std::string good(kPencilScram);
  const auto kind_with = [&good](std::string_view from, std::string_view to) {
    std::string changed = good;
    changed.replace(changed.find(from), from.size(), to);
    return parse_secret(changed).kind;
  };
  EXPECT_EQ(kind_with("4096", "1"), SecretKind::kScram);
  EXPECT_EQ(kind_with("4096", "2147483647"), SecretKind::kScram);
  for (const char* count :
       {"0", "", "-1", "+1", " 1", "1 ", "4096x", "2147483648", "4294967297", "99999999999999999999"}) {
    EXPECT_EQ(kind_with("4096", count), SecretKind::kPlain) << count;
  }
  EXPECT_EQ(kind_with("SCRAM-SHA-256$", "SCRAM-SHA-1$"), SecretKind::kPlain);
  EXPECT_EQ(kind_with("SCRAM-SHA-256$", "scram-sha-256$"), SecretKind::kPlain);
  EXPECT_EQ(kind_with("nTv1oMWo/RPaZDqBlFzu6g==", ""), SecretKind::kPlain);
  EXPECT_EQ(kind_with("nTv1oMWo/RPaZDqBlFzu6g==", "nTv1oMWo/RPaZDqBlFzu6g"), SecretKind::kPlain);
  EXPECT_EQ(kind_with("QSEA", ""), SecretKind::kPlain);
  EXPECT_EQ(kind_with("+Gw=", "+Gw=AAAA"), SecretKind::kPlain);
  EXPECT_EQ(kind_with("nTv1", base64_encode(std::string(kScramSaltSizeMax + 2, 's')).substr(0, 1400)),
            SecretKind::kPlain);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(parse_secret(good.substr(0, size)).kind, SecretKind::kScram) << size;
  }
}

TEST(Secrets, ScrubOverwritesAllOfTheMemory) {
  std::string text(200, 's');
  text.resize(50);
  const char* memory = text.data();
  scrub(text);
  EXPECT_EQ(text, "");
  EXPECT_EQ(std::string_view(memory, 200), std::string(200, '\0'));
  Secret secret = parse_secret(kPencilScram);
  scrub(secret);
  EXPECT_TRUE(secret.empty());
  EXPECT_EQ(secret.scram.stored_key, Digest{});
  ScramKeys keys{true, {1}, {2}};
  scrub(keys);
  EXPECT_FALSE(keys.known);
  EXPECT_EQ(keys.client_key, Digest{});
}

// What is inside the object itself (short texts are) can be looked at after its end.
template <typename T>
std::string memory_after(T&& made) {
  using Made = std::decay_t<T>;
  alignas(Made) static unsigned char storage[sizeof(Made)];
  (new (storage) Made(std::forward<T>(made)))->~Made();
  return {reinterpret_cast<const char*>(storage), sizeof storage};
}

TEST(Secrets, NothingStaysBehindAtTheEnd) {
  EXPECT_EQ(memory_after(parse_secret("hunter2")).find("hunter2"), std::string::npos);
  Digest key;
  key.fill('k');
  EXPECT_EQ(memory_after(ScramKeys{true, key, key}).find("kkkk"), std::string::npos);
  EXPECT_EQ(memory_after(Proof{parse_secret("hunter2"), {true, key, key}}).find_first_of("hk"), std::string::npos);
}

TEST(Secrets, ComparisonT17) {
  EXPECT_TRUE(equal_constant_time("", ""));
  EXPECT_TRUE(equal_constant_time("abc", "abc"));
  EXPECT_FALSE(equal_constant_time("abc", "abd"));
  EXPECT_FALSE(equal_constant_time("abc", "ab"));
  EXPECT_FALSE(equal_constant_time("ab", "abc"));
  EXPECT_FALSE(equal_constant_time("", "a"));
}

TEST(Attributes, AfterEachCommaOneMustFollowT13) {
  std::string_view value;
  char name = '\0';
  Attributes good("a=1,b=,c==x=");
  EXPECT_TRUE(good.take('a', value) && value == "1");
  EXPECT_EQ(good.next(), 'b');
  EXPECT_FALSE(good.take('c', value));
  EXPECT_TRUE(good.take('b', value) && value.empty());
  EXPECT_TRUE(good.take_any(name, value) && name == 'c' && value == "=x=");
  EXPECT_TRUE(good.at_end());
  EXPECT_FALSE(good.take_any(name, value));
  for (const char* bad : {"", "a", "=", "1=x", "a:x", ",a=x", "\xe9=x"}) {
    Attributes attributes(bad);
    EXPECT_FALSE(attributes.take_any(name, value)) << bad;
  }
  Attributes comma("a=1,");
  EXPECT_TRUE(comma.take('a', value));
  EXPECT_FALSE(comma.at_end());
  EXPECT_FALSE(comma.take_any(name, value));
}

TEST(KeyCache, DerivesOnceAndStaysBounded) {
  KeyCache cache(2);
  const Digest one = cache.salted("one", "salt", 10);
  EXPECT_EQ(one, salted_password("one", "salt", 10));
  EXPECT_EQ(cache.salted("one", "salt", 10), one);
  EXPECT_EQ(cache.derivations(), 1u);
  cache.salted("two", "salt", 10);
  EXPECT_EQ(cache.salted("one", "salt", 10), one);  // used again, so "two" is the next to go
  cache.salted("three", "salt", 10);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.derivations(), 3u);
  cache.salted("one", "salt", 10);
  EXPECT_EQ(cache.derivations(), 3u);
  cache.salted("two", "salt", 10);
  EXPECT_EQ(cache.derivations(), 4u);
}

TEST(KeyCache, AnyPartOfTheNameCounts) {
  KeyCache cache(100);
  const Digest ab = cache.salted("ab", "c", 10);
  EXPECT_NE(cache.salted("a", "bc", 10), ab);
  EXPECT_NE(cache.salted("ab", "c", 11), ab);
  EXPECT_NE(cache.salted("ab", "d", 10), ab);
  EXPECT_EQ(cache.derivations(), 4u);
}

TEST(KeyCache, AGuessIsNotKept) {
  KeyCache cache(2);
  const Digest guess = cache.salted_unkept("guess", "salt", 10);
  EXPECT_EQ(cache.size(), 0u);
  cache.keep("guess", "salt", 10, guess);
  EXPECT_EQ(cache.salted_unkept("guess", "salt", 10), guess);
  EXPECT_EQ(cache.derivations(), 1u);
}

TEST(KeyCache, NothingIsLeftOfWhatWasCleared) {
  KeyCache cache(2);
  const Digest one = cache.salted("one", "salt", 10);
  cache.clear();
  Digest out;
  EXPECT_FALSE(cache.find("one", "salt", 10, out));
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.salted("one", "salt", 10), one);
  EXPECT_EQ(cache.derivations(), 2u);
}

TEST(KeyCache, ManyThreads) {
  KeyCache cache(8);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      for (int i = 0; i < 500; ++i) {
        const std::string password = std::to_string((i * 7 + t) % 16);
        EXPECT_EQ(cache.salted(password, "salt", 2), salted_password(password, "salt", 2));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.size(), 8u);
}

TEST(Mock, TheProcessHasASecret) {
  EXPECT_NE(process_secret(), Digest{});
  EXPECT_EQ(process_secret(), process_secret());
}

TEST(Mock, TheSameForTheSameNameAndNoOther) {
  const MockProfile scram{SecretKind::kScram, 4096};
  EXPECT_EQ(mock_secret("ann", scram).scram.salt, mock_secret("ann", scram).scram.salt);
  EXPECT_EQ(mock_secret("ann", scram).scram.salt, user_salt("ann", kScramSaltSize));
  EXPECT_NE(mock_secret("ann", scram).scram.salt, mock_secret("bob", scram).scram.salt);
  EXPECT_NE(mock_secret("ann", scram).scram.stored_key, mock_secret("bob", scram).scram.stored_key);
  EXPECT_EQ(parse_secret(mock_secret("ann", {SecretKind::kMd5, 0}).text.view()).kind, SecretKind::kMd5);
}

// T3: another process with the same secret makes the same salts.
TEST(Mock, SaltsOfASecretThatLasts) {
  const std::string of_process = user_salt("ann", 16);
  make_salts_from("one");
  const std::string one = user_salt("ann", 16);
  EXPECT_EQ(mock_secret("ann", {SecretKind::kScram, 4096}).scram.salt, one);
  make_salts_from("two");
  EXPECT_EQ(std::set<std::string>({of_process, one, user_salt("ann", 16)}).size(), 3u);
  make_salts_from("one");
  EXPECT_EQ(user_salt("ann", 16), one);
  EXPECT_NE(user_salt("bob", 16), one);
}

TEST(Mock, ProfileOfTheMajority) {
  const Secret none, plain = parse_secret("x"), md5 = parse_secret(md5_of("x", "y")),
                     scram = parse_secret(kPencilScram);
  Secret more = scram;
  more.scram.iterations = 10000;
  EXPECT_EQ(most_common_profile({}).kind, SecretKind::kNone);
  EXPECT_EQ(most_common_profile({&none, &none, &plain}).kind, SecretKind::kPlain);
  EXPECT_EQ(most_common_profile({&md5, &md5, &plain}).kind, SecretKind::kMd5);
  const MockProfile profile = most_common_profile({&scram, &more, &more, &plain});
  EXPECT_EQ(profile.kind, SecretKind::kScram);
  EXPECT_EQ(profile.iterations, 10000u);
}

}  // namespace
}  // namespace berth::auth
