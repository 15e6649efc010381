// The queue of what a server still owes: one entry per message that it will answer, in the order of sending, each
// with the client that gets the answer. Replies that the broker makes itself stand in the same queue, so all keep
// their order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/statements.h"

namespace berth::session {

class Client;

struct Request {
  enum class Kind : uint8_t {
    kQuery,          // simple Query: everything up to ReadyForQuery
    kFunction,       // FunctionCall: likewise
    kSync,           // ReadyForQuery
    kParse,          // ParseComplete
    kBind,           // BindComplete
    kDescribe,       // RowDescription or NoData, after ParameterDescription for a statement
    kExecute,        // CommandComplete, EmptyQueryResponse or PortalSuspended, after rows or a COPY
    kClose,          // CloseComplete
    kCopyEnd,        // CopyDone or CopyFail: nothing, but a Sync before it was swallowed by the COPY
    kSwallowed,      // a Sync that a COPY has swallowed: nothing
    kCopyOver,       // a kCopyEnd that a COPY of the request before it has read: nothing
    kParsedAlready,  // nothing was sent: ParseComplete is the broker's, since the server has the statement
    kClosedAlready,  // nothing was sent: CloseComplete is the broker's
  };
  // What a DEALLOCATE or DISCARD ALL has changed, put back when PostgreSQL skips or refuses it. Rare, so apart.
  struct Undo {
    std::string name;             // the client's name of the statement
    pool::Statement previous;     // what the client had under that name before
    bool all_statements = false;  // both sides' statements
    pool::ClientStatements of_client;
    pool::ServerStatements of_server;
  };
  Kind kind = Kind::kQuery;
  bool on_server : 1 = false;  // kParse, kClose: the server's cache has, or has no more, `statement` because of it
  bool own : 1 = false;        // the broker's own query: its failure matters to the broker
  bool settings_follow : 1 = false;  // a RESET or DISCARD ALL: the client's own settings are set right behind it
  bool unnamed : 1 = false;          // kParse, kClose: of the unnamed statement; kQuery, which drops it
  bool named : 1 = false;            // kParse, kClose and those answered already: of `name`, the client's
  bool sets_untracked : 1 = false;   // a SET of what PostgreSQL does not report
  // kQuery, kFunction, kSync: its ReadyForQuery tells the settings of named statements of its batch, of the unnamed
  // one.
  bool settles : 1 = false;
  bool settles_unnamed : 1 = false;
  uint32_t place = 0;         // kBind, kDescribe of a name: where the client had it (ClientStatements::name_of)
  Client* owner = nullptr;    // null: the broker's own; the answer goes to nobody
  pool::Statement statement;  // the statement meant, if known
  pool::Statement previous;   // if `unnamed` or `named`: what the client had there before
  std::string name;           // valid if `named`; keeps its memory for the next of this place
  std::unique_ptr<Undo> undo;

  void change_name(std::string_view of, const pool::Statement* before) {
    named = true;
    name = of;
    if (before) previous = *before;
  }
  std::string_view changed_name() const { return named ? name : undo ? undo->name : std::string_view(); }
  bool extended() const { return kind != Kind::kQuery && kind != Kind::kFunction; }
  bool read_by_copy() const { return kind == Kind::kSwallowed || kind == Kind::kCopyOver; }
  bool silent() const { return kind == Kind::kCopyEnd || read_by_copy(); }
  bool synthetic() const { return kind == Kind::kParsedAlready || kind == Kind::kClosedAlready; }
  // Answered by ReadyForQuery.
  bool ends_with_ready() const { return kind == Kind::kQuery || kind == Kind::kFunction || kind == Kind::kSync; }
};

// A ring that grows by doubling up to kRequestsMax and some; no allocation once it has its size.
class RequestQueue {
 public:
  bool empty() const { return head_ == tail_; }
  size_t size() const { return tail_ - head_; }
  // Where the next entry will stand, counted from the first ever; and whether an entry before `position` is still
  // here.
  uint64_t end() const { return taken_ + size(); }
  bool pending(uint64_t position) const { return !empty() && taken_ < position; }
  Request& push() {
    if (size() == ring_.size()) grow();
    return ring_[tail_++ & mask()];
  }
  Request& front() { return ring_[head_ & mask()]; }
  Request& back() { return ring_[(tail_ - 1) & mask()]; }
  Request& at(size_t index) { return ring_[(head_ + index) & mask()]; }
  void pop() {
    clear_entry(front());
    ++head_;
    ++taken_;
  }
  void clear() {
    while (!empty()) pop();
  }

 private:
  static constexpr size_t kNameKept = 64;  // a longer name's memory is not: names may have 64 kB
  static void clear_entry(Request& entry) {
    if (entry.statement || entry.previous || entry.undo || entry.named) {
      entry.statement.reset();
      entry.previous.reset();
      entry.undo.reset();
      if (entry.name.capacity() > kNameKept) std::string().swap(entry.name);
    }
    entry.on_server = entry.own = entry.settings_follow = entry.unnamed = entry.named = entry.sets_untracked = false;
    entry.settles = entry.settles_unnamed = false;
    entry.owner = nullptr;
  }
  size_t mask() const { return ring_.size() - 1; }
  void grow() {
    std::vector<Request> larger(ring_.empty() ? 16 : ring_.size() * 2);
    const size_t count = size();
    for (size_t i = 0; i < count; ++i) larger[i] = std::move(at(i));
    ring_ = std::move(larger);
    head_ = 0;
    tail_ = count;
  }
  std::vector<Request> ring_;
  size_t head_ = 0, tail_ = 0;
  uint64_t taken_ = 0;
};

}  // namespace berth::session
