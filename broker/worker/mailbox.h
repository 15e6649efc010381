// Mailboxes: how threads of the broker talk. One bounded single-producer single-consumer queue for each ordered pair
// of threads, so no two threads ever write to the same end. An envelope is plain data; what it points to changes
// hands with it: after send() the sender must not touch it.
//
// The threads have numbers: 0 ... workers-1 are the workers, `workers` is the one thread that is none (it runs
// operations: signals, reload, HTTP). send(from), flush_outbox(from) and drain(to) may be called only by the thread
// with that number.
//
// Waking the reader. An eventfd write costs more than the message, so it is made only for a reader that sleeps. Each
// reader has one word with three states:
//
//     empty      the reader saw all its queues empty and may sleep until it is woken
//     notified   there is mail that the reader has not begun to look for; whoever set this from `empty` has woken it
//     reading    the reader is looking through its queues
//
//     send:    push the envelope;
//              old := state, state := notified      (one atomic step)
//              if old was empty: wake the reader
//
//     drain:   state := reading                     (one atomic step)
//              take what each queue holds
//              if state is still reading: state := empty, done     (one atomic step)
//              else mail came meanwhile: once more, or wake oneself for the next turn
//
// No wake-up is lost: the steps on the word have one order. A sender's step is either before the reader's `reading`,
// and then the reader sees the pushed envelope, because that step reads what the sender's step wrote; or between
// `reading` and `empty`, and then the reader's last step fails; or after `empty`, and then the sender wakes it.
#pragma once

#include <atomic>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <type_traits>
#include <vector>

#include "base/assert.h"
#include "net/engine.h"

namespace berth::worker {

struct Envelope {
  uint32_t kind = 0;  // what it is: the receiver's enum
  uint32_t number = 0;
  void* object = nullptr;
  uint64_t value = 0;
};
static_assert(sizeof(Envelope) == 24 && std::is_trivially_copyable_v<Envelope>);

class Mailboxes {
 public:
  static constexpr size_t kCapacity = 1024;  // envelopes per ordered pair; more wait in the sender's outbox
  static constexpr int kDrainRounds = 4;     // per drain(): mail must not keep the sockets waiting

  explicit Mailboxes(int workers);
  Mailboxes(const Mailboxes&) = delete;
  Mailboxes& operator=(const Mailboxes&) = delete;

  int workers() const { return threads_ - 1; }

  // Who is woken when mail for `to` comes; before the threads start. A thread without an engine polls with drain().
  void attach(int to, net::Engine* engine);

  // Never blocks and never fails. Envelopes of one pair arrive in order.
  void send(int from, int to, const Envelope& envelope);

  // Moves what full queues did not take; call it once a turn. False: something is left, and the engine is woken when
  // there is room. (A thread without an engine has to come back by itself.)
  bool flush_outbox(int from);

  // Hands each envelope to f(envelope) and returns their number. Call it once a turn; when envelopes are left, the
  // thread's own engine is woken, so that its next wait ends at once.
  template <typename F>
  size_t drain(int to, F&& f) {
    size_t count = 0;
    if (nothing_new(to)) return count;
    for (int round = 0; round < kDrainRounds; ++round) {
      start_reading(to);
      for (int from = 0; from < threads_; ++from) {
        if (from == to) continue;
        const size_t taken = queue(from, to).take_some(f);
        if (taken > 0) made_room(from, to);
        count += taken;
      }
      if (stop_reading(to)) return count;
    }
    wake(to);
    return count;
  }

 private:
  enum class State : uint8_t { kEmpty, kNotified, kReading };

  struct Queue {
    // Boost keeps the two ends' counters on cache lines of their own.
    boost::lockfree::spsc_queue<Envelope, boost::lockfree::capacity<kCapacity>> ring;
    // Set by the sender when its outbox holds something, cleared by the reader when it has made room. Both by
    // read-modify-write with acquire-release order: see the proof above.
    std::atomic<bool> starved{false};
    std::deque<Envelope> outbox;  // the sender's

    // At most as many as the ring holds: a sender that is as fast as the reader would keep it here.
    template <typename F>
    size_t take_some(F& f) {
      size_t count = 0;
      for (Envelope envelope; count < kCapacity && ring.pop(envelope); ++count) f(envelope);
      return count;
    }
    // The sender's: whether all of the outbox went into the ring.
    bool move_outbox() {
      while (!outbox.empty() && ring.push(outbox.front())) outbox.pop_front();
      return outbox.empty();
    }
  };

  // On a cache line of its own: all senders to one reader write here, and nobody else's word may suffer.
  struct alignas(64) Reader {
    // Written by the reader (reading, empty) and by its senders (notified). Each change is a read-modify-write with
    // acquire-release order: see the proof above. No other order is needed, as the queues order their own contents.
    std::atomic<State> state{State::kEmpty};
    net::Engine* engine = nullptr;  // set before the threads start
  };

  Queue& queue(int from, int to) { return *queues_[static_cast<size_t>(from * threads_ + to)]; }
  bool nothing_new(int to) const;
  void refill(int from, int to);
  void made_room(int from, int to);
  void notify(int to);
  void wake(int to);
  void start_reading(int to);
  bool stop_reading(int to);

  int threads_;
  std::vector<std::unique_ptr<Queue>> queues_;  // [from * threads_ + to]; none from a thread to itself
  std::vector<Reader> readers_;
  std::vector<size_t> waiting_;  // [from]: envelopes in its outboxes
};

}  // namespace berth::worker
