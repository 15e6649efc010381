// The small sends of one turn, given to the kernel in one call, by io_uring. It is not the calls that this saves, but
// what comes between them: a send wakes its receiver, and on a busy machine the receiver runs at once, in place of
// the sender, which is pushed off the processor up to once per send. Within one call nobody is pushed aside.
//
// Each send ends inside the call (MSG_DONTWAIT): nothing is ever under way when send() returns, so neither the bytes
// nor the descriptors need to live longer. Where the kernel has no io_uring, or forbids it, available() is false.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct io_uring_cqe;
struct io_uring_params;
struct io_uring_sqe;

namespace berth::net {

struct EpollConn;

class SendBatch {
 public:
  static constexpr size_t kMost = 64;          // sends per call
  static constexpr size_t kLongest = 4096;     // more bytes are sent by themselves: they are not worth a copy
  static constexpr size_t kArena = 64 * 1024;  // bytes per call

  // One send: its bytes, and what became of it: the number sent, or a negative errno value.
  struct Entry {
    EpollConn* conn = nullptr;
    int fd = -1;
    int result = 0;
    uint32_t begin = 0;
    uint32_t size = 0;
  };

  SendBatch() = default;
  ~SendBatch();
  SendBatch(const SendBatch&) = delete;
  SendBatch& operator=(const SendBatch&) = delete;

  // Makes the ring at the first call, which must come from the thread that will send.
  bool available() { return state_ == State::kReady || (state_ == State::kUnknown && open()); }
  // From now on there is none: for tests, and after a call that failed.
  void disable() { state_ = State::kNone; }

  bool empty() const { return count_ == 0; }
  bool has_room(size_t bytes) const { return count_ < kMost && used_ + bytes <= kArena; }
  // Copies the spans, which have `bytes` bytes in all.
  void add(EpollConn* conn, int fd, std::span<const iovec> spans, size_t bytes);
  // Puts the spans behind the bytes of the entry that was added last, if that is this connection's and stays short
  // enough. Returns whether it did.
  bool extend(const EpollConn* conn, std::span<const iovec> spans, size_t bytes);
  // Sends all of them. The entries are valid until clear().
  std::span<const Entry> send();
  iovec bytes_of(const Entry& entry) const { return {arena_.get() + entry.begin, entry.size}; }
  void clear() { count_ = used_ = 0; }

 private:
  void copy(std::span<const iovec> spans);

  enum class State : uint8_t { kUnknown, kReady, kNone };

  bool open();
  bool map(const io_uring_params& parameters);
  void unmap();
  void send_by_ring();
  size_t submit();
  size_t take_results();
  void send_singly(size_t from);

  State state_ = State::kUnknown;
  size_t count_ = 0;
  size_t used_ = 0;
  std::array<Entry, kMost> entries_;
  std::unique_ptr<char[]> arena_;

  // The ring, shared with the kernel: we write the submission tail and the completion head, it writes the other two.
  int ring_ = -1;
  void* rings_ = nullptr;
  size_t rings_size_ = 0;
  io_uring_sqe* submissions_ = nullptr;
  size_t submissions_size_ = 0;
  io_uring_cqe* completions_ = nullptr;
  uint32_t* submission_tail_ = nullptr;
  uint32_t submission_mask_ = 0;
  uint32_t* completion_head_ = nullptr;
  uint32_t* completion_tail_ = nullptr;
  uint32_t completion_mask_ = 0;
};

}  // namespace berth::net
