// SPDX-License-Identifier: Apache-2.0
//
// Small stacks, alternative stacks, used-up stacks. Cases that measure what hooks need say it on
// stderr.
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <ucontext.h>

#include "cases.h"

static int good = 1;
static void check(int yes, const char* what) {
  if (!yes) {
    good = 0;
    say("failed: %s", what);
  }
}
/// A bit of everything that is hooked.
static void use(void) {
  int fds[2];
  char byte = 'x';
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0xabcdef012345ull};
  const int epoll = epoll_create1(0);
  check(epoll >= 0 && pipe(fds) == 0, "create");
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event) == 0, "epoll_ctl");
  check(write(fds[1], &byte, 1) == 1, "write");
  check(epoll_wait(epoll, &event, 1, 1000) == 1 && event.data.u64 == 0xabcdef012345ull,
        "epoll_wait");
  check(read(fds[0], &byte, 1) == 1, "read");
  const int fd = open("/dev/null", O_RDONLY);
  check(fd >= 0 && close(fd) == 0, "open");
  check(close(fds[0]) == 0 && close(fds[1]) == 0 && close(epoll) == 0, "close");
}

// --- on a stack of our own, painted ---
enum { kPaint = 0x5a, kRoom = 256 << 10 };
static char* painted;
static ucontext_t here, there;
static void (*to_measure)(void);
static void entry(void) { to_measure(); }
static size_t measure(void (*what)(void)) {
  to_measure = what;
  memset(painted, kPaint, kRoom);
  MUST(getcontext(&there));
  there.uc_stack.ss_sp = painted;
  there.uc_stack.ss_size = kRoom;
  there.uc_link = &here;
  makecontext(&there, entry, 0);
  MUST(swapcontext(&here, &there));
  size_t untouched = 0;
  while (untouched < kRoom && painted[untouched] == kPaint) ++untouched;
  return kRoom - untouched;
}
static int measured_epoll;
static struct epoll_event measured_event;
static void nothing(void) {}
static void m_open(void) { close(open("/dev/null", O_RDONLY)); }
static void m_eventfd(void) { close(eventfd(0, 0)); }
static void m_read(void) { check(read(3, NULL, 0) <= 0, "read"); }
static void m_epoll_ctl(void) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0xabcdef012345ull};
  epoll_ctl(measured_epoll, EPOLL_CTL_ADD, 0, &event);
}
static void m_first_wait(void) { epoll_wait(measured_epoll, &measured_event, 1, 0); }
static void m_poll(void) {
  struct pollfd one = {.fd = 0};
  poll(&one, 1, 0);
}
static void m_fopen(void) { fclose(fopen("/dev/null", "r")); }
static void m_child(void) {
  const pid_t child = fork();
  if (child == 0) _exit(open("/dev/null", O_RDONLY) < 0);
  int status;
  check(waitpid(child, &status, 0) == child && status == 0, "child");
}
/// In the child, where the new recording is made: how much of the stack that took.
static void m_child_opens(void) {
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open("/dev/null", O_RDONLY);
    size_t untouched = 0;
    while (untouched < kRoom && painted[untouched] == kPaint) ++untouched;
    fprintf(stderr, "first open in a forked child: %zu\n", kRoom - untouched);
    _exit(fd < 0);
  }
  int status;
  check(waitpid(child, &status, 0) == child && status == 0, "child");
}
static int paint(int argc, char** argv) {
  (void)argc, (void)argv;
  painted = mmap(NULL, kRoom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (painted == MAP_FAILED) give_up("mmap");
  measured_epoll = MUST(epoll_create1(0));
  static const struct {
    const char* name;
    void (*what)(void);
  } all[] = {{"nothing", nothing},
             {"open+close, first", m_open},
             {"open+close", m_open},
             {"eventfd+close", m_eventfd},
             {"read", m_read},
             {"epoll_ctl", m_epoll_ctl},
             {"epoll_wait, first", m_first_wait},
             {"epoll_wait", m_first_wait},
             {"poll, 1st", m_poll},
             {"poll, 2nd", m_poll},
             {"poll, 8th", m_poll},
             {"fopen+fclose", m_fopen},
             {"fork", m_child},
             {"fork+open", m_child_opens}};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    if (strcmp(all[i].name, "poll, 8th") == 0) {
      for (int again = 0; again < 5; ++again) m_poll();
    }
    fprintf(stderr, "%s: %zu\n", all[i].name, measure(all[i].what));
  }
  say("good %d", good);
  return 0;
}

// --- fibers with a guard page below ---
static void in_fiber(void) {
  for (int i = 0; i < 3; ++i) use();
}
static int fibers(int argc, char** argv) {
  (void)argc;
  const size_t size = (size_t)atol(argv[1]);
  for (volatile int i = 0; i < 20; ++i) {
    char* memory =
        mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE) != 0) give_up("mmap");
    MUST(getcontext(&there));
    there.uc_stack.ss_sp = memory + 4096;
    there.uc_stack.ss_size = size;
    there.uc_link = &here;
    makecontext(&there, in_fiber, 0);
    MUST(swapcontext(&here, &there));
    munmap(memory, size + 4096);
  }
  say("good %d", good);
  return 0;
}

static void* in_thread(void* unused) {
  (void)unused;
  use();
  use();
  return NULL;
}
static void* in_thread_and_child(void* unused) {
  (void)unused;
  const pid_t child = fork();
  if (child == 0) {
    use();
    _exit(good ? 0 : 1);
  }
  int status = 1;
  check(waitpid(child, &status, 0) == child && status == 0, "child");
  return NULL;
}
static int threads(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  say("PTHREAD_STACK_MIN %ld: %d", (long)PTHREAD_STACK_MIN,
      pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN));
  for (int i = 0; i < 20; ++i) {
    pthread_t thread;
    const int error =
        pthread_create(&thread, &attributes, i % 2 == 0 ? in_thread : in_thread_and_child, NULL);
    if (error != 0) {
      say("pthread_create: %d", error);
      return 1;
    }
    pthread_join(thread, NULL);
  }
  say("good %d", good);
  return 0;
}

// --- signal stacks ---
static volatile sig_atomic_t handled;
static int forking;
static void on_alternative_stack(int number) {
  (void)number;
  const int saved = errno;
  if (forking && handled % 8 == 0) {
    const pid_t child = fork();
    if (child == 0) {
      use();
      _exit(good ? 0 : 1);
    }
    int status = 1;
    check(waitpid(child, &status, 0) == child && status == 0, "child");
  } else {
    use();
  }
  ++handled;
  errno = saved;
}
static void give_stack(size_t size) {
  char* memory =
      mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE) != 0) give_up("mmap");
  const stack_t stack = {.ss_sp = memory + 4096, .ss_size = size};
  MUST(sigaltstack(&stack, NULL));
}
static int signal_stack(int argc, char** argv) {
  give_stack((size_t)atol(argv[1]));
  forking = argc > 2;
  struct sigaction action = {.sa_handler = on_alternative_stack,
                             .sa_flags = SA_ONSTACK | SA_RESTART};
  MUST(sigaction(SIGALRM, &action, NULL));
  MUST(raise(SIGALRM));
  const struct itimerval time = {.it_value = {0, 1000}, .it_interval = {0, 1000}};
  MUST(setitimer(ITIMER_REAL, &time, NULL));
  while (handled < 50) {
    const int fd = open("/dev/null", O_RDONLY);
    if (fd < 0 || close(fd) != 0) return 1;
  }
  const struct itimerval off = {0};
  setitimer(ITIMER_REAL, &off, NULL);
  say("good %d", good);
  return 0;
}

static void on_overflow(int number) {
  use();
  say("signal %d, good %d", number, good);
  _exit(41);
}
__attribute__((noinline)) static int recurse(int depth) {
  volatile char room[256];
  room[0] = (char)depth;
  const int fd = open("/dev/null", O_RDONLY);  // so it happens inside a hook, or in libc
  if (fd >= 0) close(fd);
  return recurse(depth + 1) + room[0];
}
static int overflow(int argc, char** argv) {
  (void)argc, (void)argv;
  const struct rlimit small = {256 << 10, RLIM_INFINITY};
  setrlimit(RLIMIT_STACK, &small);
  give_stack(32 << 10);
  struct sigaction action = {.sa_handler = on_overflow, .sa_flags = SA_ONSTACK};
  MUST(sigaction(SIGSEGV, &action, NULL));
  return recurse(0);
}
static void* overflows(void* unused) {
  (void)unused;
  give_stack(32 << 10);
  return (void*)(long)recurse(0);
}
static int overflow_in_thread(int argc, char** argv) {
  (void)argc, (void)argv;
  struct sigaction action = {.sa_handler = on_overflow, .sa_flags = SA_ONSTACK};
  MUST(sigaction(SIGSEGV, &action, NULL));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 128 << 10);
  pthread_t thread;
  pthread_create(&thread, &attributes, overflows, NULL);
  pthread_join(thread, NULL);
  return 1;
}
__attribute__((noinline)) static int down(int depth) {
  volatile char room[64];
  room[0] = 1;
  if (depth == 0) {
    use();
    return 0;
  }
  return down(depth - 1) + room[0];
}
static int deep(int argc, char** argv) {
  (void)argc, (void)argv;
  say("%d, good %d", down(40000), good);
  return 0;
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {
      {"paint", paint},       {"fibers", fibers},
      {"threads", threads},   {"signal_stack", signal_stack},
      {"overflow", overflow}, {"overflow_in_thread", overflow_in_thread},
      {"deep", deep},         {NULL, NULL}};
  return run_case(cases, argc, argv);
}
