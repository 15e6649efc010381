// Fuzzes sessions of the console: Query, Parse, Bind, Describe, Execute, Close, Sync and Flush, well made or not, in
// any pieces, on the bench of the unit tests (one worker, made-up databases). A model of what PostgreSQL's manual
// says of the protocol goes along: each message has its answer, in order; after an error of the extended protocol
// nothing until Sync; each Query and Sync ends with one ReadyForQuery; a row has as many cells as its description has
// columns, in the formats that Bind has asked for.
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/assert.h"
#include "fuzz/input.h"
#include "unit/admin_support.h"
#include "wire/tags.h"

namespace berth::admin {

using fuzz::Input;

// A message as the model remembers it.
struct Request {
  char tag;
  std::string statement, portal;  // of Describe and Close one of them, see `kind`
  char kind = 0;
  Formats formats;      // of the results, of Bind
  bool spoilt = false;  // its body is any bytes: these say nothing of formats
};

struct Columns {
  std::vector<uint32_t> types;  // none: no rows
  Formats formats;
};

static uint16_t take16(std::string_view& rest) {
  ASSERT(rest.size() >= 2);
  const uint16_t value = wire::read16(rest.data());
  rest.remove_prefix(2);
  return value;
}
static uint32_t take32(std::string_view& rest) {
  ASSERT(rest.size() >= 4);
  const uint32_t value = wire::read32(rest.data());
  rest.remove_prefix(4);
  return value;
}

static Columns read_description(std::string_view body) {
  Columns out;
  for (uint16_t left = take16(body); left > 0; --left) {
    std::string_view name;
    ASSERT(wire::take_cstring(body, name) && !name.empty());
    ASSERT(take32(body) == 0 && take16(body) == 0);
    out.types.push_back(take32(body));
    take16(body);
    take32(body);
    out.formats.push_back(static_cast<int16_t>(take16(body)));
  }
  ASSERT(body.empty() && !out.types.empty());
  return out;
}

static void check_row(std::string_view body, const Columns& columns) {
  ASSERT(take16(body) == columns.types.size());
  for (size_t i = 0; i < columns.types.size(); ++i) {
    const uint32_t size = take32(body);
    if (size == UINT32_MAX) continue;
    ASSERT(size <= body.size());
    const std::string_view cell = body.substr(0, size);
    body.remove_prefix(size);
    const bool number = columns.types[i] == 23 || columns.types[i] == 20;
    if (number && columns.formats[i] == 1) ASSERT(size == (columns.types[i] == 23 ? 4 : 8));
    if (number && columns.formats[i] == 0) {
      ASSERT(!cell.empty() && cell.find_first_not_of("-0123456789") == std::string_view::npos);
    }
    if (columns.types[i] == 16) ASSERT(size == 1);
  }
  ASSERT(body.empty());
}

// What the client has asked and not been answered yet, and what it may believe from the answers.
class Model {
 public:
  void asked(Request request) {
    skipping_ = skipping_ && request.tag != 'S';
    if (!skipping_) requests_.push_back(std::move(request));
  }
  void take(const Answer& answer);
  // All is answered, or the only one under way is a SHUTDOWN, which has no answer.
  size_t left() const { return requests_.size(); }

 private:
  void next() { requests_.pop_front(), step_ = 0; }
  void failed() {
    next();
    // "... the backend issues ErrorResponse, then reads and discards messages until a Sync is reached".
    while (!requests_.empty() && requests_.front().tag != 'S') requests_.pop_front();
    skipping_ = requests_.empty();
  }
  void take_extended(const Answer& answer, const Request& request);

  std::deque<Request> requests_;
  bool skipping_ = false;
  int step_ = 0;                              // within the answer to the first one
  Columns columns_;                           // of the rows that come
  std::map<std::string, Columns> described_;  // portals
  std::map<std::string, bool> statements_;
  std::map<std::string, std::optional<Formats>> portals_;  // without formats: who knows which
};

void Model::take(const Answer& answer) {
  while (!requests_.empty() && requests_.front().tag == 'H') next();  // Flush has no answer
  if (answer.tag == 'N') return;                                      // a notice may come at any time
  ASSERT(!requests_.empty());
  const Request& request = requests_.front();
  if (request.tag != 'Q' && request.tag != 'S') return take_extended(answer, request);
  if (answer.tag == 'Z') {
    ASSERT(answer.body == "I" || answer.body == "T");
    ASSERT(request.tag == 'S' || step_ != 0);  // a Query has an answer before that
    if (answer.body == "I" || request.tag == 'Q') portals_.clear(), described_.clear();
    return next();
  }
  ASSERT(request.tag == 'Q' && step_ >= 0);  // -1: an error, behind which nothing comes
  switch (answer.tag) {
    case 'T':
      ASSERT(step_ != 2);
      columns_ = read_description(answer.body);
      for (const int16_t format : columns_.formats) ASSERT(format == 0);
      step_ = 2;
      break;
    case 'D':
      ASSERT(step_ == 2);
      check_row(answer.body, columns_);
      break;
    case 'C':
    case 'I': step_ = 1; break;
    default: ASSERT(answer.tag == 'E'); step_ = -1;
  }
}

void Model::take_extended(const Answer& answer, const Request& request) {
  if (answer.tag == 'E') return failed();
  switch (request.tag) {
    case 'P':
      ASSERT(answer.tag == '1' && (request.statement.empty() || !statements_.contains(request.statement)));
      statements_[request.statement] = true;
      return next();
    case 'B':
      ASSERT(answer.tag == '2' && statements_.contains(request.statement));
      portals_[request.portal] = request.spoilt ? std::nullopt : std::optional(request.formats);
      described_.erase(request.portal);
      return next();
    case 'C':
      ASSERT(answer.tag == '3');
      if (request.kind == 'S') statements_.erase(request.statement);
      if (request.kind == 'P') portals_.erase(request.portal), described_.erase(request.portal);
      return next();
    case 'D': {
      if (request.kind == 'S' && step_ == 0) {
        ASSERT(answer.tag == 't' && statements_.contains(request.statement));
        step_ = 1;
        return;
      }
      ASSERT(answer.tag == 'n' || answer.tag == 'T');
      Columns columns;
      if (answer.tag == 'T') columns = read_description(answer.body);
      if (request.kind == 'P') {
        ASSERT(portals_.contains(request.portal));
        const std::optional<Formats>& formats = portals_[request.portal];
        for (size_t i = 0; formats && i < columns.formats.size(); ++i) {
          const int16_t wanted = formats->empty() ? int16_t{0} : (*formats)[formats->size() == 1 ? 0 : i];
          ASSERT(columns.formats[i] == wanted);
        }
        described_[request.portal] = columns;
      }
      return next();
    }
    case 'E': {
      ASSERT(portals_.contains(request.portal));
      const auto described = described_.find(request.portal);
      if (answer.tag == 'D') {
        if (described != described_.end()) check_row(answer.body, described->second);
        return;
      }
      ASSERT(answer.tag == 'C' || answer.tag == 's' || answer.tag == 'I');
      return next();
    }
    default: ASSERT(false);
  }
}

static std::string any_sql(Input& dice) {
  constexpr std::string_view kSql[] = {"SHOW LISTS",
                                       "SHOW STATE",
                                       "SHOW POOLS",
                                       "SHOW CLIENTS",
                                       "SHOW CONFIG",
                                       "SHOW HELP",
                                       "SHOW VERSION",
                                       "SHOW DATABASES",
                                       "SHOW STATS",
                                       "SHOW TOTALS",
                                       "SHOW QUEUE",
                                       "SHOW LIMITS",
                                       "SHOW TLS",
                                       "SHOW MEM",
                                       "SHOW BROKER",
                                       "PAUSE",
                                       "PAUSE shop",
                                       "PAUSE $1 FOR $2",
                                       "RESUME",
                                       "RESUME $1",
                                       "KILL shop",
                                       "RECONNECT",
                                       "WAIT_CLOSE",
                                       "DISABLE $1",
                                       "ENABLE shop",
                                       "RELOAD",
                                       "BEGIN",
                                       "COMMIT",
                                       "SET verbose = 1",
                                       "SET query_timeout = $1",
                                       "SELECT 1",
                                       "SELECT version()",
                                       "SHOW client_encoding",
                                       "SET NAMES 'x'",
                                       "DISCARD ALL",
                                       "SUSPEND",
                                       "KILL_CLIENT 5",
                                       "RESET_THROTTLE",
                                       "",
                                       ";"};
  std::string sql;
  for (size_t i = 0, count = 1 + dice.below(8) / 6; i < count; ++i) {
    const size_t which = dice.below(std::size(kSql) + 4);
    sql += which < std::size(kSql) ? std::string(kSql[which]) : dice.text(60);
    if (i + 1 < count) sql += ';';
  }
  return sql.substr(0, sql.find('\0'));
}

static std::string any_name(Input& dice) {
  constexpr std::string_view kNames[] = {"", "a", "b", "long name"};
  return std::string(kNames[dice.below(std::size(kNames))]);
}

static void put_formats(Input& dice, std::string& out, Formats* formats) {
  const size_t count = dice.below(8) < 6 ? dice.below(3) : dice.below(40);
  wire::put16(out, static_cast<uint16_t>(count));
  for (size_t i = 0; i < count; ++i) {
    const size_t format = dice.below(2);
    wire::put16(out, static_cast<uint16_t>(format));
    if (formats) formats->push_back(static_cast<int16_t>(format));
  }
}

// The body of one message; what the model needs to know of it goes to `request`.
static std::string any_body(Input& dice, Request& request) {
  std::string out;
  switch (request.tag) {
    case 'Q': wire::put_cstring(out, any_sql(dice)); break;
    case 'P':
      wire::put_cstring(out, request.statement = any_name(dice));
      wire::put_cstring(out, any_sql(dice));
      wire::put16(out, static_cast<uint16_t>(dice.below(3)));
      for (size_t left = static_cast<unsigned char>(out.back()); left > 0; --left) {
        wire::put32(out, dice.below(2) ? 25 : 23);
      }
      break;
    case 'B': {
      wire::put_cstring(out, request.portal = any_name(dice));
      wire::put_cstring(out, request.statement = any_name(dice));
      put_formats(dice, out, nullptr);
      const size_t count = dice.below(4);
      wire::put16(out, static_cast<uint16_t>(count));
      for (size_t i = 0; i < count; ++i) {
        const size_t form = dice.below(4);
        const std::string value = form == 0 ? "shop" : form == 1 ? "100" : dice.text(80);
        wire::put32(out, form == 3 ? UINT32_MAX : static_cast<uint32_t>(value.size()));
        if (form != 3) out += value;
      }
      put_formats(dice, out, &request.formats);
      break;
    }
    case 'D':
    case 'C':
      request.kind = dice.below(2) ? 'P' : 'S';
      out += request.kind;
      wire::put_cstring(out, (request.kind == 'P' ? request.portal : request.statement) = any_name(dice));
      break;
    case 'E':
      wire::put_cstring(out, request.portal = any_name(dice));
      wire::put32(out, static_cast<uint32_t>(dice.below(8)));
      break;
    default: break;
  }
  return out;
}

// Any bytes may be a message after all.
static void read_names(std::string_view body, Request& request) {
  request.spoilt = true;
  request.kind = 0;
  std::string_view first, second;
  if ((request.tag == 'D' || request.tag == 'C') && !body.empty()) {
    request.kind = body[0];
    body.remove_prefix(1);
  }
  if (wire::take_cstring(body, first)) wire::take_cstring(body, second);
  request.portal = first;
  request.statement = request.tag == 'B' ? second : first;
}

class Session {
 public:
  explicit Session(Input dice) : dice_(dice), bench_(1) {
    client_ = bench_.connect(dice_.below(4) == 3 ? "reader" : "boss");
    bench_.dispatcher.at_once = dice_.below(2) == 0;
    conn_ = client_->conn;
    conn_->written.clear();
  }

  void run() {
    for (int turns = 0; dice_.left() && turns < 60 && !closed_; ++turns) {
      const size_t what = dice_.below(32);
      if (what >= 30) {
        bench_.tick();
      } else if (what >= 28) {
        bench_.dispatcher.run();
      } else {
        constexpr std::string_view kTags = "QQQQPPPPPBBBBBBDDDEEEEEECSSSSH";
        send(kTags[what], dice_.below(32) == 31);
      }
      look();
    }
    send('S', false);
    for (int i = 0; i < 500 && !closed_ && model_.left() > 0; ++i) {
      bench_.dispatcher.run();
      bench_.tick();
      deliver({});
      look();
    }
    // Whatever waits has an end here, where no server is in use; only SHUTDOWN has no answer.
    ASSERT(closed_ || model_.left() == 0 || bench_.dispatcher.shutdown == session::Shutdown::kNow);
  }

 private:
  void send(char tag, bool spoilt) {
    Request request{tag, {}, {}, 0, {}};
    std::string body = any_body(dice_, request), message;
    if (spoilt && tag != 'Q' && tag != 'S' && tag != 'H') body = dice_.text(40);
    {
      wire::Message whole(message, tag);
      message += body;
    }
    if (spoilt) read_names(body, request);
    model_.asked(request);
    const size_t cut = dice_.below(4) == 3 ? dice_.below(message.size()) : 0;
    deliver(std::string_view(message).substr(0, cut));
    deliver(std::string_view(message).substr(cut));
  }
  void deliver(std::string_view bytes) {
    closed_ = closed_ || conn_->closed;
    if (!closed_) bench_.engine.deliver(conn_, bytes);
    closed_ = closed_ || conn_->closed;
  }
  void look() {
    closed_ = closed_ || conn_->closed;
    for (const Answer& answer : Bench::answers(conn_)) {
      if (!closed_) model_.take(answer);
    }
  }

  Input dice_;
  Bench bench_;
  Client* client_ = nullptr;
  net::Conn* conn_ = nullptr;  // lives until the bench reaps it
  Model model_;
  bool closed_ = false;
};

}  // namespace berth::admin

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  berth::admin::Session({data, size}).run();
  return 0;
}
