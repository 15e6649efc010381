// A library to preload into the broker (LD_PRELOAD): counts every allocation of each thread into a file that another
// process maps, and writes down where the last ones came from. tests/e2e/harness/allocations.py reads it.
//
// It stands in front of glibc's malloc and family; operator new, libraries and the C library itself go through these.
// Not for builds with sanitizers, which have an allocator of their own.
#include <execinfo.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

// glibc's own functions under their second names: no dlsym(), which allocates.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

constexpr int kThreads = 64;
constexpr int kPlaces = 64;
constexpr int kFrames = 24;

// The layout of the file; the reader knows it by heart. Each row has one writer, its thread.
struct Row {
  std::atomic<int64_t> thread;  // the kernel's id; 0: unused
  std::atomic<int64_t> allocations;
};
struct Place {
  int64_t thread;
  int64_t size;
  void* frames[kFrames];
};
struct File {
  std::atomic<int64_t> rows_used;
  std::atomic<int64_t> places_used;  // where the next place goes, modulo kPlaces
  std::atomic<int64_t> tracing;      // the reader sets it: write down places, too
  int64_t unused;
  Row rows[kThreads];
  Place places[kPlaces];
};

File* file = nullptr;
// Static storage of this library: reading it must not allocate.
[[gnu::tls_model("initial-exec")]] thread_local Row* row = nullptr;
[[gnu::tls_model("initial-exec")]] thread_local bool busy = false;

void count(size_t size) {
  if (!file || busy) return;
  busy = true;  // what follows may allocate by itself
  if (!row) {
    const int64_t at = file->rows_used.fetch_add(1);
    if (at >= kThreads) abort();
    row = &file->rows[at];
    row->thread = syscall(SYS_gettid);
  }
  row->allocations.fetch_add(1, std::memory_order_relaxed);
  if (file->tracing.load(std::memory_order_relaxed)) {
    Place& place = file->places[file->places_used.fetch_add(1) % kPlaces];
    place.thread = row->thread;
    place.size = static_cast<int64_t>(size);
    const int depth = backtrace(place.frames, kFrames);
    for (int i = depth; i < kFrames; ++i) place.frames[i] = nullptr;
  }
  busy = false;
}

[[gnu::constructor]] void map_file() {
  const char* path = getenv("ALLOCATIONS_FILE");
  if (!path) return;
  const int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0 || ftruncate(descriptor, sizeof(File)) != 0) abort();
  void* memory = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) abort();
  close(descriptor);
  void* frames[2];
  backtrace(frames, 2);  // the first use loads a library
  file = static_cast<File*>(memory);
}

}  // namespace

extern "C" {
void* malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}
void* calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}
void* realloc(void* memory, size_t size) {
  count(size);
  return __libc_realloc(memory, size);
}
void* memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  count(size);
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
}
