// Goal: auth_query's connection says what it must, understands a server's answers however they are cut, and whatever
// a server says that wants our time or our memory ends the connection at once, with a text that says what it was.
// Method: a server written by hand, and random ones; no sockets.
#include "link/auth_wire.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "auth/limits.h"
#include "auth/step.h"
#include "unit/seeds.h"
#include "wire/encode.h"
#include "wire/frontend.h"
#include "wire/startup.h"

namespace berth::link {
namespace {

using Kind = AuthHappened::Kind;
using Cells = std::vector<std::optional<std::string>>;

std::string message(char tag, std::string_view body = {}) {
  std::string out;
  {
    wire::Message made(out, tag);
    out += body;
  }
  return out;
}

std::string ready(char status = 'I') {
  return message(wire::kReadyForQuery, {&status, 1});
}

std::string columns(size_t count) {
  std::string body;
  wire::put16(body, static_cast<uint16_t>(count));
  for (size_t i = 0; i < count; ++i) {
    wire::put_cstring(body, "c" + std::to_string(i));
    body.append(18, '\0');
  }
  return message(wire::kRowDescription, body);
}

std::string row(const Cells& cells) {
  std::string body;
  wire::put16(body, static_cast<uint16_t>(cells.size()));
  for (const auto& cell : cells) {
    wire::put32(body, cell ? static_cast<uint32_t>(cell->size()) : UINT32_MAX);
    if (cell) body += *cell;
  }
  return message(wire::kDataRow, body);
}

std::string error(std::string_view sqlstate, std::string_view text,
                  wire::Severity severity = wire::Severity::kError) {
  std::string out;
  wire::put_error(out, severity, sqlstate, text);
  return out;
}

std::string notice() {
  std::string out;
  wire::put_error(out, wire::Severity::kNotice, "00000", "by the way");
  return out;
}

std::string parameter() {
  std::string out;
  wire::put_parameter_status(out, "TimeZone", "UTC");
  return out;
}

const std::string kDone = message(wire::kCommandComplete, std::string_view("SELECT 1\0", 9));
const std::string kBegun = message(wire::kParseComplete) + message(wire::kBindComplete);
const std::string kWelcome =
    auth::authentication(auth::AuthCode::kOk) + parameter() + message(wire::kBackendKeyData, "12345678") + ready();

std::string answer(size_t count, const std::vector<Cells>& rows) {
  std::string out = kBegun + columns(count);
  for (const Cells& cells : rows) out += row(cells);
  return out + kDone + ready();
}

// What happened, without secrets that cannot be compared.
std::string describe(const AuthHappened& happened) {
  std::string out = std::to_string(static_cast<int>(happened.kind)) + " " + happened.error + " " + happened.sqlstate;
  out += " " + std::to_string(happened.generation) + " " + std::to_string(happened.server_now);
  if (happened.row.found) out += " found " + std::string(happened.row.secret.text.view());
  if (happened.row.valid_until) out += " until " + std::to_string(*happened.row.valid_until);
  return out;
}

// A connection, fed as an engine does it: what is not consumed is shown again with more behind it.
class Talk {
 public:
  explicit Talk(const char* password = "pencil")
      : wire("looker", {auth::parse_secret(password), {}}, {}, [this](std::string_view bytes) { sent += bytes; }) {
    wire.start("looker", "shop");
  }

  void feed(std::string_view bytes) {
    kept_ += bytes;
    while (!wire.waits_for_work()) {
      const net::Taken taken = wire.feed(kept_);
      EXPECT_LE(taken.consumed, kept_.size());
      kept_.erase(0, taken.consumed);
      need = taken.need;
      if (taken.consumed == 0 || kept_.empty()) return;
    }
  }
  AuthHappened last() {
    AuthHappened last;
    for (AuthHappened next = wire.take(); next.kind != Kind::kNothing; next = wire.take()) last = std::move(next);
    return last;
  }
  // Logged in, and asked.
  void ask(AuthQuestion question, const std::string& user = "ann") {
    feed(kWelcome);
    EXPECT_EQ(last().kind, Kind::kConnected);
    sent.clear();
    wire.ask(question, "select own", is_of_user(question) ? user : "");
  }

  std::string sent;
  AuthWire wire;
  size_t need = 0;
  size_t kept() const { return kept_.size(); }

 private:
  std::string kept_;
};

AuthHappened answered(AuthQuestion question, const std::string& bytes) {
  Talk talk;
  talk.ask(question);
  talk.feed(bytes);
  return talk.last();
}

// ---- login

TEST(AuthWire, NoParameterOfAClientIsInTheStartupPacket) {  // T6
  const Talk talk;
  const wire::Startup startup = wire::parse_startup(talk.sent);
  ASSERT_EQ(startup.kind, wire::Startup::Kind::kStartup);
  EXPECT_EQ(startup.size, talk.sent.size());
  const std::vector<std::pair<std::string_view, std::string_view>> expected{
      {"user", "looker"},
      {"database", "shop"},
      {"application_name", "pgberth auth_query"},
      {"options", "-c search_path=pg_catalog,public,pg_temp"},
      {"client_encoding", "UTF8"}};
  EXPECT_EQ(startup.parameters, expected);
}

TEST(AuthWire, AnMd5SecretIsProofEnoughForMd5) {
  Talk talk("md5f0e4c2f76c58916ec258f246851bea09");
  talk.sent.clear();
  talk.feed(auth::authentication(auth::AuthCode::kMd5Password, "salt"));
  ASSERT_EQ(talk.sent.size(), 5u + 35 + 1);
  EXPECT_EQ(talk.sent[0], wire::kPassword);
  talk.feed(kWelcome);
  EXPECT_EQ(talk.last().kind, Kind::kConnected);
}

std::string server_first(Talk& talk, const std::string& iterations) {
  talk.sent.clear();
  talk.feed(auth::authentication(auth::AuthCode::kSasl, std::string_view("SCRAM-SHA-256\0\0", 15)));
  const std::string nonce = talk.sent.substr(talk.sent.find(",r=") + 3);
  talk.sent.clear();
  return auth::authentication(auth::AuthCode::kSaslContinue,
                              "r=" + nonce + "server,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=" + iterations);
}

// T12. Nobody's rounds are counted on the thread that reads, and nothing is read meanwhile.
TEST(AuthWire, KeysAreDerivedBySomebodyElse) {
  Talk talk;
  const std::string challenge = server_first(talk, "4097");
  talk.feed(challenge + "E");
  AuthHappened happened = talk.last();
  ASSERT_EQ(happened.kind, Kind::kWork);
  EXPECT_TRUE(talk.wire.waits_for_work());
  EXPECT_EQ(talk.sent, "");
  EXPECT_EQ(talk.kept(), 1u);
  happened.work->run();
  talk.wire.resume(*happened.work);
  EXPECT_FALSE(talk.wire.waits_for_work());
  EXPECT_NE(talk.sent.find(",p="), std::string::npos);
}

// T12.
TEST(AuthWire, MoreRoundsThanTheLimitAreNotWorked) {
  for (const char* iterations : {"1000001", "2147483647", "99999999999999"}) {
    Talk talk;
    talk.feed(server_first(talk, iterations));
    const AuthHappened happened = talk.last();
    EXPECT_EQ(happened.kind, Kind::kLost) << iterations;
    EXPECT_NE(happened.error.find("more iterations than the limit"), std::string::npos) << happened.error;
  }
}

TEST(AuthWire, ARefusedLoginHasItsSqlstate) {
  Talk talk;
  talk.feed(error("3D000", "database \"shop\"\n does not exist", wire::Severity::kFatal));
  const AuthHappened happened = talk.last();
  EXPECT_EQ(describe(happened),
            describe({.kind = Kind::kLost, .error = "FATAL: database \"shop\" does not exist", .sqlstate = "3D000"}));
  EXPECT_TRUE(talk.wire.over());
}

// The text alone says nothing: a server in another language, or one that wants to be taken for unknown.
TEST(AuthWire, NoTextIsASqlstate) {
  Talk talk;
  talk.feed(error("28P01", "no:  3D000: here", wire::Severity::kFatal));
  EXPECT_EQ(talk.last().sqlstate, "28P01");
}

// ---- questions

TEST(AuthWire, AUserIsAParameter) {
  Talk talk;
  talk.ask(AuthQuestion::kOwn, "a'; drop");
  std::string expected = message(wire::kParse, std::string_view("\0select own\0\0\0", 14));
  expected += message(wire::kBind, std::string("\0\0\0\0\0\1\0\0\0\x08", 10) + "a'; drop" + std::string("\0\0", 2));
  expected += message(wire::kDescribe, std::string_view("P\0", 2));
  expected += message(wire::kExecute, std::string_view("\0\0\0\0\2", 5)) + message(wire::kSync);
  EXPECT_EQ(talk.sent, expected);
}

TEST(AuthWire, WhatTheQuestionsFind) {
  const auto standard = [](const Cells& cells) { return answered(AuthQuestion::kStandard, answer(4, {cells})); };
  AuthHappened happened = standard({"ann", "secret", "77", "55"});
  EXPECT_EQ(happened.kind, Kind::kRow);
  EXPECT_TRUE(happened.row.found);
  EXPECT_EQ(happened.row.secret.text.view(), "secret");
  EXPECT_EQ(happened.row.valid_until, Micros{77});
  EXPECT_EQ(happened.row.server_now, 55);
  happened = standard({"ann", std::nullopt, std::nullopt, "55"});
  EXPECT_TRUE(happened.row.found && happened.row.secret.empty() && !happened.row.valid_until);
  happened = answered(AuthQuestion::kOwn, answer(2, {{std::nullopt, "x"}}));
  EXPECT_TRUE(happened.kind == Kind::kRow && !happened.row.found);
  happened = answered(AuthQuestion::kOwn, answer(2, {}));
  EXPECT_TRUE(happened.kind == Kind::kRow && !happened.row.found);
  happened = answered(AuthQuestion::kCheck, answer(2, {{"-5", "9"}}));
  EXPECT_TRUE(happened.kind == Kind::kChecked && happened.generation == -5 && happened.server_now == 9);
  happened = answered(AuthQuestion::kProbe, answer(3, {{"t", "md5", std::nullopt}}));
  EXPECT_TRUE(happened.kind == Kind::kProbed && happened.generations);
  EXPECT_EQ(happened.usual.kind, auth::SecretKind::kMd5);
  happened = answered(AuthQuestion::kProbe, answer(3, {{"f", "scram-sha-256", "8000"}}));
  EXPECT_TRUE(!happened.generations && happened.usual.iterations == 8000);
  happened = answered(AuthQuestion::kProbe, answer(3, {{"f", "scram-sha-256", "2147483647"}}));
  EXPECT_EQ(happened.usual.iterations, auth::kScramIterationsDefault);
}

TEST(AuthWire, WhatAQueryOfTheOperatorsMayGetWrong) {
  const std::string end = kDone + ready();
  const std::pair<std::string, std::string> kCases[] = {
      {answer(1, {{"ann"}}), "auth_query returns 1 columns, not 2: user name and password"},
      {answer(3, {{"ann", "x", "y"}, {"bob", "x", "y"}}),
       "auth_query returns 3 columns, not 2: user name and password"},
      {answer(2, {{"ann", "x"}, {"ann", "y"}}), "auth_query returns more than one row for one user"},
      {kBegun + columns(2) + row({"ann", "x"}) + row({"a", "b"}) + message(wire::kPortalSuspended) + ready(),
       "auth_query returns more than one row for one user"},
      {answer(2, {{"bob", "x"}}), "auth_query returns another user than it was asked for"},
      {answer(2, {{"ann", std::string(65536, 'x')}}), "auth_query returns a password that is too long"},
      {kBegun + message(wire::kNoData) + parameter() + end, "the answer has no rows"},
      {kBegun + message(wire::kNoData) + message(wire::kEmptyQueryResponse) + ready(), "the answer has no rows"},
      {error("42P01", "relation \"x\"\ndoes not exist") + ready(), "ERROR: relation \"x\" does not exist"},
      {kBegun + columns(2) + error("22012", "division by zero") + ready(), "ERROR: division by zero"},
      {kBegun + columns(2) + row({"ann", "x"}) + error("22012", "late") + ready(), "ERROR: late"},
  };
  for (const auto& [bytes, why] : kCases) {
    Talk talk;
    talk.ask(AuthQuestion::kOwn);
    talk.feed(bytes);
    const AuthHappened happened = talk.last();
    EXPECT_EQ(happened.kind, Kind::kRefused) << why << ": " << happened.error;
    EXPECT_EQ(happened.error, why);
    EXPECT_FALSE(happened.row.found);
    talk.wire.ask(AuthQuestion::kOwn, "again", "ann");  // the connection is fine
    talk.feed(answer(2, {{"ann", "x"}}));
    EXPECT_TRUE(talk.last().row.found) << why;
  }
}

TEST(AuthWire, ANameThatIsNoTextIsNobodys) {
  for (const char* sqlstate : {"22021", "22P05"}) {
    const AuthHappened happened =
        answered(AuthQuestion::kStandard, error(sqlstate, "invalid byte sequence") + ready());
    EXPECT_TRUE(happened.kind == Kind::kRow && !happened.row.found) << sqlstate;
  }
  EXPECT_EQ(answered(AuthQuestion::kCheck, error("22021", "no") + ready()).kind, Kind::kRefused);
}

// Without what it says users can be looked up, too.
TEST(AuthWire, AProbeThatIsRefusedIsNoLoss) {
  const AuthHappened happened = answered(AuthQuestion::kProbe, error("42501", "no") + ready());
  EXPECT_TRUE(happened.kind == Kind::kProbed && !happened.generations);
  EXPECT_EQ(happened.usual.kind, auth::SecretKind::kScram);
}

TEST(AuthWire, AServerThatEndsSaysWhy) {
  const std::string shutdown = error("57P01", "terminating connection", wire::Severity::kFatal);
  Talk idle;
  idle.feed(kWelcome + shutdown);
  const AuthHappened happened = idle.last();
  EXPECT_EQ(happened.kind, Kind::kLost);
  EXPECT_EQ(happened.error, "FATAL: terminating connection");
  EXPECT_EQ(happened.sqlstate, "") << "it was let in";
  EXPECT_EQ(answered(AuthQuestion::kOwn, kBegun + shutdown).kind, Kind::kLost);
  Talk torn;
  torn.ask(AuthQuestion::kOwn);
  torn.feed(error("XX000", "broken"));
  EXPECT_EQ(torn.last().kind, Kind::kNothing);
  torn.wire.on_end("gone");
  EXPECT_EQ(torn.last().error, "ERROR: broken");
  Talk silent;
  silent.wire.on_end("gone");
  silent.wire.on_end("gone twice");
  EXPECT_EQ(silent.wire.take().error, "gone");
  EXPECT_EQ(silent.wire.take().kind, Kind::kNothing);
}

// ---- however it is cut, and with whatever may come at any moment between

std::string everything(const std::function<void(Talk&)>& feed) {
  Talk talk;
  feed(talk);
  std::string out;
  for (AuthHappened next = talk.wire.take(); next.kind != Kind::kNothing; next = talk.wire.take()) {
    out += describe(next) + "\n";
  }
  return out + talk.sent;
}

TEST(AuthWire, AnyCutMeansTheSame) {
  const std::string bytes = answer(4, {{"ann", "secret", "77", "55"}});
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Talk talk;
    talk.ask(AuthQuestion::kStandard);
    talk.feed(std::string_view(bytes).substr(0, cut));
    if (cut < bytes.size()) {
      EXPECT_EQ(talk.last().kind, Kind::kNothing) << cut;
      EXPECT_LE(talk.need, bytes.size());
    }
    talk.feed(std::string_view(bytes).substr(cut));
    EXPECT_EQ(talk.last().row.secret.text.view(), "secret") << cut;
    EXPECT_EQ(talk.kept(), 0u);
  }
}

TEST(AuthWire, WhatMayComeAtAnyMoment) {
  const std::string notification = message(wire::kNotificationResponse, std::string_view("1234a\0b\0", 8));
  const std::string pieces[] = {
      message(wire::kParseComplete), message(wire::kBindComplete), columns(2), row({"ann", "x"}), kDone, ready()};
  for (const std::string& between : {notice(), parameter(), notification}) {
    Talk talk;
    talk.ask(AuthQuestion::kOwn);
    talk.feed(between);
    for (const std::string& piece : pieces) talk.feed(piece + between);
    EXPECT_TRUE(talk.last().row.found);
    EXPECT_FALSE(talk.wire.over());
  }
}

// ---- hostile servers

TEST(AuthWire, WhatNoPostgresqlSaysEndsTheConnection) {
  const std::string two(columns(2));
  const std::string malformed = "the server sent a malformed ";
  struct Case {
    AuthQuestion question;
    std::string bytes, why;
  };
  const AuthQuestion own = AuthQuestion::kOwn;
  const Case kCases[] = {
      {AuthQuestion::kProbe, answer(3, {{"t", "", "1"}, {"t", "", "1"}}), "more rows than were asked for"},
      {AuthQuestion::kCheck, answer(2, {{"1", "2"}, {"1", "2"}}), "more rows than were asked for"},
      {own, answer(2, {{"ann", "x"}, {"ann", "x"}, {"ann", "x"}}), "more rows than were asked for"},
      {own, answer(7, {{"x"}, {"x"}, {"x"}}), "more rows than were asked for"},
      {AuthQuestion::kCheck, answer(3, {}), malformed + "RowDescription"},
      {own, kBegun + message(wire::kRowDescription, "\1"), malformed + "RowDescription"},
      {own, kBegun + message(wire::kRowDescription, std::string_view("\0\2a\0", 4)), malformed + "RowDescription"},
      {own, kBegun + message(wire::kRowDescription, std::string_view("\0\0more", 6)), malformed + "RowDescription"},
      {own, kBegun + message(wire::kNoData) + row({"ann", "x"}), malformed + "DataRow"},
      {own, kBegun + two + row({"ann"}), malformed + "DataRow"},
      {own, kBegun + two + message(wire::kDataRow, "\1"), malformed + "DataRow"},
      {own, kBegun + two + message(wire::kDataRow, std::string_view("\0\2\0\0\0\7ann", 9)), malformed + "DataRow"},
      {own, kBegun + two + message(wire::kDataRow, std::string_view("\0\2\xff\xff\xff\xfe\0\0\0\0", 10)),
       malformed + "DataRow"},
      {own, kBegun + two + message(wire::kDataRow, std::string_view("\0\2\xff\xff\xff\xff\0\0\0\0z", 11)),
       malformed + "DataRow"},
      {AuthQuestion::kCheck, answer(2, {{"1x", "2"}}), "where a number should be"},
      {AuthQuestion::kCheck, answer(2, {{std::nullopt, "2"}}), "where a number should be"},
      {AuthQuestion::kProbe, answer(3, {{"t", "", "many"}}), "where a number should be"},
      {AuthQuestion::kStandard, answer(4, {{"ann", "x", "1e5", "2"}}), "where a number should be"},
      {own, two, "'T' out of order"},
      {own, kBegun + kBegun, "'1' out of order"},
      {own, kBegun + two + two, "'T' out of order"},
      {own, kBegun + ready(), "'Z' out of order"},
      {own, kBegun + two + row({"ann", "x"}) + ready(), "'Z' out of order"},
      {own, kBegun + two + kDone + kDone, "'C' out of order"},
      {own, answer(2, {}) + ready(), "'Z' out of order"},
      {own, answer(2, {}) + row({"ann", "x"}), "'D' out of order"},
      {own, auth::authentication(auth::AuthCode::kOk), "'R' out of order"},
      {own, kBegun + two + kDone + ready('T'), "in a transaction"},
      {own, message(wire::kReadyForQuery), "out of order"},
      {own, kBegun + message(wire::kCopyOutResponse), "'H' out of order"},
      {own, message(wire::kParameterStatus, "x"), "'S' out of order"},
      {own, message('\x01'), "of an unknown kind"},
      {own, error("42601", "one") + error("42601", "two"), "two errors"},
      {own, std::string("D\0\0\0\3", 5), "impossible length"},
      {own, std::string("D\x7f\xff\xff\xff", 5), "impossible length"},
      {own, std::string("D\0\4\0\0", 5), "impossible length"},
  };
  for (const Case& one : kCases) {
    Talk talk;
    talk.ask(one.question);
    talk.feed(one.bytes);
    const AuthHappened happened = talk.last();
    EXPECT_EQ(happened.kind, Kind::kLost) << one.why;
    EXPECT_NE(happened.error.find(one.why), std::string::npos) << one.why << ": " << happened.error;
    EXPECT_TRUE(talk.wire.over());
    EXPECT_EQ(talk.kept(), 0u) << "nothing is kept of it";
  }
}

// T11.
TEST(AuthWire, WhoSaysTooMuchIsNotListenedTo) {
  Talk in_login, idle, asked;
  idle.feed(kWelcome);
  asked.ask(AuthQuestion::kOwn);
  asked.feed(kBegun + columns(2));
  for (Talk* talk : {&in_login, &idle, &asked}) {
    size_t said = 0;
    for (; said < 4 * kAuthSaidMax && !talk->wire.over(); said += notice().size()) talk->feed(notice());
    EXPECT_LE(said, kAuthSaidMax + notice().size());
    EXPECT_EQ(talk->last().kind, Kind::kLost);
  }
  // Each question anew.
  Talk talk;
  talk.feed(kWelcome);
  const std::string half = message(wire::kNoticeResponse, std::string(kAuthMessageMax - wire::kHeaderSize, 'x'));
  for (int i = 0; i < 10; ++i) {
    talk.wire.ask(AuthQuestion::kOwn, "x", "ann");
    talk.feed(half + half + answer(2, {{"ann", "x"}}));
    ASSERT_TRUE(talk.last().row.found) << i;
  }
}

TEST(AuthWire, AServerThatIsStillUnknownSaysShortMessages) {
  Talk talk;
  std::string head = "R";
  wire::put32(head, 64 * 1024);
  talk.feed(head);
  EXPECT_NE(talk.last().error.find("impossible length"), std::string::npos);
}

// Messages of all kinds in any order, and bytes that are none: what came of them does not depend on the cuts, nothing
// is asked for that is too long, and after the end nothing is kept.
TEST(AuthWire, RandomServers) {
  SEEDED(dice);
  const std::string pieces[] = {kWelcome,
                                kBegun,
                                columns(2),
                                columns(4),
                                row({"ann", "x"}),
                                row({"ann", "x", "1", "2"}),
                                row({std::nullopt, std::nullopt}),
                                kDone,
                                ready(),
                                ready('T'),
                                notice(),
                                parameter(),
                                error("42601", "no"),
                                error("57P01", "end", wire::Severity::kFatal),
                                message(wire::kNoData),
                                message(wire::kPortalSuspended),
                                auth::authentication(auth::AuthCode::kCleartextPassword),
                                auth::authentication(auth::AuthCode::kMd5Password, "salt"),
                                answer(2, {{"ann", "x"}}),
                                answer(4, {{"ann", "x", "1", "2"}})};
  int found = 0, lost = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = dice.below(4) ? kWelcome : "";
    for (uint64_t i = dice.below(7); i > 0; --i) {
      std::string piece =
          dice.below(12) ? pieces[dice.below(std::size(pieces))] : random_bytes(dice, 30, "RZTD12\0\1");
      if (!piece.empty() && dice.below(10) == 0)
        piece[dice.below(piece.size())] ^= static_cast<char>(1u << dice.below(8));
      bytes += piece;
    }
    const uint64_t question = dice.below(4);
    const auto talk = [&](const std::function<size_t()>& next_size) {
      return everything([&](Talk& talk) {
        for (size_t at = 0; at < bytes.size();) {
          const size_t size = std::min(bytes.size() - at, next_size());
          talk.feed(std::string_view(bytes).substr(at, size));
          at += size;
          EXPECT_LE(talk.need, kAuthMessageMax);
          EXPECT_TRUE(!talk.wire.over() || talk.kept() == 0);
        }
      });
    };
    const std::string whole = talk([&] { return bytes.size(); });
    EXPECT_EQ(whole, talk([&] { return 1 + dice.below(9); }));
    // And with a question as soon as there can be one.
    const auto asking = [&](const std::function<size_t()>& next_size) {
      return everything([&](Talk& talk) {
        bool asked = false;
        for (size_t at = 0; at < bytes.size();) {
          const bool welcome = !asked && at < kWelcome.size() && bytes.starts_with(kWelcome);
          const size_t size = welcome ? kWelcome.size() - at : std::min(bytes.size() - at, next_size());
          talk.feed(std::string_view(bytes).substr(at, size));
          at += size;
          if (!welcome) continue;
          asked = true;
          const auto which = static_cast<AuthQuestion>(question);
          talk.wire.ask(which, "select", is_of_user(which) ? "ann" : "");
        }
      });
    };
    const std::string answers = asking([&] { return bytes.size(); });
    EXPECT_EQ(answers, asking([&] { return 1 + dice.below(9); }));
    found += answers.find("found") != std::string::npos;
    lost += answers.find(std::to_string(static_cast<int>(Kind::kLost)) + " ") != std::string::npos;
  }
  EXPECT_GT(found, 20);
  EXPECT_GT(lost, 300);
}

}  // namespace
}  // namespace berth::link
