// A library to preload into the broker (LD_PRELOAD): a name server that hangs. Names that end in .held are looked up
// after whoever writes the named pipe HELD_NAMES has come, and are those of 127.0.0.1; all others are the system's.
// tests/e2e/harness/names.py compiles it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints, struct addrinfo** out) {
  int (*next)(const char*, const char*, const struct addrinfo*, struct addrinfo**);
  *(void**)&next = dlsym(RTLD_NEXT, "getaddrinfo");
  const size_t length = node ? strlen(node) : 0;
  if (length < 5 || strcmp(node + length - 5, ".held") != 0) return next(node, service, hints, out);
  close(open(getenv("HELD_NAMES"), O_RDONLY));
  return next("127.0.0.1", service, hints, out);
}
