// A client session: one application's connection, from its first byte to its last. It owns no buffer; what it holds
// while idle is this object. Its chapters: client_door.cc, client_startup.cc, client_tls.cc, client_hba.cc,
// client_secret.cc, client_auth.cc, client_relay.cc, client_statements.cc, client_commands.cc, client_wait.cc,
// client_close.cc.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "net/address.h"
#include "net/engine.h"
#include "pool/node.h"
#include "pool/statements.h"
#include "session/context.h"
#include "stats/counters.h"
#include "wire/startup.h"

namespace berth::session {

class Server;

// Why a login fails, for the log: the client is told what a wrong password is.
inline constexpr std::string_view kNoSuchUser = "no such user";
inline constexpr std::string_view kNoSuchDatabase = "no such database, and the user is not in auth_file";

// What only a login needs; freed when it is over.
struct Login {
  std::string user, database, replication;
  auth::Method method = auth::Method::kTrust;
  std::unique_ptr<SecretAnswer> found;  // by auth_query; null: the user is in auth_file
  std::unique_ptr<auth::ClientVerifier> verifier;
  const config::DatabaseEntry* entry = nullptr;  // valid while `config` is
  std::shared_ptr<const config::Config> config;
  std::string_view asked;         // "PAM", "LDAP" or "certificate", if that says who it is; else empty
  bool database_missing = false;  // told only after authentication
  bool directory = false;         // PAM or LDAP knows the password
  bool console = false;
  bool admin = false;
  bool extension = false;                       // pgberth_link at the console
  std::shared_ptr<std::atomic<bool>> unwanted;  // of the work or lookup that it waits for, or has waited for
  // A failed login whose answer waits: see Client::auth_failed().
  Micros held_until = 0;  // 0: it does not
  std::string refusal, refusal_sqlstate;
  // Of a refusal, for the log alone: why, and which rule of auth_hba_file has decided (valid while `config` is).
  std::string why;
  const config::HbaRule* rule = nullptr;
};

class Client final : public net::Handler, public pool::ClientNode {
 public:
  Client(Context& context, std::optional<config::PoolMode> fixed_mode, bool unix_socket);
  ~Client();

  // ---- engine
  void on_connected(int error) override;
  net::Taken on_bytes(std::string_view bytes) override;
  void on_eof(int error) override;
  void on_drained() override;
  void on_handshake(std::string_view error) override;
  void on_closed() override;
  void on_detached(int fd, std::string_view unread, std::unique_ptr<net::TlsSession> session) override;

  // ---- for servers and slices
  // Linked to `server`, whose session matches this client's settings: go on where it waited.
  void start_on_server();
  // Takes a place among those who have not logged in, or is refused.
  void enter_door();
  Door::Answer enter_full(const AddressKey& who, Door::Answer answer);
  Door::Answer enter_with_room(const AddressKey& who, Door::Answer answer, Micros age);
  Door::Answer enter_owing(const AddressKey& who, Door::Answer refused);
  // By the janitor, until it has logged in.
  void newcomer_on_tick();
  // What it waits for cannot be had: an ERROR, the rest of its batch is swallowed, it keeps its connection.
  void refuse(std::string_view sqlstate, std::string_view text, std::string_view detail = {});
  // The server is no longer linked (released, or gone).
  void unlinked();
  // The greeting is known: ends kLoginWait.
  void finish_login();
  // An ErrorResponse FATAL, then the end. The reason reaches its counter and the log: in the reason's own words
  // unless `text` says more.
  void fatal(ClientEnd why, std::string_view sqlstate, std::string_view text = {}, std::string_view detail = {},
             std::string_view hint = {});
  // The end without a word to the client. The reason as above.
  void close(ClientEnd why, std::string_view text = {});
  bool closing() const { return state == pool::ClientState::kClosing; }
  // The login waits for something from another thread. It is not read, its state stays kAuth, and it may leave or
  // time out meanwhile: whoever has the answer looks it up by pid and serial (find_parked) and lets it go on, where
  // its bytes stopped.
  void park_login();
  void unpark_login();
  void notice(std::string_view text);
  void count_error(std::string_view sqlstate);  // of the broker's own

  // ---- for the console and SHOW
  std::string label() const;  // C-0x...: db/user@addr:port
  void send(std::string_view bytes);
  std::string_view user_name() const;
  std::string_view database_name() const;
  const net::TlsSession* tls() const;  // null: it speaks in clear words
  std::string binding() const;         // what a login inside of TLS can be bound to; empty: nothing
  std::string tls_text() const;        // as SHOW has it: TLSv1.3/TLS_AES_128_GCM_SHA256, or nothing

  Context& context;
  net::Conn* conn = nullptr;
  Slice* slice = nullptr;
  Server* server = nullptr;   // of kLinked
  pool::Params params;        // its settings now
  pool::Params start_params;  // those it logged in with: what RESET goes back to
  pool::ClientStatements statements;
  pool::Statement unnamed;
  // Portals whose Execute acts on statements or settings (DEALLOCATE, DISCARD ALL, RESET). Rare: null without any.
  struct Bound {
    std::string portal;
    pool::Statement statement;
  };
  std::unique_ptr<std::vector<Bound>> bound;
  std::unique_ptr<Login> login;
  std::string user;  // its own name, where the servers' user is another (forced by the database entry)
  uint64_t serial;   // `id` in SHOW CLIENTS, and part of the cancel key
  Micros connected_at;
  Micros request_at = 0;  // the first message of the transaction, or of the last one
  Micros query_at = 0;    // the first message since the last ReadyForQuery
  stats::ClientCounters counters;
  net::ShortAddress peer;     // of a Unix socket known once it is logged in
  uint64_t forward_left = 0;  // bytes of a message that are still to be passed on, or dropped if `dropping`
  uint32_t pid;               // as told in BackendKeyData
  config::PoolMode mode = config::PoolMode::kSession;
  // Each of these is one fact of the protocol, not a state: the message stream has them side by side.
  bool dropping : 1 = false;        // forward_left counts bytes to drop
  bool in_batch : 1 = false;        // an extended-protocol message since the last Sync
  bool skipping : 1 = false;        // PostgreSQL skips until Sync after an error: so do we
  bool refusing : 1 = false;        // refused a server: swallow the batch, then say ReadyForQuery
  bool in_transaction : 1 = false;  // request_at is running
  bool unix_socket : 1 = false;
  bool seen_ssl : 1 = false;  // SSLRequest answered (T26)
  bool seen_gss : 1 = false;
  bool handshaking : 1 = false;      // of TLS: until on_handshake the engine brings no bytes
  bool encrypted : 1 = false;        // speaks TLS
  bool long_cancel_key : 1 = false;  // protocol 3.2: 32 bytes instead of 4
  bool counted : 1 = false;          // in Globals::clients
  bool counted_gates : 1 = false;    // in the database's and the user's client gates
  bool newcomer : 1 = false;         // has a place among those who have not proved who they are (session/door.h)
  bool counted_address : 1 = false;  // in its address's clients
  bool admin : 1 = false;            // console: may change things
  bool extension : 1 = false;        // console: pgberth_link, may change what the extension's functions change
  uint8_t told_features : 4 = 0;     // SessionFeature: what of them the log has said
  bool wait_told : 1 = false;        // query_wait_notify has been sent
  bool half_open : 1 = false;        // the first packet was an encryption request
  bool mode_fixed : 1 = false;       // by the port

 private:
  friend class ClientRelay;
  // client_startup.cc
  net::Taken chapter_on_bytes(std::string_view bytes);
  net::Taken startup_on_bytes(std::string_view bytes);
  void startup_on_packet(const wire::Startup& startup, bool more);
  bool read_parameters(const wire::Startup& startup);
  // client_tls.cc
  std::shared_ptr<const net::TlsContext> tls_offered() const;
  bool begin_direct_tls(std::string_view bytes);
  void ssl_on_request(bool more);
  void begin_tls(const std::shared_ptr<const net::TlsContext>& offered, bool direct);
  bool encrypted_enough() const;
  // client_door.cc
  friend bool make_room(Context& context, const AddressKey* of);
  void made_progress();
  bool pass_door();
  void leave_door();
  std::string throttle_name() const;
  bool may_try();
  void left_login(ClientEnd why);
  void auth_failed(std::string_view sqlstate, std::string text);
  // client_auth.cc
  void begin_auth();
  void begin_extension_auth();
  void auth_on_step(auth::Step step);
  void begin_work(std::unique_ptr<auth::Work> work);
  void wait_for(std::unique_ptr<auth::Work> work, std::function<void(Client&, auth::Work&)> next);
  net::Taken auth_on_bytes(std::string_view bytes);
  void auth_succeeded();
  bool take_gates();
  void enter_pool();
  void enter_console();
  // client_directory.cc
  void begin_pam_auth(std::string_view service);
  void begin_ldap_auth(const config::LdapOptions& options);
  void start_exchange(const auth::Secret* secret, const auth::MockProfile& profile);
  // client_secret.cc
  using WithSecret = void (Client::*)(const auth::Secret* secret, const auth::MockProfile& profile);
  void with_secret(WithSecret go_on);
  SecretQuestion secret_question() const;
  void secret_found(WithSecret go_on, const SecretAnswer& answer);
  bool lookup_disabled();
  void secret_refuted();
  void learn();
  // client_hba.cc
  bool apply_hba(auth::Method& method);
  std::string_view unknown_user() const;  // for the log
  void begin_peer_auth(const config::HbaRule& rule);
  void finish_peer(const auth::Secret* secret, const auth::MockProfile& profile);
  void peer_known(const config::HbaRule& rule, const std::string& system_user);
  // client_relay.cc
  net::Taken relay_on_bytes(std::string_view bytes);
  net::Taken refusing_on_bytes(std::string_view bytes);
  // client_wait.cc
  bool want_server();

  pool::ClientList* home_list();
  void leave_list();
};

// The broker's pid of a client: the worker in the upper bits, the index in the lower ones; never 0.
uint32_t client_pid(int worker, uint32_t index);
int worker_of_pid(uint32_t pid);
uint32_t index_of_pid(uint32_t pid);
// The 32 bytes that only this client knows; a 3.0 client gets the first 4. Derived, not stored.
std::string cancel_key(uint32_t pid, uint64_t serial);

}  // namespace berth::session
