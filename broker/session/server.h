// A server session: one backend connection, from connect to close. Chapters: server_connect.cc, server_relay.cc,
// server_clean.cc (rollback and reset), server_send.cc (what the broker itself says to it), cancel.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "net/engine.h"
#include "pool/node.h"
#include "pool/statements.h"
#include "session/context.h"
#include "session/owners.h"
#include "session/requests.h"
#include "session/server_tls.h"
#include "wire/backend.h"

namespace berth::session {

class Client;
class CancelConnection;

class Server final : public net::Handler, public pool::ServerNode {
 public:
  Server(Context& context, Slice& slice);
  ~Server();

  // ---- engine
  void on_connected(int error) override;
  net::Taken on_bytes(std::string_view bytes) override;
  void on_eof(int error) override;
  void on_drained() override;
  void on_closed() override;
  void on_detached(int fd, std::string_view unread, std::unique_ptr<net::TlsSession> session) override;
  void on_handshake(std::string_view error) override;

  // ---- life
  void open();
  void connect_to(const net::Address& address);
  void leave_address();
  // The reason reaches the log and its counter.
  void close(ServerEnd why);
  bool closing() const { return state == pool::ServerState::kClosing; }
  // Leaves for another worker; Fleet::send_server follows when the engine has let go.
  void travel(int to);

  // ---- for its client
  // Makes the session match the client's settings, then the client starts (Client::start_on_server), perhaps at once.
  void prepare_for(Client* client);
  // Nothing is outstanding and nothing keeps it: may it be given back between transactions?
  bool may_release(const Client& client) const;
  // In a failed transaction, which nothing of this batch can have ended: all is refused but its end.
  bool refuses_all() const { return status == 'E' && !executed; }
  // The settings under which those of open_statements were parsed, as far as they are known.
  void settle_open(const pool::Params& plan) {
    for (const pool::Statement& open : open_statements) open->plan = plan;
    open_statements.clear();
  }
  // What is remembered of the batch that has not been ended: nothing any more.
  void forget_batch() {
    names_changed = unnamed_changed = in_doubt = plans_open = unnamed_open = executed = sync_swallowed = false;
  }
  // Its client has got a part of a message: nothing else may follow but the rest.
  bool mid_message() const { return pass_left > 0 && !pass_dropped; }
  // Gives it back in a clean state; the client is unlinked.
  void release();
  // Its client has gone in the middle of something: roll back, reset, or close.
  void abandon();
  void check_alive();
  // A Parse for `statement` that nobody but the broker waits for, under the settings of its first Parse.
  void inject_parse(const pool::Statement& statement, bool unnamed);
  // Makes room for one more statement and remembers it; the Parse itself is the caller's.
  void remember(const pool::Statement& statement, int64_t most);
  void inject_query(std::string_view sql);
  void inject_sync();
  void fail_copy();
  Request& inject_close(char what, std::string_view name);
  void inject_statement(std::string_view sql, std::string_view portal);
  void inject_settings(std::string_view select);  // extended protocol, without Sync
  void inject_spare(uint16_t parameters = 0);
  void cancel_done(CancelConnection* cancel);
  bool start_cancel();
  // kCleaning: a cancel that came before its query had begun did nothing; try once more each second.
  void cancel_again();
  void timed_out();  // the deadline of connecting, of the login or of connect_query is over

  std::string label() const;  // S-0x...: db/user@addr:port

  Context* context;
  Slice* slice;
  net::Conn* conn = nullptr;
  Client* client = nullptr;  // linked to; the requests name their owners themselves
  Owners owners;             // the present one, if it is linked, and those before
  RequestQueue requests;
  pool::Params params;         // its settings now
  pool::Params before_resync;  // of a resync inside a transaction: what differed; a rollback brings it back
  pool::Params resynced_to;    // the client's settings at that moment
  pool::Params login_params;   // as reported at its login: what RESET goes back to
  pool::Params start_params;   // what connect_query made of them
  pool::Params identity_of;    // the settings that identity_is_other was found for
  pool::ServerStatements statements;
  pool::Statement unnamed;
  std::vector<pool::Statement> open_statements;  // of batches under way; the settings of each come with ReadyForQuery
  uint64_t unnamed_of = 0;  // serial of the client it was last parsed for: nobody else counts on it
  net::Address address;
  size_t host_index = 0, address_index = 0;  // as in the slice, of this one
  std::unique_ptr<auth::ServerLogin> login;
  std::shared_ptr<const ServerTlsWish> tls_wish;  // null: it is spoken to in clear words
  std::unique_ptr<ServerTls> tls_start;           // until it is known whether TLS is spoken
  std::unique_ptr<net::TlsSession> tls;           // while it travels; else the engine has it
  std::string key;                                // its cancel key
  std::vector<CancelConnection*> cancels;
  uint64_t serial;
  uint64_t pass_left = 0;  // bytes of a message that are still to be passed on, or dropped
  Micros deadline = 0;     // of connecting, login, checking, cleaning; 0: none
  Micros idle_in_transaction_since = 0;
  Micros cancelled_at = 0;
  // Ends (see RequestQueue::end) of batches under way: of the last one, and of the last that changes what the
  // client's names mean, the unnamed statement apart. While they may yet fail, what counts on them must wait.
  uint64_t batch_end = 0, names_end = 0, unnamed_end = 0;
  uint64_t doubt_end = 0;  // likewise of the last that was `in_doubt`
  uint32_t pid = 0;
  int travel_to = -1;
  // RESET or DISCARD ALL has run; its effects are taken in at ReadyForQuery. kDiscarded: the client's settings
  // follow, and only an error before the end of the batch undoes them.
  enum class ResetSeen : uint8_t { kNone, kReset, kDiscardAll, kDiscarded };
  ResetSeen reset_seen = ResetSeen::kNone;
  std::string setting_error, setting_error_sqlstate;  // why the client's settings were refused
  char status = 'I';                                  // of the last ReadyForQuery
  // SessionFeature of the transaction under way: told if they outlive it.
  uint8_t left_behind = 0;
  bool pass_dropped : 1 = false;  // pass_left counts bytes to drop
  bool copy_in : 1 = false;       // PostgreSQL reads COPY data: it swallows Sync and Flush
  bool copy_both : 1 = false;     // replication stream
  // A COPY was cancelled. Whether it had swallowed the Syncs that count as swallowed, or they are answered after all,
  // is not known: more ReadyForQuery may come than are expected, until a command sent after that has been answered.
  bool stray_ready : 1 = false;
  bool backed_up : 1 = false;         // its client is not read until what is unsent has gone
  bool half_sent : 1 = false;         // the client left in the middle of a message
  bool close_after : 1 = false;       // not to be used again
  bool syncing_settings : 1 = false;  // the injected query sets the client's settings
  bool settings_failed : 1 = false;
  bool resetting : 1 = false;    // kCleaning: the reset query runs
  bool rolled_back : 1 = false;  // kCleaning: ROLLBACK was sent
  bool dirty : 1 = false;        // has served a session client: full reset before the next
  bool identity_is_other : 1 = false;
  bool fatal_seen : 1 = false;     // PostgreSQL has said FATAL: the end follows
  bool names_changed : 1 = false;  // in the batch that has not been ended
  bool unnamed_changed : 1 = false;
  // It has something behind which a Parse means another thing, since settings may have changed, or may be read by a
  // COPY. Then a statement is nobody else's.
  bool in_doubt : 1 = false;
  bool plans_open : 1 = false;  // a statement was parsed behind that; the unnamed one:
  bool unnamed_open : 1 = false;
  bool portal_in_doubt : 1 = false;   // a portal of this or an earlier batch does what in_doubt says
  bool sync_swallowed : 1 = false;    // a COPY has swallowed its Sync: PostgreSQL answers only when it is asked to
  bool executed : 1 = false;          // an Execute was sent since the last batch was ended
  bool ran : 1 = false;               // an Execute was answered since the last ReadyForQuery
  bool parsed_after_run : 1 = false;  // and a Parse behind it: under which settings, only ReadyForQuery tells
  bool unsynced : 1 = false;          // an extended message since the last Sync was sent

 private:
  friend class ServerRelay;
  friend class ClientRelay;
  // server_connect.cc
  void resolved(const Result<std::vector<net::Address>>& found);
  net::Taken login_on_bytes(std::string_view bytes);
  bool login_on_message(char tag, std::string_view body);
  bool login_on_step(auth::Step step);
  void begin_work(std::unique_ptr<auth::Work> work);
  void login_on_error(std::string_view body);
  void send_startup();
  void tls_on_next(ServerTls::Next next);
  void begin_login();
  auth::Proof proof() const;
  void ready();
  void setup_done();
  void connect_failed(std::string_view sqlstate, std::string_view text, bool permanent,
                      ServerEnd why = ServerEnd::kConnectFailed);
  // server_relay.cc, server_clean.cc
  net::Taken relay_on_bytes(std::string_view bytes);
  void after_bytes();
  void fail_batch();
  void undo(Request& request, bool failed, size_t after);
  void note_failure(const wire::ErrorFields& error);
  void violated();
  void drop_client(ClientEnd why, std::string_view sqlstate);
  void resync(Client* of);
  bool other_identity();
  void tell_fixed(Client& of);
  void clean_step();
  void settings_done();
  void lost(int error);
};

}  // namespace berth::session
