// SPDX-License-Identifier: Apache-2.0
//
// Loops that end, change hands or share their numbers with others: here it is not the program that
// might notice something, but the recording that must be right.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "cases.h"

static struct epoll_event events[8];

static void pause_for(int ms) {
  const struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
  nanosleep(&time, NULL);
}
static void put(int epoll, int operation, int fd, uint64_t data) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};
  MUST(epoll_ctl(epoll, operation, fd, &event));
}
/// An event that stays: the eventfd is never read.
static int ready_at(int number) {
  const int fd = MUST(eventfd(1, 0));
  if (fd == number) return fd;
  MUST(dup2(fd, number));
  MUST(close(fd));
  return number;
}
static int wait_once(int epoll) { return MUST(epoll_wait(epoll, events, 8, 1)); }

/// What its thread does after a loop's descriptor is closed is no turn of it.
static int closed(int argc, char** argv) {
  (void)argc, (void)argv;
  for (int i = 0; i < 2; ++i) {
    const int epoll = MUST(epoll_create1(0));
    say("%d", wait_once(epoll));
    MUST(close(epoll));
    pause_for(150);
  }
  say("%d", wait_once(MUST(epoll_create1(0))));
  return 0;
}

/// A thread that had an epoll loop may run one on poll.
static int then_poll(int argc, char** argv) {
  (void)argc, (void)argv;
  const int epoll = MUST(epoll_create1(0));
  wait_once(epoll);
  MUST(close(epoll));
  int fds[2];
  MUST(pipe(fds));
  struct pollfd one = {fds[0], POLLIN, 0};
  for (int i = 0; i < 10; ++i) MUST(poll(&one, 1, 1));
  return 0;
}

/// 584.5 years, which is 0.29 s in 64 bits of nanoseconds.
static int centuries(int argc, char** argv) {
  (void)argc, (void)argv;
  const int epoll = MUST(epoll_create1(0));
  put(epoll, EPOLL_CTL_ADD, ready_at(30), 30);
  for (int i = 0; i < 2; ++i) {
    const struct timespec time = {18446744073L, 720000000};
    say("%d", MUST(epoll_pwait2(epoll, events, 8, &time, NULL)));
    pause_for(20);
  }
  return 0;
}

/// Waits on a socket: EINVAL.
static int no_epoll(int argc, char** argv) {
  (void)argc, (void)argv;
  const int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
  for (int i = 0; i < 2; ++i) say("%d", epoll_wait(other, events, 8, 0) == -1 && errno == EINVAL);
  return 0;
}

/// Closed where nobody sees it, and its number is a socket's then.
static int out_of_sight(int argc, char** argv) {
  (void)argc, (void)argv;
  const int epoll = MUST(epoll_create1(0));
  wait_once(epoll);
#if defined(__x86_64__)
  long returned = SYS_close;
  __asm__ volatile("syscall" : "+a"(returned) : "D"((long)epoll) : "rcx", "r11", "memory");
#else
  MUST(close(epoll));
#endif
  say("same number: %d", MUST(socket(AF_UNIX, SOCK_STREAM, 0)) == epoll);
  raise(SIGKILL);
  return 1;
}

/// Data is an index: of descriptor 31 first, then of the descriptor whose number it is.
static int indices(int argc, char** argv) {
  (void)argc, (void)argv;
  const int epoll = MUST(epoll_create1(0));
  put(epoll, EPOLL_CTL_ADD, ready_at(31), 30);
  say("%d", wait_once(epoll));
  MUST(close(31));
  put(epoll, EPOLL_CTL_ADD, ready_at(30), 30);
  ready_at(31);  // in no set
  for (int i = 0; i < 5; ++i) wait_once(epoll);
  say("looked at");
  if (argc > 1) pause();
  return 0;
}

/// A set is closed with what is registered in it; the next one of that number is empty.
static int closed_set(int argc, char** argv) {
  (void)argc, (void)argv;
  const int epoll = MUST(epoll_create1(0));
  put(epoll, EPOLL_CTL_ADD, ready_at(30), 30);
  wait_once(epoll);
  MUST(close(epoll));
  say("same number: %d", MUST(epoll_create1(0)) == epoll);
  wait_once(epoll);
  say("looked at");
  if (argc > 1) pause();
  return 0;
}

/// Other data with each EPOLL_CTL_MOD.
static int changing(int argc, char** argv) {
  (void)argc, (void)argv;
  const int epoll = MUST(epoll_create1(0));
  const int fd = ready_at(30);
  put(epoll, EPOLL_CTL_ADD, fd, 1);
  for (uint64_t i = 1; i < 3000000; ++i) put(epoll, EPOLL_CTL_MOD, fd, i << 12);
  say("%d", wait_once(epoll));
  return 0;
}

static pthread_key_t key;
static void destructor(void* epoll) { wait_once((int)(intptr_t)epoll); }
static void* waits_at_its_end(void* unused) {
  (void)unused;
  const int epoll = MUST(epoll_create1(0));
  wait_once(epoll);
  pthread_setspecific(key, (void*)(intptr_t)epoll);
  return NULL;
}
/// A loop that a destructor of thread-specific data makes anew ends with the thread.
static int destructors(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_t thread;
  pthread_key_create(&key, destructor);
  pthread_create(&thread, NULL, waits_at_its_end, NULL);
  pthread_join(thread, NULL);
  raise(SIGKILL);
  return 1;
}

static pthread_barrier_t barrier;
static void* opens(void* unused) {
  (void)unused;
  pthread_barrier_wait(&barrier);
  MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  pthread_barrier_wait(&barrier);
  return NULL;
}
static void* opens_later(void* ms) {
  const struct timespec time = {0, (long)ms * 1000000};
  nanosleep(&time, NULL);
  MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  return NULL;
}
/// Threads of a forked child open something one after the other, while the first of them still
/// waits for the child's recording.
static int late_threads_of_a_child(int argc, char** argv) {
  (void)argc, (void)argv;
  const pid_t child = MUST(fork());
  if (child == 0) {
    pthread_t threads[6];
    for (long i = 0; i < 6; ++i) pthread_create(&threads[i], NULL, opens_later, (void*)(i * 7));
    for (int i = 0; i < 6; ++i) pthread_join(threads[i], NULL);
    _exit(0);
  }
  int ended = -1;
  MUST(waitpid(child, &ended, 0));
  say("child %d", ended);
  return 0;
}
/// All threads of a forked child are the first to open something.
static int threads_of_a_child(int argc, char** argv) {
  (void)argc, (void)argv;
  const pid_t child = MUST(fork());
  if (child == 0) {
    pthread_t threads[8];
    pthread_barrier_init(&barrier, NULL, 8);
    for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, opens, NULL);
    for (int i = 0; i < 8; ++i) pthread_join(threads[i], NULL);
    _exit(3);
  }
  say_end("child", child);
  return 0;
}

static void* forks(void* unused) {
  (void)unused;
  wait_once(MUST(epoll_create1(0)));
  const pid_t child = MUST(fork());
  if (child != 0) say_end("child", child);
  return NULL;
}
/// The child ends with the thread that forked it, having recorded nothing.
static int forking_thread(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_t thread;
  pthread_create(&thread, NULL, forks, NULL);
  pthread_join(thread, NULL);
  return 0;
}

static void fork_late(int number) {
  (void)number;
  if (MUST(fork()) == 0) pause_for(100);
}
/// The child returns from the parent's wait, while the parent is in its next one and ends there.
static int forking_handler(int argc, char** argv) {
  (void)argc, (void)argv;
  const pid_t self = getpid();
  const int epoll = MUST(epoll_create1(0));
  signal(SIGALRM, fork_late);
  alarm(1);
  const int returned = epoll_wait(epoll, events, 8, 3000);
  if (getpid() != self) {
    kill(self, SIGKILL);
    _exit(0);
  }
  say("%d, errno %d", returned, errno);
  epoll_wait(epoll, events, 8, 3000);
  return 1;
}

static void* opens_and_closes(void* unused) {
  (void)unused;
  for (int i = 0; i < 100000; ++i) close(open("/dev/null", O_RDONLY));
  return NULL;
}
static int crowd(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_t threads[6];
  for (int i = 0; i < 6; ++i) pthread_create(&threads[i], NULL, opens_and_closes, NULL);
  for (int i = 0; i < 6; ++i) pthread_join(threads[i], NULL);
  return 0;
}

/// Loops of a process that may not ask who it is any more.
static int sealed(int argc, char** argv) {
  (void)argc, (void)argv;
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  wait_once(MUST(epoll_create1(0)));
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
  for (int i = 0; i < 3; ++i) say("%d", wait_once(MUST(epoll_create1(0))));
  return 0;
}

/// Ends with a status that has more than eight bits.
static int status(int argc, char** argv) { exit(argc > 1 ? atoi(argv[1]) : 0); }

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"closed", closed},
                                             {"then_poll", then_poll},
                                             {"centuries", centuries},
                                             {"no_epoll", no_epoll},
                                             {"out_of_sight", out_of_sight},
                                             {"indices", indices},
                                             {"closed_set", closed_set},
                                             {"changing", changing},
                                             {"destructors", destructors},
                                             {"threads_of_a_child", threads_of_a_child},
                                             {"late_threads_of_a_child", late_threads_of_a_child},
                                             {"forking_thread", forking_thread},
                                             {"forking_handler", forking_handler},
                                             {"crowd", crowd},
                                             {"sealed", sealed},
                                             {"status", status},
                                             {NULL, NULL}};
  return run_case(cases, argc, argv);
}
