// A doubly linked list whose hooks live in the members: no allocation, removal in O(1), each member on at most one
// list per hook. State = list: which list a client or server is on is the truth about its state.
#pragma once

#include <cstddef>

#include "base/assert.h"

namespace berth {

// Inherit from ListHook<Tag> once for each list that an object may be on at the same time.
template <typename Tag>
struct ListHook {
  ListHook* prev = nullptr;
  ListHook* next = nullptr;
  bool linked() const { return next != nullptr; }
};

template <typename T, typename Tag>
class IntrusiveList {
 public:
  using Hook = ListHook<Tag>;
  IntrusiveList() { head_.prev = head_.next = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const { return head_.next == &head_; }
  size_t size() const { return size_; }
  T* front() const { return empty() ? nullptr : owner(head_.next); }
  T* back() const { return empty() ? nullptr : owner(head_.prev); }
  void push_back(T* item) { insert(item, head_.prev); }
  void push_front(T* item) { insert(item, &head_); }
  void remove(T* item) {
    Hook* hook = item;
    ASSERT(hook->linked() && size_ > 0);
    hook->prev->next = hook->next;
    hook->next->prev = hook->prev;
    hook->prev = hook->next = nullptr;
    --size_;
  }
  T* pop_front() {
    T* item = front();
    if (item) remove(item);
    return item;
  }
  // The member after `item`, or null at the end. Take it before removing `item`.
  T* next(const T* item) const {
    const Hook* hook = item;
    return hook->next == &head_ ? nullptr : owner(hook->next);
  }

  // The member before `item`, or null at the front.
  T* previous(const T* item) const {
    const Hook* hook = item;
    return hook->prev == &head_ ? nullptr : owner(hook->prev);
  }

 private:
  static T* owner(Hook* hook) { return static_cast<T*>(hook); }
  void insert(T* item, Hook* after) {
    Hook* hook = item;
    ASSERT(!hook->linked());
    hook->prev = after;
    hook->next = after->next;
    after->next->prev = hook;
    after->next = hook;
    ++size_;
  }
  Hook head_;
  size_t size_ = 0;
};

}  // namespace berth
