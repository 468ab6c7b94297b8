// A library to preload that makes one call of a program fail, for tests/e2e/failure_injection.py.
//
// FAIL_CLASS names the kind of call, FAIL_AT which of them fails (the first is 1; 0: none). Calls
// count from main on. When the program ends, FAIL_COUNT_FILE gets their number and, a line each,
// the numbers of those that came from a place (a stack of callers) that none before came from. With
// FAIL_TRACE the callers of the call that fails are printed.
//
// `alloc` is malloc, calloc, realloc and the aligned kinds, which operator new asks as well, by
// whoever calls them but the libraries of FAIL_SPARE (names of files, separated by colons), which
// cannot bear it. With FAIL_ON every call from FAIL_AT on fails.
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>

namespace {

enum Class { kNone, kAlloc, kMmap, kOpen, kRead, kWrite, kFsync, kRename, kLink, kThread };
constexpr const char* kNames[] = {"none",  "alloc", "mmap",   "open", "read",
                                  "write", "fsync", "rename", "link", "thread"};

std::atomic<bool> armed{false};
std::atomic<long> count{0};
Class chosen = kNone;
long fail_at = 0;
bool goes_on = false;
char count_file[4096];

// Hashes of the stacks seen so far, an open table, and the calls that brought new ones.
constexpr int kFrames = 5;
constexpr size_t kTable = 1 << 16;
unsigned long seen[kTable];
long first_calls[kTable / 2];
size_t places = 0;
pthread_mutex_t table_mutex = PTHREAD_MUTEX_INITIALIZER;
thread_local bool looking = false;

void note_place(long number) {
  if (looking) return;  // walking the stack may allocate
  looking = true;
  void* frames[kFrames + 3];
  const int depth = backtrace(frames, kFrames + 3);
  unsigned long hash = 1469598103934665603UL;
  for (int i = 3; i < depth; ++i)
    hash = (hash ^ reinterpret_cast<unsigned long>(frames[i])) * 1099511628211UL;
  pthread_mutex_lock(&table_mutex);
  size_t at = (hash ^ (hash >> 32)) % kTable;
  while (seen[at] != 0 && seen[at] != hash) at = (at + 1) % kTable;
  if (seen[at] == 0 && places < kTable / 2) {
    seen[at] = hash;
    first_calls[places++] = number;
  }
  pthread_mutex_unlock(&table_mutex);
  looking = false;
}

struct Range {
  unsigned long begin = 0, end = 0;
};
Range spared[16];
int spared_count = 0;

// Whether the call at hand is the one to fail.
bool fails(Class kind) {
  if (kind != chosen || !armed.load(std::memory_order_relaxed)) return false;
  if (looking) return false;
  const long number = count.fetch_add(1, std::memory_order_relaxed) + 1;
  if (count_file[0] != '\0') note_place(number);
  if (number != fail_at && !(goes_on && fail_at > 0 && number > fail_at)) return false;
  if (number != fail_at) return true;
  if (getenv("FAIL_TRACE") != nullptr) {
    looking = true;
    void* frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), 2);
    looking = false;
  }
  return true;
}

bool is_spared(const void* caller) {
  const auto address = reinterpret_cast<unsigned long>(caller);
  for (int i = 0; i < spared_count; ++i)
    if (address >= spared[i].begin && address < spared[i].end) return true;
  return false;
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// Where the libraries to spare are mapped.
void find_spared(const char* names) {
  if (names == nullptr || *names == '\0') return;
  FILE* maps = fopen("/proc/self/maps", "r");
  if (maps == nullptr) return;
  char line[8192];
  while (fgets(line, sizeof line, maps) != nullptr) {
    unsigned long begin = 0, end = 0;
    if (sscanf(line, "%lx-%lx", &begin, &end) != 2) continue;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", names);
    for (char* name = strtok(copy, ":"); name != nullptr; name = strtok(nullptr, ":")) {
      if (strstr(line, name) == nullptr || spared_count == 16) continue;
      if (spared_count > 0 && spared[spared_count - 1].end == begin) {
        spared[spared_count - 1].end = end;
      } else {
        spared[spared_count++] = {begin, end};
      }
    }
  }
  fclose(maps);
}

void write_count() {
  armed = false;
  if (count_file[0] == '\0') return;
  FILE* file = fopen(count_file, "w");
  if (file == nullptr) return;
  fprintf(file, "%ld\n", count.load());
  for (size_t i = 0; i < places; ++i) fprintf(file, "%ld\n", first_calls[i]);
  fclose(file);
}

using Main = int(int, char**, char**);
Main* real_main = nullptr;

int counted_main(int argc, char** argv, char** environment) {
  const char* kind = getenv("FAIL_CLASS");
  for (int i = 0; kind != nullptr && i <= kThread; ++i)
    if (strcmp(kind, kNames[i]) == 0) chosen = static_cast<Class>(i);
  const char* at = getenv("FAIL_AT");
  fail_at = at != nullptr ? atol(at) : 0;
  goes_on = getenv("FAIL_ON") != nullptr;
  const char* file = getenv("FAIL_COUNT_FILE");
  snprintf(count_file, sizeof count_file, "%s", file != nullptr ? file : "");
  find_spared(getenv("FAIL_SPARE"));
  atexit(write_count);
  void* frame = nullptr;
  if (count_file[0] != '\0') backtrace(&frame, 1);  // it loads a library the first time
  armed = true;
  return real_main(argc, argv, environment);
}

}  // namespace

extern "C" {

int __libc_start_main(Main* main, int argc, char** argv, void (*init)(), void (*fini)(),
                      void (*rtld_fini)(), void* stack_end) {
  real_main = main;
  using Start = int(Main*, int, char**, void (*)(), void (*)(), void (*)(), void*);
  return next<Start>("__libc_start_main")(counted_main, argc, argv, init, fini, rtld_fini,
                                          stack_end);
}

// The C library's own names for its allocator: dlsym itself allocates.
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

static bool allocation_fails(const void* caller) {
  if (chosen != kAlloc || is_spared(caller) || !fails(kAlloc)) return false;
  errno = ENOMEM;
  return true;
}

void* malloc(size_t size) {
  return allocation_fails(__builtin_return_address(0)) ? nullptr : __libc_malloc(size);
}
void* calloc(size_t n, size_t size) {
  return allocation_fails(__builtin_return_address(0)) ? nullptr : __libc_calloc(n, size);
}
void* realloc(void* old, size_t size) {
  return allocation_fails(__builtin_return_address(0)) ? nullptr : __libc_realloc(old, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  return allocation_fails(__builtin_return_address(0)) ? nullptr : __libc_memalign(alignment, size);
}
void* memalign(size_t alignment, size_t size) {
  return allocation_fails(__builtin_return_address(0)) ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  if (allocation_fails(__builtin_return_address(0))) return ENOMEM;
  void* const memory = __libc_memalign(alignment, size);
  if (memory == nullptr) return ENOMEM;
  *out = memory;
  return 0;
}

#define FAILING(kind, error, result) \
  if (fails(kind)) {                 \
    errno = error;                   \
    return result;                   \
  }

void* mmap(void* address, size_t size, int protection, int flags, int descriptor, off_t offset) {
  FAILING(kMmap, ENOMEM, MAP_FAILED)
  static auto* const real = next<void*(void*, size_t, int, int, int, off_t)>("mmap");
  return real(address, size, protection, flags, descriptor, offset);
}

static int open_with(const char* name, const char* path, int flags, unsigned mode) {
  FAILING(kOpen, EMFILE, -1)
  return next<int(const char*, int, ...)>(name)(path, flags, mode);
}
int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0;
  va_end(arguments);
  return open_with("open", path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0;
  va_end(arguments);
  return open_with("open64", path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
  FAILING(kOpen, EMFILE, nullptr)
  return next<FILE*(const char*, const char*)>("fopen")(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  FAILING(kOpen, EMFILE, nullptr)
  return next<FILE*(const char*, const char*)>("fopen64")(path, mode);
}

ssize_t read(int descriptor, void* data, size_t size) {
  FAILING(kRead, EIO, -1)
  return next<ssize_t(int, void*, size_t)>("read")(descriptor, data, size);
}
ssize_t pread(int descriptor, void* data, size_t size, off_t offset) {
  FAILING(kRead, EIO, -1)
  return next<ssize_t(int, void*, size_t, off_t)>("pread")(descriptor, data, size, offset);
}
ssize_t pread64(int descriptor, void* data, size_t size, off_t offset) {
  FAILING(kRead, EIO, -1)
  return next<ssize_t(int, void*, size_t, off_t)>("pread64")(descriptor, data, size, offset);
}
ssize_t write(int descriptor, const void* data, size_t size) {
  FAILING(kWrite, ENOSPC, -1)
  return next<ssize_t(int, const void*, size_t)>("write")(descriptor, data, size);
}
ssize_t writev(int descriptor, const iovec* parts, int n) {
  FAILING(kWrite, ENOSPC, -1)
  return next<ssize_t(int, const iovec*, int)>("writev")(descriptor, parts, n);
}
size_t fwrite(const void* data, size_t size, size_t n, FILE* file) {
  FAILING(kWrite, ENOSPC, 0)
  return next<size_t(const void*, size_t, size_t, FILE*)>("fwrite")(data, size, n, file);
}
int fflush(FILE* file) {
  FAILING(kWrite, ENOSPC, EOF)
  return next<int(FILE*)>("fflush")(file);
}
int fsync(int descriptor) {
  FAILING(kFsync, EIO, -1)
  return next<int(int)>("fsync")(descriptor);
}
int rename(const char* from, const char* to) {
  FAILING(kRename, EACCES, -1)
  return next<int(const char*, const char*)>("rename")(from, to);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  FAILING(kLink, EPERM, -1)
  return next<int(int, const char*, int, const char*, int)>("linkat")(from_folder, from, to_folder,
                                                                      to, flags);
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) {
  if (fails(kThread)) return EAGAIN;
  return next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create")(
      thread, attributes, start, argument);
}

}  // extern "C"
