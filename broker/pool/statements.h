// Prepared statements of the whole process: what a statement is (text, parameter types, the settings under which it
// was parsed), its one name on every server, and which server has it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/shared_table.h"
#include "pool/params.h"
#include "wire/frontend.h"

namespace berth::pool {

// Set once, by any thread. Copied along when what has it is moved into its table.
class Mark {
 public:
  Mark() = default;
  Mark(Mark&& other) noexcept : set_(other) {}
  void set() const { set_.store(true, std::memory_order_relaxed); }
  operator bool() const { return set_.load(std::memory_order_relaxed); }  // NOLINT(google-explicit-constructor)

 private:
  mutable std::atomic<bool> set_{false};
};

struct StatementData {
  std::string sql;
  std::string types;  // count and OIDs, in wire form
  // plan_params of the client at its Parse. Null: not known yet (is_open); its client's worker sets it.
  mutable Params plan;
  uint64_t hash = 0;
  // What executing it does to prepared statements or settings. `operand` is the client's name of the statement of
  // kDeallocate, whose `sql` is then kDeallocateSpare, or the parameter of kReset. kSet is any
  // other SET.
  enum class Command : uint8_t { kNone, kDeallocate, kDeallocateAll, kDiscardAll, kReset, kResetAll, kSet };
  Command command = Command::kNone;
  std::string operand;
  wire::StatementTraits traits;
  // Who asks for an equal one gets another: this one's settings are not known, or its tables have changed since.
  // Whoever reads the mark late shares it once more, and is refused as those before it were.
  Mark alone;
  bool of_one_client = false;  // from the start: nobody else will ever have it
  uint64_t id = 0;             // unique in this process
  std::string name;            // on servers: kStatementPrefix and the id
  bool is_open() const { return of_one_client && !plan; }
  bool same(const StatementData& other) const {
    return !alone && !other.alone && sql == other.sql && types == other.types && plan == other.plan &&
           command == other.command && operand == other.operand;
  }
};
using Statement = Held<StatementData>;

// Names on servers begin so. A client's name that is not to be found travels behind kMissingPrefix, so that
// PostgreSQL itself raises 26000; the prefix is taken out of the message again.
inline constexpr std::string_view kStatementPrefix = "berth_";
inline constexpr std::string_view kMissingPrefix = "berth_none_";

// DEALLOCATE of a client's statement must not drop the one that other clients share: it drops a spare, made just
// before, so that PostgreSQL itself answers (with 25P02 in a failed transaction, for example).
inline constexpr std::string_view kSpareName = "berth_spare";
inline constexpr std::string_view kDeallocateSpare = "DEALLOCATE berth_spare";

// One worker's window on the process's statements: finds a known one without a lock or an allocation. What stands in
// it lives on when nobody uses it any more, so long texts (bulk INSERTs, mostly of one use) do not get in.
class StatementWindow {
 public:
  Statement intern(std::string_view sql, std::string_view types, const Params& plan) {
    return intern_command(StatementData::Command::kNone, {}, sql, types, plan);
  }
  // A statement that acts on statements or settings; see StatementData.
  Statement intern_command(StatementData::Command command, std::string_view operand, std::string_view sql,
                           std::string_view types, const Params& plan);
  // An equal one that nobody else gets, under settings that are not known yet.
  static Statement intern_alone(const StatementData& equal);
  void clear() { sets_ = {}; }

 private:
  // Each hash has a set of places, the newest statement first: a few hundred that alternate all find room, where
  // with one place each a quarter of them would take turns in it, and every turn costs a lock and an allocation.
  static constexpr size_t kSets = 128, kPlaces = 8;
  static constexpr size_t kTextMax = 16384;
  struct Place {
    uint64_t hash = 0;
    Statement statement;
  };
  std::array<std::array<Place, kPlaces>, kSets> sets_{};
};

// Which statements a server has, least recently used first: open addressing over ids, no allocation after the first
// use at a given limit. The limit is its owner's.
class ServerStatements {
 public:
  // Marks it used. False: the server does not have it.
  bool touch(const StatementData& statement);
  bool has(const StatementData& statement) const { return find(statement.id) != kNone; }
  void add(const Statement& statement);
  void remove(const StatementData& statement);
  // The least recently used one whose settings are known, since it can be made again, else of all. Looks through
  // those whose are not.
  Statement oldest() const;
  size_t size() const { return size_; }
  void clear();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Slot {
    Statement statement;  // null: the slot is free
    uint32_t older = kNone, newer = kNone;
  };
  uint32_t find(uint64_t id) const;
  uint32_t home(uint64_t id) const { return static_cast<uint32_t>(id * 0x9e3779b97f4a7c15u >> 32) & mask(); }
  uint32_t mask() const { return static_cast<uint32_t>(slots_.size() - 1); }
  void unlink(uint32_t at);
  void link_newest(uint32_t at);
  void grow();
  void place(Slot&& slot);

  std::vector<Slot> slots_;  // a power of two, at most half full
  uint32_t oldest_ = kNone, newest_ = kNone;
  size_t size_ = 0;
};

// A client's named statements: a sorted array, since most clients have few and an idle client must stay small. Of a
// longer name PostgreSQL looks at the first kNameMax bytes.
class ClientStatements {
 public:
  static constexpr size_t kNameMax = 63;
  const Statement* find(std::string_view name) const {
    uint32_t place;
    return find(name, place);
  }
  // `place`: for name_of().
  const Statement* find(std::string_view name, uint32_t& place) const;
  void set(std::string_view name, Statement statement);
  void erase(std::string_view name);
  // The client's name of a statement, for error texts; empty if it has none. Of several the one that was found at
  // `place`, unless names before it have come or gone since. Looks through all.
  std::string name_of(const Statement& statement, uint32_t place) const;
  void clear() { std::vector<Named>().swap(named_); }
  size_t size() const { return named_.size(); }

 private:
  struct Named {
    std::string name;
    Statement statement;
  };
  static constexpr size_t kKept = 2;  // places that stay with a client that has named statements again and again
  std::vector<Named>::const_iterator lower(std::string_view name) const;
  std::vector<Named> named_;
};

size_t statements_known();
// As in a fresh process: for tests that begin anew, while no statement is known.
void restart_statement_ids();

}  // namespace berth::pool
