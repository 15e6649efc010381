// One walk over bytes of one client: lives on the stack of Client::relay_on_bytes.
#pragma once

#include <algorithm>

#include "session/client.h"
#include "session/server.h"
#include "wire/frame.h"
#include "wire/frontend.h"

namespace berth::session {

class ClientRelay {
 public:
  ClientRelay(Client& client, std::string_view bytes)
      : client_(client),
        context_(client.context),
        server_(client.server),
        out_(client.context.to_server),
        bytes_(bytes),
        own_names_(client.session_mode || context_.options().max_prepared_statements == 0) {}
  net::Taken run();

 private:
  // client_relay.cc
  bool step();
  bool link();
  bool message();
  bool copy_message();
  bool query();
  void drop_unnamed(Request& request);
  bool execute();
  bool extended(Request::Kind kind);
  bool pass();
  bool drop();
  bool more(uint64_t size);
  bool fail(std::string_view why, std::string_view sqlstate = "08P01", std::string_view hint = {});
  bool whole(uint64_t most, bool& stop);
  void emit();
  void answer_synthetic();
  void ask_for_answers();
  void end_batch();
  Request& push(Request::Kind kind);
  // client_statements.cc
  bool parse();
  bool depends_on_status(const wire::ParseMessage& message);
  bool parse_unnamed(pool::Statement statement);
  bool parse_again(const pool::Statement& there, const wire::ParseMessage& message);
  bool bind();
  bool describe();
  bool close();
  void forward_parse(std::string_view name, const wire::ParseMessage& message);
  void ensure(const pool::Statement& statement);
  bool must_wait(std::string_view name) const;
  bool names_unsettled() const;
  bool parse_unsettled() const;
  bool must_wait_for_all() const;
  bool must_be_sent() const;
  bool wait();
  bool resolve(std::string_view name, bool binds, int values, pool::Statement& statement, std::string& server_name);
  // client_commands.cc
  bool query_command(std::string_view sql, bool& done);
  void query_then_settings(const pool::StatementData& command, std::string_view settings);
  std::string settings_after(const pool::StatementData& command) const;
  void bind_command(std::string_view portal, const pool::Statement& statement);
  pool::Statement bound_command(std::string_view portal) const;
  bool execute_command(const pool::Statement& command);
  bool is_of_sql(const pool::StatementData& command) const;
  pool::Statement as_bound(const pool::Statement& statement);
  pool::StatementData command_of(std::string_view sql) const;
  bool sets_untracked(std::string_view sql) const;
  pool::Statement intern(const wire::ParseMessage& message);
  void apply_command(Request& request, const pool::StatementData& command);
  bool own_parse();
  bool own_bind();
  bool own_close();
  void remember_own(Request& request, std::string_view name, const pool::Statement& command);

  static constexpr uint64_t pool_command_max() { return wire::kStatementCommandMax; }
  std::string_view body() const { return bytes_.substr(at_ + wire::kHeaderSize, head_.size - wire::kHeaderSize); }
  // As much of the body as has come.
  std::string_view body_at_hand() const {
    return bytes_.substr(at_ + wire::kHeaderSize,
                         std::min<uint64_t>(head_.size, bytes_.size() - at_) - wire::kHeaderSize);
  }
  // The message is done with; nothing of it was passed on as it is.
  bool consume(uint64_t size) {
    at_ += size;
    start_ = at_;
    return true;
  }

  Client& client_;
  Context& context_;
  Server* server_;
  Outbox& out_;
  std::string_view bytes_;
  const bool own_names_;  // statements go by the client's names: session mode, or max_prepared_statements = 0
  size_t start_ = 0;      // of the stretch that is passed as it is
  size_t at_ = 0;
  size_t need_ = 0;
  uint32_t place_ = 0;  // of the name that resolve() has found
  wire::Head head_{};
  bool rest_sent_ = false;    // the rest of a message that is not answered any more: the server may be free with that
  bool breaks_copy_ = false;  // the message at hand ends a COPY, so it cannot wait for what is behind that
};

}  // namespace berth::session
