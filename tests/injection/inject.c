// SPDX-License-Identifier: Apache-2.0
//
// Makes system calls of loopscope's own fail, and no others. Preloaded after the probe, so that the
// probe's calls of libc come here; what comes here is judged by who called:
//
//   own code of the object under test          its own call
//   a hook that own code called                its own call, through its own hook
//   a hook that the program called             the program's call, handed on: never touched
//   anything else                              the program's: never touched
//
// Which addresses are own code and which are hooks, and which call is to fail, is in the file
// $INJECT_STATE (struct state; injection_test.py writes it), mapped shared by all processes of a
// run. There each own call is also counted by the place it is made at.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

enum { kIntervals = 2048, kPlaces = 1024, kSyscalls = 1000, kProcesses = 8 };

struct interval {
  uint32_t begin, end;  // from the object's load address
  uint32_t hook;        // else own code
};
struct place {
  uint32_t function;  // place in kNames, or kSyscalls + number of syscall(2); plus 1, 0: not used
  uint32_t offset;    // of the return address into own code
  uint32_t count;
  uint32_t by[kProcesses];  // of it, by each process; the last stands for all after it
};
struct state {
  char object[512];  // path of the object under test ends so; "": the program itself
  uint32_t target_function, target_offset, first, times;  // which calls fail: first counts from 1
  int32_t error;
  uint32_t hits;  // calls that were made to fail
  int32_t hit_pid;
  uint32_t intervals;
  // Processes and what they exec, numbered in the order of their first own calls, from 1.
  uint32_t target_process;  // 0: whichever it is; else only its calls fail, and `first` counts them
  uint32_t processes;
  int32_t pid[kProcesses];
  struct interval interval[kIntervals];  // rising
  struct place place[kPlaces];
};

static struct state* g_state;
static uintptr_t g_base, g_end;
static int g_ready;  // 1: being made ready, 2: ready

static long raw(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static int find_object(struct dl_phdr_info* info, size_t size, void* unused) {
  (void)size, (void)unused;
  const size_t own = strlen(info->dlpi_name), wanted = strlen(g_state->object);
  if (wanted == 0 ? own != 0
                  : own < wanted || strcmp(info->dlpi_name + own - wanted, g_state->object) != 0) {
    return 0;
  }
  g_base = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)* segment = &info->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD) continue;
    const uintptr_t end = g_base + segment->p_vaddr + segment->p_memsz;
    if (end > g_end) g_end = end;
  }
  return 1;
}

static void make_ready(void) {
  int none = 0;
  if (!__atomic_compare_exchange_n(&g_ready, &none, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    return;
  const char* path = getenv("INJECT_STATE");
  const long fd =
      path == NULL ? -1 : raw(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC, 0, 0, 0);
  if (fd >= 0) {
    const long memory =
        raw(SYS_mmap, 0, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    raw(SYS_close, fd, 0, 0, 0, 0, 0);
    if (memory > 0) {
      g_state = (struct state*)memory;
      dl_iterate_phdr(find_object, NULL);
    }
  }
  __atomic_store_n(&g_ready, 2, __ATOMIC_RELEASE);
}

/// 0 not the object's, 1 own code, 2 a hook.
static int whose(uintptr_t address) {
  if (address <= g_base || address > g_end) return 0;
  const uint32_t offset = (uint32_t)(address - 1 - g_base);  // of the call, not what follows it
  uint32_t low = 0, high = g_state->intervals;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    const struct interval* at = &g_state->interval[middle];
    if (offset < at->begin) {
      high = middle;
    } else if (offset >= at->end) {
      low = middle + 1;
    } else {
      return at->hook ? 2 : 1;
    }
  }
  return 0;
}

/// Place of this process in what is kept by process. Made by its first own call: one thread's.
static uint32_t this_process(void) {
  static int32_t pid = 0;
  static uint32_t place = 0;
  const int32_t self = (int32_t)raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
  if (pid != self) {
    pid = self;
    place = __atomic_fetch_add(&g_state->processes, 1, __ATOMIC_ACQ_REL);
    if (place >= kProcesses) place = kProcesses - 1;
    g_state->pid[place] = self;
  }
  return place;
}

struct walk {
  uintptr_t from;  // the frame that the walk is about
  uintptr_t own;   // the first frame outside of it that is not a hook, if it is own code
  int seen;
};
static _Unwind_Reason_Code step(struct _Unwind_Context* context, void* argument) {
  struct walk* walk = argument;
  const uintptr_t address = _Unwind_GetIP(context);
  if (!walk->seen) {
    walk->seen = address == walk->from;
    return _URC_NO_REASON;
  }
  const int who = whose(address);
  if (who == 2) return _URC_NO_REASON;
  if (who == 1) walk->own = address;
  return _URC_END_OF_STACK;
}

/// Whether this call is to fail. Counts it if it is own.
static int fails(uint32_t function, void* caller) {
  if (__atomic_load_n(&g_ready, __ATOMIC_ACQUIRE) == 0) make_ready();
  if (__atomic_load_n(&g_ready, __ATOMIC_ACQUIRE) != 2 || g_state == NULL || g_base == 0) return 0;
  uintptr_t address = (uintptr_t)caller;
  const int who = whose(address);
  if (who == 0) return 0;
  if (who == 2) {
    struct walk walk = {address, 0, 0};
    _Unwind_Backtrace(step, &walk);
    if (walk.own == 0) return 0;
    address = walk.own;
  }
  const uint32_t offset = (uint32_t)(address - g_base);
  const uint32_t process = this_process();
  for (int i = 0; i < kPlaces; ++i) {
    struct place* at = &g_state->place[i];
    uint32_t there = __atomic_load_n(&at->function, __ATOMIC_ACQUIRE);
    if (there == 0) {
      uint32_t free = 0;
      if (__atomic_compare_exchange_n(&at->offset, &free, offset, 0, __ATOMIC_ACQ_REL,
                                      __ATOMIC_ACQUIRE) ||
          free == offset) {
        __atomic_compare_exchange_n(&at->function, &there, function + 1, 0, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE);
        if (there == 0) there = function + 1;
      }
    }
    if (there != function + 1 || __atomic_load_n(&at->offset, __ATOMIC_ACQUIRE) != offset) continue;
    uint32_t number = __atomic_add_fetch(&at->count, 1, __ATOMIC_ACQ_REL);
    const uint32_t its = __atomic_add_fetch(&at->by[process], 1, __ATOMIC_ACQ_REL);
    if (g_state->target_process != 0) {
      if (g_state->target_process != process + 1) return 0;
      number = its;
    }
    if (g_state->target_function != function + 1 || g_state->target_offset != offset ||
        number < g_state->first || number - g_state->first >= g_state->times) {
      return 0;
    }
    g_state->hit_pid = (int32_t)raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
    __atomic_add_fetch(&g_state->hits, 1, __ATOMIC_ACQ_REL);
    return 1;
  }
  return 0;
}

// The order is that of NAMES in injection_test.py.
enum {
  kOpen,
  kOpen2,
  kRead,
  kReadChk,
  kClose,
  kStat,
  kLstat,
  kFstat,
  kFstatat,
  kMkdir,
  kFtruncate,
  kFallocate,
  kMmap,
  kMunmap,
  kMadvise,
  kLseek,
  kUnlink,
  kUnlinkat,
  kReadlink,
  kReadlinkChk,
  kGetrlimit,
  kGetsockopt,
  kPrctl,
  kKeyCreate,
  kSetspecific,
  kNanosleep,
  kAccess
};

#define REAL(type, name, ...)       \
  static type (*real)(__VA_ARGS__); \
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, name)
#define CALLER __builtin_return_address(0)
#define WRAP(number, type, name, parameters, arguments, types) \
  type name parameters {                                       \
    REAL(type, #name, types);                                  \
    if (fails(number, CALLER)) {                               \
      errno = g_state->error;                                  \
      return (type)-1;                                         \
    }                                                          \
    return real arguments;                                     \
  }
#define TYPES(...) __VA_ARGS__

WRAP(kOpen2, int, __open_2, (const char* path, int flags), (path, flags), TYPES(const char*, int))
WRAP(kRead, ssize_t, read, (int fd, void* to, size_t size), (fd, to, size),
     TYPES(int, void*, size_t))
WRAP(kReadChk, ssize_t, __read_chk, (int fd, void* to, size_t size, size_t room),
     (fd, to, size, room), TYPES(int, void*, size_t, size_t))
WRAP(kStat, int, stat, (const char* path, struct stat* to), (path, to),
     TYPES(const char*, struct stat*))
WRAP(kLstat, int, lstat, (const char* path, struct stat* to), (path, to),
     TYPES(const char*, struct stat*))
WRAP(kFstat, int, fstat, (int fd, struct stat* to), (fd, to), TYPES(int, struct stat*))
WRAP(kFstatat, int, fstatat, (int at, const char* path, struct stat* to, int flags),
     (at, path, to, flags), TYPES(int, const char*, struct stat*, int))
WRAP(kMkdir, int, mkdir, (const char* path, mode_t mode), (path, mode), TYPES(const char*, mode_t))
WRAP(kFtruncate, int, ftruncate, (int fd, off_t size), (fd, size), TYPES(int, off_t))
WRAP(kMmap, void*, mmap, (void* at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset), TYPES(void*, size_t, int, int, int, off_t))
WRAP(kMunmap, int, munmap, (void* at, size_t size), (at, size), TYPES(void*, size_t))
WRAP(kMadvise, int, madvise, (void* at, size_t size, int advice), (at, size, advice),
     TYPES(void*, size_t, int))
WRAP(kLseek, off_t, lseek, (int fd, off_t offset, int whence), (fd, offset, whence),
     TYPES(int, off_t, int))
WRAP(kUnlink, int, unlink, (const char* path), (path), TYPES(const char*))
WRAP(kUnlinkat, int, unlinkat, (int at, const char* path, int flags), (at, path, flags),
     TYPES(int, const char*, int))
WRAP(kReadlink, ssize_t, readlink, (const char* path, char* to, size_t size), (path, to, size),
     TYPES(const char*, char*, size_t))
WRAP(kReadlinkChk, ssize_t, __readlink_chk, (const char* path, char* to, size_t size, size_t room),
     (path, to, size, room), TYPES(const char*, char*, size_t, size_t))
WRAP(kGetrlimit, int, getrlimit, (__rlimit_resource_t which, struct rlimit* to), (which, to),
     TYPES(__rlimit_resource_t, struct rlimit*))
WRAP(kGetsockopt, int, getsockopt, (int fd, int level, int option, void* to, socklen_t* size),
     (fd, level, option, to, size), TYPES(int, int, int, void*, socklen_t*))
WRAP(kNanosleep, int, nanosleep, (const struct timespec* time, struct timespec* left), (time, left),
     TYPES(const struct timespec*, struct timespec*))
WRAP(kAccess, int, access, (const char* path, int mode), (path, mode), TYPES(const char*, int))

int open(const char* path, int flags, ...) {
  REAL(int, "open", const char*, int, ...);
  va_list more;
  va_start(more, flags);
  const int mode = va_arg(more, int);  // there or not: handed on as it came
  va_end(more);
  if (fails(kOpen, CALLER)) {
    errno = g_state->error;
    return -1;
  }
  return real(path, flags, mode);
}

/// The descriptor is gone whatever is returned (close(2)).
int close(int fd) {
  REAL(int, "close", int);
  const int failing = fails(kClose, CALLER);
  const int result = real(fd);
  if (!failing) return result;
  errno = g_state->error;
  return -1;
}

int posix_fallocate(int fd, off_t offset, off_t size) {
  REAL(int, "posix_fallocate", int, off_t, off_t);
  return fails(kFallocate, CALLER) ? g_state->error : real(fd, offset, size);
}
int pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  REAL(int, "pthread_key_create", pthread_key_t*, void (*)(void*));
  return fails(kKeyCreate, CALLER) ? g_state->error : real(key, destructor);
}
int pthread_setspecific(pthread_key_t key, const void* value) {
  REAL(int, "pthread_setspecific", pthread_key_t, const void*);
  return fails(kSetspecific, CALLER) ? g_state->error : real(key, value);
}

int prctl(int option, ...) {
  REAL(int, "prctl", int, ...);
  va_list more;
  va_start(more, option);
  long a[4];
  for (int i = 0; i < 4; ++i) a[i] = va_arg(more, long);
  va_end(more);
  if (fails(kPrctl, CALLER)) {
    errno = g_state->error;
    return -1;
  }
  return real(option, a[0], a[1], a[2], a[3]);
}

long syscall(long number, ...) {
  REAL(long, "syscall", long, ...);
  va_list more;
  va_start(more, number);
  long a[6];
  for (int i = 0; i < 6; ++i) a[i] = va_arg(more, long);
  va_end(more);
  const int failing = fails(kSyscalls + (uint32_t)number, CALLER);
  if (failing && number != SYS_close) {
    errno = g_state->error;
    return -1;
  }
  const long result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (!failing) return result;
  errno = g_state->error;
  return -1;
}
