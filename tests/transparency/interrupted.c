// SPDX-License-Identifier: Apache-2.0
//
// Signals: calls that are interrupted or restarted, jumps out of handlers, handlers that use
// descriptors while the program does.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "cases.h"

static volatile sig_atomic_t caught;
static void count(int number) {
  (void)number;
  ++caught;
}
static void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  MUST(sigaction(number, &action, NULL));
}
/// One SIGALRM, or one every `again_us`.
static void alarm_in(long us, long again_us) {
  const struct itimerval time = {.it_value = {us / 1000000, us % 1000000},
                                 .it_interval = {again_us / 1000000, again_us % 1000000}};
  MUST(setitimer(ITIMER_REAL, &time, NULL));
}

static int epoll;
static int pipes[2];
static void prepare(void) {
  MUST(pipe(pipes));
  epoll = MUST(epoll_create1(0));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcull};
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event));
}

static int signal_is_blocked;
static pid_t main_thread;

/// Whether the main thread sleeps in a call.
static int sleeps(int stat) {
  char text[512];
  const ssize_t got = pread(stat, text, sizeof text - 1, 0);
  if (got <= 0) give_up("pread");
  text[got] = 0;
  const char* state = strrchr(text, ')');
  return state != NULL && state[1] == ' ' && state[2] == 'S';
}
/// Once the main thread sleeps in its call, a signal comes; once that was handled, which settles
/// what the call does about it, a byte. Runs on a thread that takes no signals.
static void* disturb(void* unused) {
  (void)unused;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)main_thread);
  const int stat = MUST(open(path, O_RDONLY | O_CLOEXEC));
  const struct timespec moment = {0, 2000000};
  for (int times = 0; times < 2; times = sleeps(stat) ? times + 1 : 0) nanosleep(&moment, NULL);
  MUST(close(stat));
  MUST((int)syscall(SYS_tgkill, getpid(), main_thread, SIGALRM));
  for (int i = 0; signal_is_blocked ? i < 10 : !caught; ++i) nanosleep(&moment, NULL);
  if (write(pipes[1], "x", 1) != 1) give_up("write");
  return NULL;
}
static pthread_t disturber(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  main_thread = (pid_t)syscall(SYS_gettid);
  pthread_t thread;
  if (pthread_create(&thread, NULL, disturb, NULL) != 0) give_up("pthread_create");
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return thread;
}

#define INTERRUPT(call)                                                           \
  do {                                                                            \
    caught = 0;                                                                   \
    const pthread_t disturbing = disturber();                                     \
    errno = 0;                                                                    \
    const long result = (long)(call);                                             \
    say("%s = %ld, errno %d, signals %d", #call, result, errno, (int)caught);     \
    pthread_join(disturbing, NULL);                                               \
    char byte;                                                                    \
    struct pollfd left = {.fd = pipes[0], .events = POLLIN};                      \
    if (poll(&left, 1, 0) == 1 && read(pipes[0], &byte, 1) != 1) give_up("read"); \
  } while (0)

static int interrupted(int argc, char** argv) {
  (void)argc;
  prepare();
  handle(SIGALRM, count, strcmp(argv[0], "restarted") == 0 ? SA_RESTART : 0);
  struct epoll_event event;
  struct pollfd one = {.fd = pipes[0], .events = POLLIN};
  struct pollfd on_epoll = {.fd = epoll, .events = POLLIN};
  char byte;
  fd_set set;
  sigset_t none;
  sigemptyset(&none);
  for (int i = 0; i < 4; ++i) {  // from the third on a poll's place is a loop
    INTERRUPT(poll(&one, 1, -1));
    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    INTERRUPT(select(pipes[0] + 1, &set, NULL, NULL, NULL));
  }
  INTERRUPT(epoll_wait(epoll, &event, 1, -1));
  INTERRUPT(epoll_wait(epoll, &event, 1, 10000));
  INTERRUPT(epoll_pwait(epoll, &event, 1, -1, &none));
  INTERRUPT(epoll_pwait2(epoll, &event, 1, NULL, &none));
  INTERRUPT(syscall(SYS_epoll_wait, epoll, &event, 1, -1));
  INTERRUPT(poll(&one, 1, -1));
  INTERRUPT(ppoll(&on_epoll, 1, NULL, NULL));
  INTERRUPT(ppoll(&one, 1, NULL, &none));
  FD_ZERO(&set);
  FD_SET(pipes[0], &set);
  INTERRUPT(pselect(pipes[0] + 1, &set, NULL, NULL, NULL, &none));
  INTERRUPT(read(pipes[0], &byte, 1));
  INTERRUPT(syscall(SYS_read, pipes[0], &byte, 1));
  // Blocked signals stay so; those that a pwait lets in come in it alone.
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGALRM);
  sigprocmask(SIG_BLOCK, &blocked, NULL);
  signal_is_blocked = 1;
  INTERRUPT(epoll_wait(epoll, &event, 1, -1));
  sigset_t pending;
  sigpending(&pending);
  say("pending %d", sigismember(&pending, SIGALRM));
  errno = 0;
  const int returned = epoll_pwait(epoll, &event, 1, 1000, &none);
  say("epoll_pwait = %d, errno %d, signals %d", returned, errno, (int)caught);
  return 0;
}

static sigjmp_buf back;
static void jump(int number) {
  (void)number;
  siglongjmp(back, 1);
}
static int jumps(int argc, char** argv) {
  (void)argc, (void)argv;
  prepare();
  handle(SIGALRM, jump, 0);
  struct epoll_event event;
  char byte;
  for (volatile int i = 0; i < 20; ++i) {
    if (sigsetjmp(back, 1) == 0) {
      alarm_in(2000, 0);
      if (i % 2 == 0) {
        epoll_wait(epoll, &event, 1, -1);
      } else if (read(pipes[0], &byte, 1) == 1) {
        say("not reached");
      }
    }
    if (write(pipes[1], "x", 1) != 1) give_up("write");
    const int ready = epoll_wait(epoll, &event, 1, 1000);
    say("turn %d: %d ready, data %llx, read %d", i, ready, (unsigned long long)event.data.u64,
        (int)read(pipes[0], &byte, 1));
  }
  const int fd = MUST(open("/dev/null", O_RDONLY));
  say("open %d, close %d", fd, close(fd));
  return 0;
}

/// Jumps out of whatever is being done, epoll_ctl with pointers as data above all: a lock that is
/// left behind would stop the other thread, and this one.
static volatile int stop;
static void* registers(void* unused) {
  (void)unused;
  const int own = MUST(epoll_create1(0));
  const int fd = MUST(dup(pipes[0]));
  for (unsigned long long i = 0; !stop; ++i) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x700000000000ull + i};
    MUST(epoll_ctl(own, EPOLL_CTL_ADD, fd, &event));
    MUST(epoll_ctl(own, EPOLL_CTL_DEL, fd, NULL));
  }
  return NULL;
}
static int wild_jumps(int argc, char** argv) {
  (void)argc, (void)argv;
  prepare();
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  pthread_sigmask(SIG_BLOCK, &alarms, NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, registers, NULL) != 0) give_up("pthread_create");
  pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
  handle(SIGALRM, jump, 0);
  const int fd = MUST(dup(pipes[0]));
  static volatile int done;
  if (sigsetjmp(back, 1) == 0) alarm_in(200, 200);
  if (++done < 2000) {
    for (unsigned long long i = 0;; ++i) {
      struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x600000000000ull + i};
      epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
      epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    }
  }
  alarm_in(0, 0);
  stop = 1;
  pthread_join(thread, NULL);
  say("done");
  return 0;
}

static volatile unsigned storms;
static void storm(int number) {
  (void)number;
  const int saved = errno;
  char byte;
  const int fd = open("/dev/null", O_RDONLY);
  if (fd < 0 || read(fd, &byte, 1) != 0 || close(fd) != 0) _exit(90);
  struct epoll_event event;
  const int own = epoll_create1(0);
  if (own < 0 || epoll_wait(own, &event, 1, 0) != 0) _exit(91);
  event.events = EPOLLOUT;
  event.data.u64 = 0x700000000000ull + storms % 100;  // as a pointer: the probe notes it
  if (epoll_ctl(own, EPOLL_CTL_ADD, pipes[1], &event) != 0 || close(own) != 0) _exit(91);
  ++storms;
  errno = saved;
}
/// Main and its handler do the same for a while. Says on stderr how often, for the recording to be
/// compared with: `opens` and `closes` that were made in all.
static int storming(int argc, char** argv) {
  (void)argc;
  const double seconds = atof(argv[1]);
  prepare();
  handle(SIGALRM, storm, SA_RESTART);
  alarm_in(1000, 1000);
  struct timespec begun, now;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  double spent = 0;
  unsigned long rounds = 0;
  do {
    char byte;
    const int fd = open("/dev/zero", O_RDONLY);
    if (fd < 0 || read(fd, &byte, 1) != 1) _exit(92);
    struct epoll_event event;
    const int ready = epoll_wait(epoll, &event, 1, 0);
    if (ready != 0 && !(ready == -1 && errno == EINTR)) _exit(93);
    event.events = EPOLLIN;
    event.data.u64 = 0x600000000000ull + rounds % 1000;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, pipes[0], &event) != 0) _exit(95);
    if (close(fd) != 0) _exit(94);
    ++rounds;
    clock_gettime(CLOCK_MONOTONIC, &now);
    spent = (double)(now.tv_sec - begun.tv_sec) + (double)(now.tv_nsec - begun.tv_nsec) / 1e9;
  } while (spent < seconds || (storms <= 50 && spent < 60));
  alarm_in(0, 0);
  say("storm came: %d", storms > 50);
  if (argc > 2) {
    const int file = MUST(open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600));
    dprintf(file, "%lu %lu\n", rounds + 2ul * storms + 4, rounds + 2ul * storms);
  }
  return 0;
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {
      {"interrupted", interrupted}, {"restarted", interrupted}, {"jumps", jumps},
      {"wild_jumps", wild_jumps},   {"storm", storming},        {NULL, NULL}};
  return run_case(cases, argc, argv);
}
