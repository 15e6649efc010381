// Gathers what one turn sends over one connection: stretches of lent bytes as they are, and rewritten heads from an
// arena, in order. Contiguous stretches become one, small totals one send().
#pragma once

#include <array>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "base/fault.h"
#include "net/engine.h"
#include "session/limits.h"

namespace berth::session {

class Outbox {
 public:
  // Starts to gather for `conn`; what was gathered before must have been flushed.
  void begin(net::Engine* engine, net::Conn* conn) {
    ASSERT(count_ == 0 && used_ == 0);
    engine_ = engine;
    conn_ = conn;
  }
  // Bytes that live until flush().
  void lend(std::string_view bytes) {
    if (bytes.empty()) return;
    total_ += bytes.size();
    if (count_ > 0) {
      iovec& last = spans_[count_ - 1];
      if (static_cast<char*>(last.iov_base) + last.iov_len == bytes.data()) {
        last.iov_len += bytes.size();
        return;
      }
      if (count_ == kSpans) send();
    }
    spans_[count_++] = {const_cast<char*>(bytes.data()), bytes.size()};
  }
  // Room for `size` bytes that the caller fills at once.
  char* reserve(size_t size) {
    ASSERT(size <= kArena);
    if (used_ + size > kArena) {  // all that was reserved before is lent by now: it goes out, and the arena is free
      if (!FAULT(arena_overwritten)) send();
      used_ = 0;
    }
    char* at = arena_.data() + used_;
    used_ += size;
    return at;
  }
  void copy(std::string_view bytes) {
    while (bytes.size() > kArena / 2) {
      copy(bytes.substr(0, kArena / 2));
      bytes.remove_prefix(kArena / 2);
    }
    char* at = reserve(bytes.size());
    std::memcpy(at, bytes.data(), bytes.size());
    lend({at, bytes.size()});
  }
  // Sends all. Returns the bytes that the connection has not sent yet.
  size_t flush() {
    if (count_ > 0) send();
    used_ = 0;
    return conn_ ? engine_->unsent(conn_) : 0;
  }
  bool empty() const { return count_ == 0; }
  void drop() {
    count_ = 0;
    used_ = total_ = 0;
  }

 private:
  void send() {
    if (count_ > 1 && total_ <= kGatherMax) {
      gather();
    } else if (conn_) {
      engine_->write(conn_, {spans_.data(), count_});
    }
    count_ = 0;
    total_ = 0;
  }
  void gather() {
    size_t at = 0;
    for (size_t i = 0; i < count_; ++i) {
      std::memcpy(together_.data() + at, spans_[i].iov_base, spans_[i].iov_len);
      at += spans_[i].iov_len;
    }
    const iovec one{together_.data(), at};
    if (conn_) engine_->write(conn_, {&one, 1});
  }

  net::Engine* engine_ = nullptr;
  net::Conn* conn_ = nullptr;
  std::array<iovec, kSpans> spans_;
  size_t count_ = 0, used_ = 0, total_ = 0;
  std::array<char, kArena> arena_;
  std::array<char, kGatherMax> together_;
};

}  // namespace berth::session
