// Mailboxes: sending, outboxes, and the steps on the reader's word. worker/mailbox.h has the reasoning.
#include "worker/mailbox.h"
#include "base/fault.h"

namespace berth::worker {

Mailboxes::Mailboxes(int workers)
    : threads_(workers + 1), readers_(static_cast<size_t>(threads_)), waiting_(static_cast<size_t>(threads_)) {
  ASSERT(workers > 0);
  queues_.resize(static_cast<size_t>(threads_ * threads_));
  for (int from = 0; from < threads_; ++from) {
    for (int to = 0; to < threads_; ++to) {
      if (from != to) queues_[static_cast<size_t>(from * threads_ + to)] = std::make_unique<Queue>();
    }
  }
}

void Mailboxes::attach(int to, net::Engine* engine) {
  ASSERT(to >= 0 && to < threads_);
  readers_[static_cast<size_t>(to)].engine = engine;
}

void Mailboxes::send(int from, int to, const Envelope& envelope) {
  ASSERT(from >= 0 && from < threads_ && to >= 0 && to < threads_ && from != to);
  Queue& pair = queue(from, to);
  // Behind what waits already, lest it overtake.
  if ((pair.outbox.empty() || FAULT(outbox_overtaken)) && pair.ring.push(envelope)) return notify(to);
  pair.outbox.push_back(envelope);
  ++waiting_[static_cast<size_t>(from)];
  refill(from, to);
}

bool Mailboxes::flush_outbox(int from) {
  if (waiting_[static_cast<size_t>(from)] == 0) return true;
  for (int to = 0; to < threads_; ++to) {
    if (to != from && !queue(from, to).outbox.empty()) refill(from, to);
  }
  return waiting_[static_cast<size_t>(from)] == 0;
}

// Moves what the ring takes. When something is left, the reader knows that it has to wake us.
void Mailboxes::refill(int from, int to) {
  Queue& pair = queue(from, to);
  const size_t before = pair.outbox.size();
  if (!pair.move_outbox()) {
    // Release: the envelopes in the ring come before. Acquire: room that the reader made before it cleared the word.
    pair.starved.exchange(true, std::memory_order_acq_rel);
    pair.move_outbox();
  }
  const size_t moved = before - pair.outbox.size();
  waiting_[static_cast<size_t>(from)] -= moved;
  if (moved > 0) notify(to);
}

void Mailboxes::made_room(int from, int to) {
  // Release: the room comes before. Acquire: nothing depends on it; a read-modify-write has one order for both.
  if (queue(from, to).starved.exchange(false, std::memory_order_acq_rel)) wake(from);
}

// Spares a turn without mail the steps below. A stale answer does no harm: the sender that it missed has woken us,
// and the next turn looks again.
bool Mailboxes::nothing_new(int to) const {
  return readers_[static_cast<size_t>(to)].state.load(std::memory_order_acquire) == State::kEmpty;
}

void Mailboxes::notify(int to) {
  Reader& reader = readers_[static_cast<size_t>(to)];
  // Release: the push comes before. Acquire: an `empty` that we see was written after the reader's last look, which
  // the wake-up then repeats.
  const State old = reader.state.exchange(State::kNotified, std::memory_order_acq_rel);
  if (old == State::kEmpty && !FAULT(wake_up_lost)) wake(to);
}

void Mailboxes::wake(int to) {
  if (net::Engine* engine = readers_[static_cast<size_t>(to)].engine) engine->wake();
}

void Mailboxes::start_reading(int to) {
  // Acquire: what senders pushed before their `notified` is visible from here on. An exchange and not a store, as
  // only a read-modify-write is sure to read the latest `notified`.
  readers_[static_cast<size_t>(to)].state.exchange(State::kReading, std::memory_order_acq_rel);
}

bool Mailboxes::stop_reading(int to) {
  State expected = State::kReading;
  // Release: a sender that sees `empty` comes after our look. When it fails, a sender has notified us meanwhile.
  return readers_[static_cast<size_t>(to)].state.compare_exchange_strong(
      expected, State::kEmpty, std::memory_order_acq_rel, std::memory_order_acquire);
}

}  // namespace berth::worker
