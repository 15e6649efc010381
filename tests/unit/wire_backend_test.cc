// Goal: errors, notices and command tags are read whatever fields they lack (T9), and what the encoders write is what
// the decoders read. Method: examples, and the laws of wire_laws.h over bytes of dice.
#include "unit/seeds.h"
#include "unit/wire_laws.h"

namespace berth::wire {
namespace {

using namespace std::string_literals;

std::string_view body_of(std::string_view message) {
  EXPECT_TRUE(read_head(message.data(), message.size()).valid);
  EXPECT_EQ(read_head(message.data(), message.size()).size, message.size());
  return message.substr(kHeaderSize);
}

TEST(Errors, EncodedAndDecoded) {
  for (const Severity severity : {Severity::kNotice, Severity::kWarning, Severity::kError, Severity::kFatal}) {
    for (const std::string_view detail : {"", "a detail"}) {
      for (const std::string_view hint : {"", "a hint"}) {
        std::string out;
        put_error(out, severity, "53300", "no more", detail, hint);
        const bool notice = severity == Severity::kNotice || severity == Severity::kWarning;
        EXPECT_EQ(out[0], notice ? kNoticeResponse : kErrorResponse);
        const ErrorFields read = parse_error(body_of(out));
        EXPECT_EQ(read.sqlstate, "53300");
        EXPECT_EQ(read.message, "no more");
        EXPECT_EQ(read.detail, detail);
        EXPECT_EQ(read.hint, hint);
        EXPECT_FALSE(read.severity.empty());
      }
    }
  }
}

TEST(Logins, EachMessageToItsLastByte) {
  std::string_view a, b;
  EXPECT_TRUE(parse_parameter_status("n\0v\0"s, a, b) && a == "n" && b == "v");
  EXPECT_TRUE(parse_parameter_status("\0\0"s, a, b));
  for (const std::string& body : {""s, "n"s, "n\0"s, "n\0v"s, "n\0v\0\0"s, "n\0v\0x"s}) {
    EXPECT_FALSE(parse_parameter_status(body, a, b)) << testing::PrintToString(body);
  }
  uint32_t number = 0;
  for (size_t size = 0; size <= 300; ++size) {
    const std::string body = "\0\0\x12\x67"s + std::string(size, 'k');
    ASSERT_EQ(parse_key_data(body, number, a), size >= 4 && size <= 256) << size;
    EXPECT_FALSE(login_law(body)) << login_law(body);
  }
  EXPECT_EQ(number, 4711u);
  std::vector<std::string_view> names;
  const std::string two = "\0\3\0\0\0\0\0\2a\0b\0"s;
  EXPECT_TRUE(parse_negotiation(two, number, names));
  EXPECT_EQ(number, kProtocol30);
  EXPECT_EQ(names, (std::vector<std::string_view>{"a", "b"}));
  for (const std::string& body : {"\0\3\0\0\0\0\0"s, "\0\3\0\0\0\0\0\1"s, "\0\3\0\0\0\0\0\1a"s,
                                  "\0\3\0\0\xff\xff\xff\xff\0\0"s, "\0\3\0\0\0\0\0\0x"s}) {
    names.clear();
    EXPECT_FALSE(parse_negotiation(body, number, names)) << testing::PrintToString(body);
  }
  names.clear();
  EXPECT_TRUE(parse_mechanisms("SCRAM\0X\0\0"s, names) && names.size() == 2);
  for (const std::string& body : {""s, "SCRAM"s, "SCRAM\0"s, "SCRAM\0\0x"s, "\0\0"s}) {
    EXPECT_FALSE(parse_mechanisms(body, names)) << testing::PrintToString(body);
  }
}

TEST(BackendLaws, AnyBodyAsEachMessageOfALogin) {
  SEEDED(dice);
  for (int round = 0; round < 30000; ++round) {
    const std::string body = random_bytes(dice, 24, "\0\0\0\1\2\3ab"s);
    ASSERT_FALSE(login_law(body)) << login_law(body) << ": " << testing::PrintToString(body);
  }
}

// T9.
TEST(Errors, FieldsThatAreMissing) {
  EXPECT_EQ(parse_error("").message, "");
  EXPECT_EQ(parse_error("\0"s).message, "");
  EXPECT_EQ(parse_error("Mtext"s).message, "") << "without its NUL";
  EXPECT_EQ(parse_error("Mtext\0"s).message, "text");
  EXPECT_EQ(parse_error("SERROR\0Mtext\0\0"s).sqlstate, "");
  EXPECT_EQ(parse_error("SERROR\0C42601"s).sqlstate, "") << "without its NUL";
  EXPECT_EQ(parse_error("SFEHLER\0VERROR\0C42601\0\0"s).severity, "ERROR");
  EXPECT_EQ(parse_error("VERROR\0SFEHLER\0C42601\0\0"s).severity, "ERROR");
  EXPECT_EQ(parse_error("SFEHLER\0C42601\0\0"s).severity, "FEHLER") << "servers before 9.6 have no V";
  EXPECT_EQ(parse_error("C42601\0\0Mbehind the end\0"s).message, "");
}

TEST(Errors, NamesAreReplacedInTheMessageOnly) {
  std::string out;
  put_error_renamed(out, 'N', "Mberth_1 and berth_1\0Dberth_1\0\0"s, "berth_1", "mine");
  EXPECT_EQ(out[0], 'N');
  EXPECT_EQ(body_of(out), "Mmine and mine\0Dberth_1\0\0"s);
  out = "before";
  put_error_renamed(out, 'E', "Mx\0\0"s, "", "mine");
  EXPECT_EQ(out, "before" + "E\0\0\0\x8Mx\0\0"s);
}

TEST(BackendLaws, AnyBytes) {
  SEEDED(dice);
  for (int round = 0; round < 30000; ++round) {
    const std::string body = random_bytes(dice, 40, "SVCMDHx\0\0ab"s);
    std::string from = random_bytes(dice, 2, "ab"), to = random_bytes(dice, 4, "abM");
    std::erase(from, '\0');  // names were C strings
    std::erase(to, '\0');
    const char* broken = error_law(body, from, to);
    ASSERT_FALSE(broken) << broken << ": " << testing::PrintToString(body);
  }
}

TEST(CommandTags, OnlyTheWholeTag) {
  for (const std::string& body : {"DISCARD ALL\0"s,
                                  "DEALLOCATE ALL\0"s,
                                  "RESET\0"s,
                                  "DISCARD ALL"s,
                                  "DISCARD ALLx"s,
                                  "RESET"s,
                                  "RESET\0\0"s,
                                  "RESETx"s,
                                  "DISCARD TEMP\0"s,
                                  "DEALLOCATE\0"s,
                                  "DELETE 1\0"s,
                                  ""s,
                                  "D"s,
                                  "ROLLBACK\0"s,
                                  "SELECT 1\0"s,
                                  "SET\0"s,
                                  "SET CONSTRAINTS\0"s,
                                  "LISTEN\0"s,
                                  "PREPARE\0"s,
                                  "PREPARE TRANSACTION\0"s,
                                  "DECLARE CURSOR\0"s,
                                  "COMMIT\0"s,
                                  "COMMIT PREPARED\0"s,
                                  "BEGIN\0"s,
                                  "LOCK TABLE\0"s,
                                  "SETx"s,
                                  "\0\0\0\0"s}) {
    EXPECT_FALSE(command_tag_law(body)) << body;
  }
  EXPECT_EQ(command_effect("DISCARD ALL\0"s), CommandEffect::kDiscardAll);
}

TEST(Encoders, EachMessageToTheByte) {
  const auto written = [](auto&& put) {
    std::string out;
    put(out);
    return out;
  };
  EXPECT_EQ(written([](auto& out) { put_query(out, "a"); }), "Q\0\0\0\6a\0"s);
  EXPECT_EQ(written([](auto& out) { put_empty(out, kSync); }), "S\0\0\0\4"s);
  EXPECT_EQ(written([](auto& out) { put_ready(out, 'T'); }), "Z\0\0\0\5T"s);
  EXPECT_EQ(written([](auto& out) { put_close_statement(out, "n"); }), "C\0\0\0\7Sn\0"s);
  EXPECT_EQ(written([](auto& out) { put_parameter_status(out, "n", "v"); }), "S\0\0\0\x8n\0v\0"s);
  EXPECT_EQ(written([](auto& out) { put_parse(out, "n", "q", "\0\0"s); }), "P\0\0\0\xan\0q\0\0\0"s);
  EXPECT_EQ(written([](auto& out) {
              put_startup(out, kProtocol30, {{"user", "u"}});
            }),
            "\0\0\0\x10\0\3\0\0user\0u\0\0"s);
  EXPECT_EQ(written([](auto& out) { put16(out, 0x1234); }), "\x12\x34"s);
}

}  // namespace
}  // namespace berth::wire
