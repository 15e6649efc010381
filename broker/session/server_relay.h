// One walk over bytes of one server: lives on the stack of Server::relay_on_bytes.
#pragma once

#include <algorithm>

#include "session/client.h"
#include "session/server.h"
#include "wire/backend.h"
#include "wire/frame.h"

namespace berth::session {

class ServerRelay {
 public:
  ServerRelay(Server& server, std::string_view bytes)
      : server_(server),
        context_(*server.context),
        client_(server.client),
        out_(server.context->to_client),
        bytes_(bytes) {}
  net::Taken run();

 private:
  bool step();
  bool message();
  bool pass();
  bool keep();
  bool drop();
  bool more(uint64_t size);
  bool violation();
  bool whole(bool& too_long);
  bool wanted() const;
  bool unasked(char tag) const;
  void emit();
  void answer_synthetic();
  void skip_silent();
  bool answered(Request::Kind kind);
  bool on_complete();
  void note_feature(wire::CommandEffect effect);
  void tell_left_behind();
  bool on_ready();
  void count_query(Micros now);
  bool on_parameter();
  const std::string* value_after_reset(std::string_view name, std::string_view value) const;
  const std::string* value_after_rollback(std::string_view name, std::string_view value) const;
  bool on_copy_in();
  bool sync_swallowed() const;
  bool on_error();
  void count_error(std::string_view sqlstate);
  void forget_statements();
  void after_reset(bool mine);
  void put_renamed(std::string_view text, const wire::ErrorFields& error, const pool::Statement& statement,
                   const std::string& name, uint32_t place);
  void settle_plans();
  void settle_unnamed(const pool::Params& plan);
  void parse_again_under(const pool::Params& plan, std::string_view name);

  RequestQueue& queue() const { return server_.requests; }
  std::string_view body() const { return bytes_.substr(at_ + wire::kHeaderSize, head_.size - wire::kHeaderSize); }

  Server& server_;
  Context& context_;
  Client* client_;  // linked, or null: then everything is dropped
  Outbox& out_;
  std::string_view bytes_;
  size_t start_ = 0;
  size_t at_ = 0;
  size_t need_ = 0;
  wire::Head head_{};
  bool broken_ = false;
  bool transaction_refused_ = false;  // statement mode: BEGIN has run
};

}  // namespace berth::session
