// The engine on epoll: edge-triggered, every descriptor registered once. Complete, and works on every Linux.
//
// A turn (run_once) is: one epoll_wait; each event handled at once, with one recv; then the agenda, which is what the
// handlers caused by their calls (resumed reads, closes, hand-overs). Work that the agenda itself causes waits for
// the next turn, which then does not block. At its end go the small sends that its handlers have made, in one call if
// the kernel lets us (net/send_batch.h). A request that nothing holds up costs one recv and one send per direction
// and its share of an epoll_wait: no epoll_ctl, no allocation, no lock.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/slab.h"
#include "net/courtesy.h"
#include "net/engine.h"
#include "net/epoll_conn.h"
#include "net/send_batch.h"

namespace berth::net {

class EpollEngine final : public Engine {
 public:
  // The size of the receive buffer, and so of the largest span lent when nothing was kept.
  static constexpr size_t kReceiveSize = 64 * 1024;
  // Accepts per event: a storm of logins must not starve those who are in.
  static constexpr int kAcceptBatch = 16;

  EpollEngine();
  // Everything must be closed and the turns run until it is (memory().conns == 0); what is not goes with the process.
  ~EpollEngine();
  EpollEngine(const EpollEngine&) = delete;
  EpollEngine& operator=(const EpollEngine&) = delete;

  void listen(int fd, int listener, AcceptHandler* handler) override;
  void unlisten(int fd) override;
  Conn* attach(int fd, Handler* handler) override;
  Conn* connect(const Address& address, Handler* handler) override;
  void start_tls(Conn* conn, std::unique_ptr<TlsSession> tls) override;
  const TlsSession* tls(const Conn* conn) const override;
  size_t write(Conn* conn, std::span<const iovec> spans) override;
  size_t unsent(const Conn* conn) const override;
  void pause(Conn* conn, PauseReason reason) override;
  void resume(Conn* conn, PauseReason reason) override;
  uint8_t paused(const Conn* conn) const override;
  void close(Conn* conn) override;
  void detach(Conn* conn) override;
  int descriptor(const Conn* conn) const override;
  void run_once(Micros deadline) override;
  void wake() override;
  Micros now() const override { return now_; }

  EngineMemory memory() const override;

  // From now on each send is a call of its own, as where there is no io_uring. Before the first turn.
  void send_singly() { batch_.disable(); }

  // For the end of the process: what is closed and still waits for its peer to read is given up in the next turn.
  void end_lingering();

 private:
  struct Listener {
    int fd = -1;  // -1: a free place
    int number = 0;
    AcceptHandler* handler = nullptr;
    Micros retry_at = 0;  // not 0: accepting has failed and is off until then
  };
  using List = IntrusiveList<EpollConn, WorkTag>;

  // epoll_engine.cc: the turn.
  void give_way();
  int wait(Micros deadline);
  int wait_once(Micros deadline);
  Micros next_deadline(Micros deadline) const;
  void dispatch(const epoll_event& event);
  void conn_on_event(EpollConn* conn, uint32_t events);
  void open_on_event(EpollConn* conn, uint32_t events);
  void connecting_on_event(EpollConn* conn, uint32_t events);
  void lingering_on_event(EpollConn* conn, uint32_t events);
  bool remember(EpollConn* conn, uint32_t events);
  void read_soon(EpollConn* conn);
  void post(EpollConn* conn, uint8_t work);
  void run_agenda();
  void perform(EpollConn* conn);
  void tell_connected(EpollConn* conn);
  bool control(int operation, EpollConn* conn, uint32_t events);

  // epoll_read.cc: receiving, kept bytes, the end of a connection.
  void read_on(EpollConn* conn);
  void receive(EpollConn* conn);
  void received_nothing(EpollConn* conn, ssize_t got);
  void received(EpollConn* conn, size_t kept, size_t got);
  inline void take_in(EpollConn* conn, size_t kept, size_t got);
  std::string_view lend(EpollConn* conn, std::string_view bytes);
  void lend_tail(EpollConn* conn);
  void keep(EpollConn* conn, std::string_view bytes);
  void make_room(EpollConn* conn, size_t more);
  void drop_tail(EpollConn* conn);
  void look_for_hangup(EpollConn* conn);
  void tell_eof(EpollConn* conn, int error);

  // epoll_tls.cc: the same for connections that speak TLS, before and behind the rest.
  void receive_tls(EpollConn* conn);
  void decrypt(EpollConn* conn, std::string_view cipher, size_t kept, std::span<char> plain);
  void shake(EpollConn* conn);
  bool tell_handshake(EpollConn* conn, std::string_view error);
  size_t encrypt(EpollConn* conn, std::span<const iovec> spans);
  size_t put_cipher(EpollConn* conn);
  void say_goodbye(EpollConn* conn);

  // epoll_write.cc: sending, unsent bytes, closing.
  bool gather(EpollConn* conn, std::span<const iovec> spans, size_t bytes);
  void send_gathered();
  void keep_unsent(EpollConn* conn, std::span<const iovec> spans, size_t bytes, size_t sent);
  void store(EpollConn* conn, std::span<const iovec> spans, size_t skip);
  void store_bytes(EpollConn* conn, std::string_view bytes);
  void flush(EpollConn* conn);
  void forget_sent(EpollConn* conn, size_t sent);
  void fail_output(EpollConn* conn, int error);
  void drop_output(EpollConn* conn);
  void begin_close(EpollConn* conn);
  void finish_close(EpollConn* conn);
  void finish_detach(EpollConn* conn);
  void expire_lingering(Micros until);

  // epoll_accept.cc: listeners.
  bool watch(size_t place);
  void accept_some(size_t place);
  bool accept_one(size_t place);
  void retry_listeners();

  static constexpr uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
  // What an epoll_event carries: a record's address (a multiple of 8), or one of two tags in the low bits.
  static constexpr uint64_t kTagMask = 7;
  static constexpr uint64_t kTagListener = 1;  // the place in listeners_ stands above the tag
  static constexpr uint64_t kTagWake = 2;
  static constexpr int kEventsMax = 256;
  int epoll_ = -1;
  int wake_ = -1;
  bool microsecond_wait_ = true;  // epoll_pwait2 is there (Linux 5.11)
  Micros now_ = 0;
  List agenda_;     // at the end of this turn
  List later_;      // in the next turn: they have read once already
  List lingering_;  // by linger_until, as all linger equally long
  std::vector<Listener> listeners_;
  int listeners_off_ = 0;  // how many have a retry_at
  Slab<EpollConn> conns_;
  BlockPool blocks_;
  std::unique_ptr<char[]> receive_;
  std::unique_ptr<char[]> cipher_in_;  // null until somebody speaks TLS
  std::string cipher_out_;             // empty between calls
  SendBatch batch_;
  Courtesy courtesy_;
  bool busy_ = false;     // the last turn had events
  bool in_turn_ = false;  // between waiting and the end of the turn, where small sends are gathered
  std::array<epoll_event, kEventsMax> events_;
};

}  // namespace berth::net
