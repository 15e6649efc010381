// SHOW ADVICE_FACTS: what berth.advice has to know and no other table says. Ours.
#include <map>

#include "admin/show.h"
#include "config/show.h"

namespace berth::admin {

namespace {

constexpr Column kFacts[] = {{"name"}, {"database"}, {"user"}, {"value"}};

class ShowFacts final : public Show {
 public:
  void visit(session::Context& context) override {
    for (const auto& [key, slice] : context.slices) {
      const pool::SharedPool& shared = *slice->pool.shared();
      if (shared.replication.empty()) peaks_[{shared.database, shared.user}] += slice->pool.linked_peak();
    }
  }
  // The workers' peaks need not have been at one moment: their sum is at least that of the pool.
  void finish(session::Context& context, Table& table) override {
    for (const auto& [pool, peak] : peaks_) {
      table.text("servers_peak").text(pool.first).text(pool.second).text(std::to_string(peak)).end_row();
    }
    for (const config::ShowRow& row : config::show_config(*context.config)) {
      if (row.ignored) table.text("ignored_setting").text("").text("").text(row.key).end_row();
    }
  }

 private:
  std::map<std::pair<std::string, std::string>, size_t> peaks_;
};

}  // namespace

std::shared_ptr<Show> make_show_facts() {
  return std::make_shared<ShowFacts>();
}

std::span<const Column> columns_of_facts() {
  return kFacts;
}

}  // namespace berth::admin
