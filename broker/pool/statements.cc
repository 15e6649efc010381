#include "pool/statements.h"

#include <algorithm>

#include "base/fault.h"
#include "base/siphash.h"

namespace berth::pool {

static SharedTable<StatementData>& table() {
  static auto* instance = new SharedTable<StatementData>;  // lives as long as the process
  return *instance;
}

size_t statements_known() {
  return table().size();
}

static std::atomic<uint64_t>& next_id() {
  // Starts at random, so that a name of another run is not taken for one of ours.
  static std::atomic<uint64_t> next{process_key().low >> 24};
  return next;
}

void restart_statement_ids() {
  ASSERT(statements_known() == 0);
  next_id() = process_key().low >> 24;
}

// Clients choose texts, types and names, so all need a hash that nobody can aim at.
static uint64_t hash_of(std::string_view sql, std::string_view types, const Params& plan) {
  uint64_t hash = siphash(process_key(), sql);
  if (plan && !FAULT(statement_of_other_settings)) hash ^= plan->hash * 0x9e3779b97f4a7c15u;
  if (types.size() > 2) hash ^= siphash(process_key(), types) * 5;  // 2: none are given
  return hash;
}

static StatementData make(std::string_view sql, std::string_view types) {
  StatementData data;
  data.sql = sql;
  data.types = types;
  data.traits = wire::statement_traits(sql);
  data.id = next_id().fetch_add(1, std::memory_order_relaxed);
  data.name = std::string(kStatementPrefix) + std::to_string(data.id);
  return data;
}

Statement StatementWindow::intern_alone(const StatementData& equal) {
  StatementData data = make(equal.sql, equal.types);
  data.command = equal.command;
  data.operand = equal.operand;
  data.hash = equal.hash ^ data.id * 0x9e3779b97f4a7c15u;  // nobody looks for it
  data.alone.set();
  data.of_one_client = true;
  return Statement(table().intern(std::move(data)));
}

Statement StatementWindow::intern_command(StatementData::Command command, std::string_view operand,
                                          std::string_view sql, std::string_view types, const Params& plan) {
  if (command == StatementData::Command::kDeallocate) sql = kDeallocateSpare;
  uint64_t hash = hash_of(sql, types, plan);
  if (!operand.empty()) hash ^= siphash(process_key(), operand) * 3;
  auto& set = sets_[hash % kSets];
  for (const Place& place : set) {
    const Statement& known = place.statement;
    if (place.hash == hash && known && !known->alone && known->sql == sql && known->types == types &&
        (known->plan == plan || FAULT(statement_of_other_settings)) && known->command == command &&
        (command == StatementData::Command::kNone || known->operand == operand))
      return known;
  }
  StatementData data = make(sql, types);
  data.plan = plan;
  data.command = command;
  data.operand = operand;
  data.hash = hash;
  Statement statement(table().intern(std::move(data)));
  if (sql.size() <= kTextMax) {
    std::move_backward(set.begin(), set.end() - 1, set.end());
    set.front() = {hash, statement};
  }
  return statement;
}

uint32_t ServerStatements::find(uint64_t id) const {
  if (slots_.empty()) return kNone;
  for (uint32_t at = home(id); slots_[at].statement; at = (at + 1) & mask()) {
    if (slots_[at].statement->id == id) return at;
  }
  return kNone;
}

void ServerStatements::unlink(uint32_t at) {
  Slot& slot = slots_[at];
  (slot.older == kNone ? oldest_ : slots_[slot.older].newer) = slot.newer;
  (slot.newer == kNone ? newest_ : slots_[slot.newer].older) = slot.older;
}

void ServerStatements::link_newest(uint32_t at) {
  slots_[at].older = newest_;
  slots_[at].newer = kNone;
  (newest_ == kNone ? oldest_ : slots_[newest_].newer) = at;
  newest_ = at;
}

bool ServerStatements::touch(const StatementData& statement) {
  const uint32_t at = find(statement.id);
  if (at == kNone) return false;
  if (at != newest_) {
    unlink(at);
    link_newest(at);
  }
  return true;
}

void ServerStatements::place(Slot&& slot) {
  uint32_t at = home(slot.statement->id);
  while (slots_[at].statement) at = (at + 1) & mask();
  slots_[at] = std::move(slot);
  link_newest(at);
}

void ServerStatements::grow() {
  std::vector<Slot> old = std::move(slots_);
  slots_ = std::vector<Slot>(std::max<size_t>(16, old.size() * 2));
  uint32_t at = oldest_;
  oldest_ = newest_ = kNone;
  while (at != kNone) {
    const uint32_t following = old[at].newer;
    place(std::move(old[at]));
    at = following;
  }
}

void ServerStatements::add(const Statement& statement) {
  if (touch(*statement)) return;
  if ((size_ + 1) * 2 > slots_.size()) grow();
  place(Slot{statement});
  ++size_;
}

void ServerStatements::remove(const StatementData& statement) {
  uint32_t at = find(statement.id);
  if (at == kNone) return;
  unlink(at);
  slots_[at].statement.reset();
  --size_;
  // Close the gap, so that a probe never stops too early: move back each following entry that may stand here.
  for (uint32_t from = (at + 1) & mask(); slots_[from].statement; from = (from + 1) & mask()) {
    const uint32_t want = home(slots_[from].statement->id);
    if (((from - want) & mask()) < ((from - at) & mask())) continue;
    slots_[at] = std::move(slots_[from]);
    Slot& moved = slots_[at];
    (moved.older == kNone ? oldest_ : slots_[moved.older].newer) = at;
    (moved.newer == kNone ? newest_ : slots_[moved.newer].older) = at;
    slots_[from] = Slot{};
    at = from;
  }
}

Statement ServerStatements::oldest() const {
  for (uint32_t at = oldest_; at != kNone; at = slots_[at].newer) {
    if (!slots_[at].statement->is_open()) return slots_[at].statement;
  }
  return oldest_ == kNone ? Statement() : slots_[oldest_].statement;
}

void ServerStatements::clear() {
  std::vector<Slot>().swap(slots_);
  oldest_ = newest_ = kNone;
  size_ = 0;
}

std::vector<ClientStatements::Named>::const_iterator ClientStatements::lower(std::string_view name) const {
  return std::lower_bound(named_.begin(), named_.end(), name,
                          [](const Named& entry, std::string_view key) { return entry.name < key; });
}

const Statement* ClientStatements::find(std::string_view name, uint32_t& place) const {
  name = name.substr(0, kNameMax);
  const auto at = lower(name);
  place = static_cast<uint32_t>(at - named_.begin());
  return at != named_.end() && at->name == name ? &at->statement : nullptr;
}

std::string ClientStatements::name_of(const Statement& statement, uint32_t place) const {
  if (place < named_.size() && named_[place].statement == statement) return named_[place].name;
  for (const Named& entry : named_) {
    if (entry.statement == statement) return entry.name;
  }
  return {};
}

void ClientStatements::set(std::string_view name, Statement statement) {
  name = name.substr(0, kNameMax);
  if (named_.empty()) named_.reserve(1);  // most idle clients have one: no room to spare
  const auto at = lower(name);
  if (at != named_.end() && at->name == name) {
    named_[static_cast<size_t>(at - named_.begin())].statement = std::move(statement);
    return;
  }
  named_.insert(at, Named{std::string(name), std::move(statement)});
}

void ClientStatements::erase(std::string_view name) {
  name = name.substr(0, kNameMax);
  const auto at = lower(name);
  if (at == named_.end() || at->name != name) return;
  named_.erase(at);
  if (named_.empty() && named_.capacity() > kKept) clear();
}

}  // namespace berth::pool
