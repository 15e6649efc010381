#include "console_client.h"

#include <arpa/inet.h>
#include <poll.h>

#include <cstring>

#include "guard.h"

namespace berth {

namespace {

constexpr int kParametersMax = 64;  // of a connection: libpq knows fewer
// For so long a wait is a plain poll(2). A console of this machine has answered by then, and a wait set (six system
// calls to make and to drop, and a wakeup that goes by way of another processor) would cost more than all the rest. A
// signal ends it, too; one that comes in the moment before it is seen when this time is over.
constexpr long kQuickMs = 10;
constexpr const char* kAllowed[] = {"host", "hostaddr", "port", "dbname", "user", "sslmode"};

enum class Phase { kConnecting, kAsking, kDone };

// One broker's connection. Everything that has to be given back stands here, where close() finds it after an error.
struct Link {
  Phase phase = Phase::kConnecting;
  PGconn* conn = nullptr;
  PGresult* result = nullptr;
  PQconninfoOption* options = nullptr;
  bool has_descriptor = false;  // counted in PostgreSQL's budget of descriptors
  bool wants_write = true;
  int command = 0;
  int place = -1;         // in the wait set
  uint32 waited_for = 0;  // there
};

bool allowed(const char* keyword) {
  for (const char* name : kAllowed) {
    if (strcmp(name, keyword) == 0) return true;
  }
  return false;
}

bool same(const char* one, const char* other) {
  return strcmp(one, other) == 0;
}

// Whether libpq would have to look a host up, which blocks and cannot be interrupted: one of a list of hosts is
// neither an address nor a Unix socket's directory.
bool has_name(const char* hosts) {
  for (const char* at = hosts;; at++) {
    const size_t length = strcspn(at, ",");
    char host[INET6_ADDRSTRLEN + 1] = "";
    char address[sizeof(in6_addr)];
    if (length < sizeof host) memcpy(host, at, length);
    if (char* scope = strchr(host, '%')) *scope = 0;
    const bool is_path = length == 0 || *at == '/' || *at == '@';
    if (!is_path && inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1) return true;
    at += length;
    if (!*at) return false;
  }
}

class Exchange {
 public:
  Exchange(const Question& question, Answers& answers) : question_(question), answers_(answers) {
    links_ = static_cast<Link*>(palloc(sizeof(Link) * static_cast<Size>(question.target_count + 1)));
    for (int i = 0; i < question.target_count; i++) links_[i] = Link();
    INSTR_TIME_SET_CURRENT(started_);
  }

  void run() {
    const Size room = static_cast<Size>(question_.target_count + 2);
    events_ = static_cast<WaitEvent*>(palloc(sizeof(WaitEvent) * room));
    polled_ = static_cast<pollfd*>(palloc(sizeof(pollfd) * room));
    for (int i = 0; i < question_.target_count; i++) connect(i);
    while (any_open()) {
      const long left = time_left();
      if (left <= 0) return out_of_time();
      const long quick = left - (question_.timeout_ms - kQuickMs);
      if (quick > 0) {
        wait_quickly(Min(quick, left));
      } else {
        wait(left);
      }
    }
  }

  void close_all() {
    free_wait_set();
    for (int i = 0; i < question_.target_count; i++) close(links_[i]);
  }

 private:
  // PostgreSQL's own functions that return a set may be called again before they end, so nothing is kept in statics.
  const Question& question_;
  Answers& answers_;
  Link* links_ = nullptr;
  WaitEventSet* wait_set_ = nullptr;
  WaitEvent* events_ = nullptr;
  pollfd* polled_ = nullptr;
  instr_time started_{};

  bool any_open() const {
    for (int i = 0; i < question_.target_count; i++) {
      if (links_[i].phase != Phase::kDone) return true;
    }
    return false;
  }

  long time_left() const {
    instr_time now;
    INSTR_TIME_SET_CURRENT(now);
    INSTR_TIME_SUBTRACT(now, started_);
    return question_.timeout_ms - static_cast<long>(INSTR_TIME_GET_MILLISEC(now));
  }

  void close(Link& link) {
    // A descriptor that is closed leaves the set by itself, and its number comes again: the others need a new set.
    if (link.place >= 0) free_wait_set();
    if (link.result) PQclear(link.result);
    if (link.conn) PQfinish(link.conn);
    if (link.options) PQconninfoFree(link.options);
    if (link.has_descriptor) ReleaseExternalFD();
    link = Link();
    link.phase = Phase::kDone;
  }

  void free_wait_set() {
    if (!wait_set_) return;
    FreeWaitEventSet(wait_set_);
    wait_set_ = nullptr;
    for (int i = 0; i < question_.target_count; i++) links_[i].place = -1;
  }

  // The rest of what was asked of this broker is not answered.
  void fail(int target, const char* why) {
    const int command = links_[target].command;
    const char* text = one_line(why);  // it may lie in the connection
    close(links_[target]);
    ereport(WARNING, (errcode(ERRCODE_CONNECTION_FAILURE),
                      errmsg("broker \"%s\" cannot be asked: %s", question_.targets[target].name, text)));
    answers_.on_problem(target, command, text);
  }

  void out_of_time() {
    for (int i = 0; i < question_.target_count; i++) {
      const Link& link = links_[i];
      if (link.phase == Phase::kDone) continue;
      fail(i, link.phase == Phase::kConnecting
                  ? psprintf("no connection within %d ms", question_.timeout_ms)
                  : psprintf("no answer to %s within %d ms", question_.commands[link.command], question_.timeout_ms));
    }
  }

  // Opening
  // ------------------------------------------------------------------------------------------------------------

  void connect(int target) {
    Link& link = links_[target];
    const Target& who = question_.targets[target];
    if (who.secret && !*who.conninfo) return fail(target, "it has no listener that this database could reach");
    char* mistake = nullptr;
    link.options = PQconninfoParse(who.conninfo, &mistake);
    if (!link.options) {
      const char* text = one_line(mistake ? mistake : "out of memory");
      PQfreemem(mistake);
      return fail(target, text);
    }
    const char* keywords[kParametersMax + 1] = {"application_name", "gssencmode", "password"};
    const char* values[kParametersMax + 1] = {"pgberth extension", "disable", who.secret};
    int count = who.secret ? 3 : 2;
    const char* host = "";
    bool has_address = false;
    for (const PQconninfoOption* option = link.options; option->keyword; option++) {
      if (!option->val) continue;
      if (const char* why = refusal(who, option->keyword)) return fail(target, why);
      if (same(option->keyword, "host")) host = option->val;
      if (same(option->keyword, "hostaddr")) has_address = *option->val != 0;
      if (same(option->keyword, "application_name") || same(option->keyword, "gssencmode")) continue;
      if (count == kParametersMax) return fail(target, "too many parameters");
      keywords[count] = option->keyword;
      values[count++] = option->val;
    }
    keywords[count] = values[count] = nullptr;
    if (!has_address && has_name(host)) {
      return fail(target, psprintf("to look \"%s\" up could take any time, its address is needed: hostaddr", host));
    }
    if (!AcquireExternalFD()) return fail(target, "this backend has too many open files");
    link.has_descriptor = true;
    link.conn = PQconnectStartParams(keywords, values, 0);
    if (!link.conn) return fail(target, "out of memory");
    if (PQstatus(link.conn) == CONNECTION_BAD) return fail(target, PQerrorMessage(link.conn));
    PQsetNoticeProcessor(
        link.conn, [](void*, const char*) {}, nullptr);
    if (PQstatus(link.conn) == CONNECTION_MADE) on_ready(target);  // a Unix socket: nothing to wait for
  }

  // Whoever may register a broker must not make the server's operating system user open its files or use its
  // identity.
  static const char* refusal(const Target& who, const char* keyword) {
    if (who.secret) return allowed(keyword) ? nullptr : psprintf("parameter %s is not allowed here", keyword);
    return same(keyword, "password") ? "berth.brokers may not hold a password, use passfile" : nullptr;
  }

  void on_connected(int target) {
    Link& link = links_[target];
    // Without a password the other side may have let us in as the operating system user of the server (peer, trust).
    if (question_.targets[target].secret && !PQconnectionUsedPassword(link.conn)) {
      return fail(target, "it did not ask for the secret that it registered");
    }
    PQsetnonblocking(link.conn, 1);
    link.phase = Phase::kAsking;
    send(target);
  }

  // Asking
  // -------------------------------------------------------------------------------------------------------------

  void send(int target) {
    Link& link = links_[target];
    if (link.command == question_.command_count) return close(link);
    if (!PQsendQuery(link.conn, question_.commands[link.command])) return fail(target, PQerrorMessage(link.conn));
    flush(target);
  }

  void flush(int target) {
    Link& link = links_[target];
    const int rest = PQflush(link.conn);
    if (rest < 0) return fail(target, PQerrorMessage(link.conn));
    link.wants_write = rest > 0;
  }

  void on_ready(int target) {
    Link& link = links_[target];
    if (link.phase == Phase::kConnecting) {
      const PostgresPollingStatusType status = PQconnectPoll(link.conn);
      if (status == PGRES_POLLING_OK) return on_connected(target);
      if (status == PGRES_POLLING_FAILED) return fail(target, PQerrorMessage(link.conn));
      link.wants_write = status == PGRES_POLLING_WRITING;
      // The socket may be another one with the same number, for the next address or the next try: libpq begins each
      // by waiting to write.
      if (link.wants_write) free_wait_set();
      return;
    }
    if (!PQconsumeInput(link.conn)) return fail(target, PQerrorMessage(link.conn));
    if (link.wants_write) flush(target);
    while (link.phase == Phase::kAsking && !PQisBusy(link.conn)) {
      link.result = PQgetResult(link.conn);
      if (link.result) {
        take(target);
      } else {
        link.command++;
        send(target);
      }
    }
  }

  void take(int target) {
    Link& link = links_[target];
    const ExecStatusType status = PQresultStatus(link.result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
      answers_.on_result(target, link.command, link.result);
    } else if (status == PGRES_FATAL_ERROR && PQstatus(link.conn) == CONNECTION_OK) {
      refused(target);
    } else if (status != PGRES_EMPTY_QUERY) {
      return fail(target, status == PGRES_FATAL_ERROR ? PQresultErrorMessage(link.result) : "an unexpected answer");
    }
    PQclear(link.result);
    link.result = nullptr;
  }

  // The broker answered with an error; the next command may still go well.
  void refused(int target) {
    const Link& link = links_[target];
    const char* primary = PQresultErrorField(link.result, PG_DIAG_MESSAGE_PRIMARY);
    const char* why = one_line(primary ? primary : PQresultErrorMessage(link.result));
    if (link.command < question_.required) {
      ereport(WARNING, (errmsg("broker \"%s\" refuses %s: %s", question_.targets[target].name,
                               question_.commands[link.command], why)));
    }
    answers_.on_problem(target, link.command, why);
  }

  // Waiting
  // ------------------------------------------------------------------------------------------------------------

  // While it connects libpq says which one it waits for; later what comes is always read.
  static uint32 wanted(const Link& link) {
    const uint32 read = link.phase == Phase::kAsking || !link.wants_write ? WL_SOCKET_READABLE : 0;
    return read | (link.wants_write ? WL_SOCKET_WRITEABLE : 0);
  }

  // Made once and kept, since it costs more than what it waits for, unless a socket has gone or may have changed.
  void fill_wait_set() {
    wait_set_ = create_wait_set(question_.target_count + 2);
    AddWaitEventToSet(wait_set_, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, nullptr);
    AddWaitEventToSet(wait_set_, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, nullptr, nullptr);
    for (int i = 0; i < question_.target_count; i++) {
      Link& link = links_[i];
      if (link.phase == Phase::kDone) continue;
      link.waited_for = wanted(link);
      link.place = AddWaitEventToSet(wait_set_, link.waited_for, PQsocket(link.conn), nullptr, &link);
    }
  }

  void prepare_wait_set() {
    for (int i = 0; i < question_.target_count; i++) {
      if (links_[i].phase != Phase::kDone && PQsocket(links_[i].conn) < 0) fail(i, "the connection has no socket");
    }
    if (!any_open()) return;
    if (!wait_set_) return fill_wait_set();
    for (int i = 0; i < question_.target_count; i++) {
      Link& link = links_[i];
      if (link.phase == Phase::kDone || link.waited_for == wanted(link)) continue;
      link.waited_for = wanted(link);
      ModifyWaitEvent(wait_set_, link.place, link.waited_for, nullptr);
    }
  }

  void wait_quickly(long timeout_ms) {
    int count = 0;
    for (int i = 0; i < question_.target_count; i++) {
      const Link& link = links_[i];
      const uint32 events = wanted(link);
      polled_[i] = {link.phase == Phase::kDone ? -1 : PQsocket(link.conn), 0, 0};
      polled_[i].events = static_cast<short>((events & WL_SOCKET_READABLE ? POLLIN : 0) |
                                             (events & WL_SOCKET_WRITEABLE ? POLLOUT : 0));
    }
    pgstat_report_wait_start(PG_WAIT_EXTENSION);
    count = poll(polled_, static_cast<nfds_t>(question_.target_count), static_cast<int>(timeout_ms));
    pgstat_report_wait_end();
    CHECK_FOR_INTERRUPTS();
    for (int i = 0; count > 0 && i < question_.target_count; i++) {
      if (polled_[i].revents) on_ready(i);
    }
  }

  void wait(long timeout_ms) {
    prepare_wait_set();
    if (!wait_set_) return;  // nobody is left to wait for
    const int count = WaitEventSetWait(wait_set_, timeout_ms, events_, question_.target_count + 2, PG_WAIT_EXTENSION);
    for (int i = 0; i < count; i++) {
      if (events_[i].events & WL_LATCH_SET) ResetLatch(MyLatch);
    }
    CHECK_FOR_INTERRUPTS();
    for (int i = 0; i < count; i++) {
      if (Link* link = static_cast<Link*>(events_[i].user_data)) on_ready(static_cast<int>(link - links_));
    }
  }
};

}  // namespace

void ask(const Question& question, Answers& answers) {
  Exchange exchange(question, answers);
  guarded([&] { exchange.run(); }, [&] { exchange.close_all(); });
}

const char* one_line(const char* message) {
  const size_t length = strcspn(message, "\r\n");
  return valid_text(message, static_cast<int>(length));
}

const char* valid_text(const char* bytes, int length) {
  char* text = pnstrdup(bytes, static_cast<Size>(length));
  if (pg_verifymbstr(text, length, true)) return text;
  for (char* at = text; *at; at++) {
    if (static_cast<unsigned char>(*at) >= 0x80) *at = '?';
  }
  return text;
}

}  // namespace berth
