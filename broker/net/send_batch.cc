// The ring of a SendBatch, by the three system calls themselves: it is used for one thing only.
#include "net/send_batch.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace berth::net {
namespace {

constexpr int kSendFlags = MSG_NOSIGNAL | MSG_DONTWAIT;

template <typename T>
T* at(void* base, uint32_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}

}  // namespace

SendBatch::~SendBatch() {
  unmap();
}

// Linux 6.1 knows all of these flags. Completions come only inside our own calls, as nothing else happens with the
// ring.
bool SendBatch::open() {
  state_ = State::kNone;
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  ring_ = static_cast<int>(syscall(SYS_io_uring_setup, kMost, &parameters));
  if (ring_ < 0) return false;
  if (!(parameters.features & IORING_FEAT_SINGLE_MMAP) || !map(parameters)) {
    unmap();
    return false;
  }
  arena_.reset(new char[kArena]);
  state_ = State::kReady;
  return true;
}

bool SendBatch::map(const io_uring_params& parameters) {
  constexpr int kProtection = PROT_READ | PROT_WRITE, kFlags = MAP_SHARED | MAP_POPULATE;
  const size_t submission_end = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
  const size_t completion_end = parameters.cq_off.cqes + parameters.cq_entries * sizeof(io_uring_cqe);
  rings_size_ = submission_end > completion_end ? submission_end : completion_end;
  void* rings = mmap(nullptr, rings_size_, kProtection, kFlags, ring_, IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return false;
  rings_ = rings;
  submissions_size_ = parameters.sq_entries * sizeof(io_uring_sqe);
  void* submissions = mmap(nullptr, submissions_size_, kProtection, kFlags, ring_, IORING_OFF_SQES);
  if (submissions == MAP_FAILED) return false;
  submissions_ = static_cast<io_uring_sqe*>(submissions);
  completions_ = at<io_uring_cqe>(rings_, parameters.cq_off.cqes);
  submission_tail_ = at<uint32_t>(rings_, parameters.sq_off.tail);
  submission_mask_ = *at<uint32_t>(rings_, parameters.sq_off.ring_mask);
  completion_head_ = at<uint32_t>(rings_, parameters.cq_off.head);
  completion_tail_ = at<uint32_t>(rings_, parameters.cq_off.tail);
  completion_mask_ = *at<uint32_t>(rings_, parameters.cq_off.ring_mask);
  // The indirection between ring and entries stays as it is: the n-th is the n-th.
  uint32_t* order = at<uint32_t>(rings_, parameters.sq_off.array);
  for (uint32_t i = 0; i < parameters.sq_entries; ++i) order[i] = i;
  return true;
}

void SendBatch::unmap() {
  if (submissions_) munmap(submissions_, submissions_size_);
  if (rings_) munmap(rings_, rings_size_);
  if (ring_ >= 0) close(ring_);
  submissions_ = nullptr;
  rings_ = nullptr;
  ring_ = -1;
}

void SendBatch::add(EpollConn* conn, int fd, std::span<const iovec> spans, size_t bytes) {
  ASSERT(has_room(bytes));
  entries_[count_++] = {conn, fd, 0, static_cast<uint32_t>(used_), static_cast<uint32_t>(bytes)};
  copy(spans);
}

bool SendBatch::extend(const EpollConn* conn, std::span<const iovec> spans, size_t bytes) {
  if (count_ == 0 || used_ + bytes > kArena) return false;
  Entry& last = entries_[count_ - 1];
  if (last.conn != conn || last.size + bytes > kLongest) return false;
  last.size += static_cast<uint32_t>(bytes);
  copy(spans);
  return true;
}

void SendBatch::copy(std::span<const iovec> spans) {
  for (const iovec& span : spans) {
    std::memcpy(arena_.get() + used_, span.iov_base, span.iov_len);
    used_ += span.iov_len;
  }
}

std::span<const SendBatch::Entry> SendBatch::send() {
  if (count_ > 1 && state_ == State::kReady) {
    send_by_ring();
  } else {
    send_singly(0);
  }
  return {entries_.data(), count_};
}

void SendBatch::send_by_ring() {
  uint32_t tail = *submission_tail_;
  for (size_t i = 0; i < count_; ++i) {
    io_uring_sqe& entry = submissions_[tail++ & submission_mask_];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_SEND;
    entry.fd = entries_[i].fd;
    entry.addr = reinterpret_cast<uint64_t>(arena_.get() + entries_[i].begin);
    entry.len = entries_[i].size;
    entry.msg_flags = kSendFlags;
    entry.user_data = i;
  }
  std::atomic_ref<uint32_t>(*submission_tail_).store(tail, std::memory_order_release);
  const size_t taken = submit();
  for (size_t done = take_results(); done < taken;) {  // never in practice: each ends inside the call
    const long waited = syscall(SYS_io_uring_enter, ring_, 0, taken - done, IORING_ENTER_GETEVENTS, nullptr, 0);
    ASSERT(waited >= 0 || errno == EINTR);
    done += take_results();
  }
  if (taken == count_) return;
  disable();  // the ring is out of step with us now
  send_singly(taken);
}

// How many the kernel has taken, which is all of them unless it has no memory.
size_t SendBatch::submit() {
  size_t taken = 0;
  while (taken < count_) {
    const long some = syscall(SYS_io_uring_enter, ring_, count_ - taken, 0, 0, nullptr, 0);
    if (some < 0 && errno == EINTR) continue;
    if (some <= 0) break;
    taken += static_cast<size_t>(some);
  }
  return taken;
}

size_t SendBatch::take_results() {
  uint32_t head = *completion_head_;
  const uint32_t tail = std::atomic_ref<uint32_t>(*completion_tail_).load(std::memory_order_acquire);
  const size_t count = tail - head;
  for (; head != tail; ++head) {
    const io_uring_cqe& completion = completions_[head & completion_mask_];
    entries_[completion.user_data].result = completion.res;
  }
  std::atomic_ref<uint32_t>(*completion_head_).store(head, std::memory_order_release);
  return count;
}

void SendBatch::send_singly(size_t from) {
  for (size_t i = from; i < count_; ++i) {
    Entry& entry = entries_[i];
    long sent = 0;
    do {
      sent = syscall(SYS_sendto, entry.fd, arena_.get() + entry.begin, entry.size, kSendFlags, nullptr, 0);
    } while (sent < 0 && errno == EINTR);
    entry.result = sent < 0 ? -errno : static_cast<int>(sent);
  }
}

}  // namespace berth::net
