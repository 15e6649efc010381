// What a connection of auth_query says to PostgreSQL, and what it makes of the answers: a machine without a socket,
// bytes in, bytes out. It logs in and then asks one question at a time, as auth_query has it: with a search_path of
// its own and with no parameter of any client (T6).
//
// Whoever is at the other end may be anybody's server. Whatever he says is bounded (below), a row is looked at when
// it comes, keys are derived by whoever runs the work, and what PostgreSQL would not say ends the connection.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "auth/exchange.h"
#include "base/secret_memory.h"
#include "link/auth_answer.h"
#include "net/engine.h"

namespace berth::link {

// One message of a server that has let us in: the longest password, a name, and what else may stand in an error.
inline constexpr uint64_t kAuthMessageMax = 256 * 1024;
// All messages of a login, and all from one question to the next: notices, parameters and notifications, too.
inline constexpr uint64_t kAuthSaidMax = 1024 * 1024;
inline constexpr uint32_t kAuthRowsMax = 2;  // that a question asks for: a second one is only seen to be there

class AuthWire : public SecretObject {
 public:
  // Takes what is to be sent, at once: it may hold a password.
  using Send = std::function<void(std::string_view)>;

  AuthWire(const std::string& user, const auth::Proof& proof, auth::ChannelBinding binding, Send send);
  AuthWire(const AuthWire&) = delete;
  AuthWire& operator=(const AuthWire&) = delete;

  // The startup packet.
  void start(const std::string& user, const std::string& database);
  // Looks at whole messages. Nothing more is fed after kLost, and after kWork not before resume(). What is consumed
  // may have held a secret.
  net::Taken feed(std::string_view bytes);
  void resume(auth::Work& work);
  // The connection ends: what the server has said of it goes before `why`.
  void on_end(std::string_view why);
  // What came of it, in order; kNothing: no more.
  AuthHappened take();

  // Only when kConnected, or the answer to the question before, has happened; `sql` is that of kOwn.
  void ask(AuthQuestion question, std::string_view sql = {}, const std::string& user = {});
  void say_goodbye();

  bool waits_for_work() const { return state_ == State::kWork; }
  bool over() const { return state_ == State::kOver; }

 private:
  // What is expected next; kWork: nothing, until a key is there.
  enum class State : uint8_t {
    kLogin,
    kWork,
    kGreeting,
    kIdle,
    kParse,
    kBind,
    kDescribe,
    kRows,
    kReady,  // an answer's end
    kOver,
  };

  void on_message(char tag, std::string_view body);
  void on_authentication(std::string_view body);
  void on_step(auth::Step step);
  void on_parameter(std::string_view body);
  void on_error(std::string_view body);
  void on_ready(std::string_view body);
  void expect(State state, State next, char tag);
  void check(std::string_view why);
  void unexpected(char tag);
  void lose(std::string why, std::string_view sqlstate = {});
  bool in_login() const { return state_ <= State::kGreeting; }

  State state_ = State::kLogin;
  std::unique_ptr<auth::ServerLogin> login_;  // null: it has ended
  Send send_;
  uint64_t said_ = 0;  // bytes, for kAuthSaidMax
  std::optional<AuthAnswer> answer_;
  bool failed_ = false;  // the answer is an error
  std::vector<AuthHappened, SecretAllocator<AuthHappened>> happened_;
  size_t taken_ = 0;  // of happened_
};

}  // namespace berth::link
