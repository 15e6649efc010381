// Memory for secrets: pages of its own, which no core dump and no child process gets, kept out of swap as far as the
// limit allows, and overwritten when it is freed. Passwords, keys derived from them and the objects of a login live
// here; nothing of the path of a query does.
#pragma once

#include <cstddef>
#include <new>
#include <string_view>
#include <utility>

namespace berth {

// Overwrites; never optimised away.
void wipe(void* memory, size_t size);
// Overwrites what the functions that have returned by now left below the caller's frame: for after work with secrets
// in local variables.
void wipe_stack();
// The same where a frame may be large: readers of files, which keep a buffer there. Not on the path of anything.
void wipe_deep_stack();

// Any thread. What is freed is overwritten at once; small pieces are used again, large ones go back to the system.
void* secret_allocate(size_t size);
void secret_free(void* memory, size_t size);

// The process will not fork itself any more: from now on the pages are locked (until RLIMIT_MEMLOCK is reached) and
// children see zeros. Before, `pgberth -d` needs what its parent has read.
void settle_secret_memory();

// For tests and the log.
struct SecretMemory {
  size_t bytes = 0;   // of pages
  size_t locked = 0;  // of them
  size_t used = 0;    // given out now
};
SecretMemory secret_memory();

// Marks the heap and the stack of the calling thread so that no core dump has them: for threads with secrets in
// ordinary memory, theirs or a library's (libpq). Their backtraces are not in a dump either. It needs a heap of the
// thread's own, which glibc gives to each but the first; false if there is none.
bool keep_thread_out_of_dumps();

// For containers whose nodes hold secrets.
template <typename T>
struct SecretAllocator {
  using value_type = T;
  SecretAllocator() = default;
  template <typename U>
  SecretAllocator(const SecretAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(secret_allocate(count * sizeof(T))); }
  void deallocate(T* memory, size_t count) { secret_free(memory, count * sizeof(T)); }
  template <typename U>
  bool operator==(const SecretAllocator<U>&) const {
    return true;
  }
};

// Whoever derives from this lives in that memory when it is made by `new`.
struct SecretObject {
  static void* operator new(size_t size) { return secret_allocate(size); }
  static void operator delete(void* memory, size_t size) { secret_free(memory, size); }
};

// A text in that memory, whatever its length (a std::string keeps short ones in itself). It cannot be formatted, so
// no message has it by mistake: whoever needs the bytes says view().
class SecretString {
 public:
  SecretString() = default;
  SecretString(std::string_view text) { *this = text; }
  SecretString(const char* text) : SecretString(std::string_view(text)) {}
  SecretString(const SecretString& other) : SecretString(other.view()) {}
  SecretString(SecretString&& other) noexcept { swap(other); }
  ~SecretString() { clear(); }
  SecretString& operator=(std::string_view text);
  SecretString& operator=(const char* text) { return *this = std::string_view(text); }
  SecretString& operator=(const SecretString& other) { return &other == this ? *this : *this = other.view(); }
  SecretString& operator=(SecretString&& other) noexcept {
    swap(other);
    return *this;
  }

  std::string_view view() const { return {data_, size_}; }
  const char* c_str() const { return data_ ? data_ : ""; }  // a zero byte follows the text
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear();
  void swap(SecretString& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};
// In a time that depends on the sizes only.
bool operator==(const SecretString& a, const SecretString& b);

}  // namespace berth
