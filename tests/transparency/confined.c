// SPDX-License-Identifier: Apache-2.0
//
// Programs that give up what they may do: users, roots, environments, system calls, resources.
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "cases.h"

static void use(const char* who) {
  int fds[2];
  MUST(pipe(fds));
  const int epoll = MUST(epoll_create1(0));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0xabcdef012345ull};
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event));
  if (write(fds[1], "x", 1) != 1) give_up("write");
  const int ready = epoll_wait(epoll, &event, 1, 1000);
  say("%s: pipe %d %d, epoll %d, %d ready, data %llx", who, fds[0], fds[1], epoll, ready,
      (unsigned long long)event.data.u64);
  say("%s: close %d %d %d", who, close(fds[0]), close(fds[1]), close(epoll));
}
static void use_in_child(const char* who) {
  const pid_t child = MUST(fork());
  if (child == 0) {
    use(who);
    _exit(17);
  }
  say_end(who, child);
}

static void* other_thread(void* unused) {
  (void)unused;
  use("thread");
  return NULL;
}
static int other_user(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_t thread;
  MUST(setgroups(0, NULL));
  MUST(setgid(65534));
  MUST(setuid(65534));
  say("uid %d %d, gid %d %d", getuid(), geteuid(), getgid(), getegid());
  use("nobody");
  use_in_child("nobody's child");
  pthread_create(&thread, NULL, other_thread, NULL);
  pthread_join(thread, NULL);
  const int back = setuid(0);
  say("setuid %d, errno %d", back, errno);
  const int secret = open("/etc/shadow", O_RDONLY);
  say("open %d, errno %d", secret, errno);
  return 0;
}
static int other_root(int argc, char** argv) {
  (void)argc, (void)argv;
  MUST(mkdir("root", 0700));
  MUST(chroot("root"));
  MUST(chdir("/"));
  use("chroot");
  use_in_child("child in chroot");
  say("open %d", open("/dev/null", O_RDONLY));
  say("made %d", open("/made", O_CREAT | O_RDWR, 0600));
  say("directories: %d %d %d", access("/dev", F_OK), access("/run", F_OK), access("/tmp", F_OK));
  return 0;
}
static int other_files(int argc, char** argv) {
  (void)argc, (void)argv;
  const int fd = MUST(open("/dev/null", O_RDONLY));
  say("unshare %d", unshare(CLONE_FILES | CLONE_FS));
  say("close %d", close(fd));
  use("after unshare");
  return 0;
}

// --- seccomp ---
#define ALLOW(name)                                      \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), \
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
static void lock_in(int how) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      ALLOW(write),
      ALLOW(exit_group),
      ALLOW(read),
      ALLOW(epoll_wait),
      ALLOW(close),
      ALLOW(futex),
      ALLOW(clock_gettime),
      ALLOW(eventfd2),
      ALLOW(epoll_create1),
      ALLOW(epoll_ctl),
      ALLOW(dup),
      ALLOW(exit),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
  struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (how == 0) MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
  if (how == 1) MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
  if (how == 2) MUST(syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
  if (how == 3)
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
}
/// Many descriptors, at places that were never seen before, far beyond those that there were.
__attribute__((noinline)) static int deep(int depth) {
  if (depth == 0) return eventfd(0, 0);
  volatile int fd = deep(depth - 1);
  return fd;
}
static pthread_barrier_t together;
static void* locked_in_thread(void* unused) {
  (void)unused;
  struct epoll_event event;
  const int epoll = MUST(epoll_create1(0));
  pthread_barrier_wait(&together);
  pthread_barrier_wait(&together);
  for (int i = 0; i < 100; ++i) {
    struct epoll_event interest = {.events = EPOLLIN, .data.u64 = 0x500000000000ull + (unsigned)i};
    const int fd = eventfd(1, 0);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) != 0) _exit(80);
    if (epoll_wait(epoll, &event, 1, 0) < 0 || close(fd) != 0) _exit(81);
  }
  pthread_barrier_wait(&together);
  pthread_barrier_wait(
      &together);  // for ever: the end of a thread takes more calls than are allowed
  return NULL;
}
static int filtered(int argc, char** argv) {
  (void)argc;
  const int how = atoi(argv[1]);
  use("before");
  pthread_t thread;
  pthread_barrier_init(&together, NULL, 2);
  if (how == 3) {
    pthread_create(&thread, NULL, locked_in_thread, NULL);
    pthread_barrier_wait(&together);
  }
  lock_in(how);
  if (how == 3) {
    pthread_barrier_wait(&together);
  }
  int last = -1;
  for (int i = 0; i < 3000; ++i) last = deep(i % 30);
  say("%d", last);
  int epolls[20];
  for (int i = 0; i < 20; ++i) {
    epolls[i] = MUST(epoll_create1(0));
    for (int j = 0; j < 40; ++j) {
      struct epoll_event event = {.events = EPOLLIN,
                                  .data.u64 = 0x600000000000ull + (unsigned)(i * 40 + j)};
      MUST(epoll_ctl(epolls[i], EPOLL_CTL_ADD, MUST(dup(last)), &event));
    }
    struct epoll_event ready[8];
    say("epoll_wait %d", epoll_wait(epolls[i], ready, 8, 0));
  }
  if (write(last, "12345678", 8) != 8) give_up("write");
  struct epoll_event ready[8];
  say("epoll_wait %d", epoll_wait(epolls[3], ready, 8, -1));
  char eight[8];
  say("read %d", (int)read(last, eight, 8));
  if (how == 3) pthread_barrier_wait(&together);  // some of these are the thread's
  for (int fd = 3; fd < last; ++fd) close(fd);
  struct timespec now;
  say("clock_gettime %d", clock_gettime(CLOCK_MONOTONIC, &now));
  return 19;
}
/// The control: a filter that does kill.
static int filtered_away(int argc, char** argv) {
  (void)argc, (void)argv;
  lock_in(0);
  say("now");
  getppid();
  return 0;
}
static int strict(int argc, char** argv) {
  (void)argc, (void)argv;
  int fds[2];
  MUST(pipe(fds));
  MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
  char byte = 'x';
  for (int i = 0; i < 1000; ++i) {
    if (write(fds[1], &byte, 1) != 1 || read(fds[0], &byte, 1) != 1) return 1;
  }
  say("still here");
  syscall(SYS_exit, 23);
  return 0;
}

// --- resources ---
static int few_descriptors(int argc, char** argv) {
  if (argc > 1) {
    const struct rlimit few = {(rlim_t)atol(argv[1]), (rlim_t)atol(argv[1])};
    MUST(setrlimit(RLIMIT_NOFILE, &few));
    return execl("/proc/self/exe", "v", "few_descriptors", (char*)NULL);
  }
  (void)argv;
  int fd;
  errno = 0;
  while ((fd = open("/dev/null", O_RDONLY)) >= 0) say("open %d", fd);
  say("errno %d", errno);
  say("close %d", close(4));
  const pid_t child = MUST(fork());
  if (child == 0) {
    const int again = open("/dev/null", O_RDONLY);
    say("child: open %d, close %d, open %d", again, close(again), open("/dev/null", O_RDONLY));
    _exit(18);
  }
  say_end("child", child);
  say("open %d", open("/dev/null", O_RDONLY));
  return 0;
}
static int high_descriptors(int argc, char** argv) {
  (void)argc, (void)argv;
  struct rlimit limit;
  MUST(getrlimit(RLIMIT_NOFILE, &limit));
  const rlim_t before = limit.rlim_cur;
  const int high = MUST(fcntl(0, F_DUPFD, (int)before - 1));
  say("high %d", high == (int)before - 1);
  limit.rlim_cur = 10;
  MUST(setrlimit(RLIMIT_NOFILE, &limit));
  say("close %d", close(high));
  limit.rlim_cur = limit.rlim_max;
  MUST(setrlimit(RLIMIT_NOFILE, &limit));
  const int higher = fcntl(0, F_DUPFD, (int)limit.rlim_cur - 1);
  say("higher %d, close %d", higher == (int)limit.rlim_cur - 1, close(higher));
  return 0;
}
/// How much memory there is for the program under the limit that it was started with.
static int little_memory(int argc, char** argv) {
  if (argc > 2) {
    const struct rlimit little = {(rlim_t)atol(argv[2]) << 20, (rlim_t)atol(argv[2]) << 20};
    MUST(setrlimit(RLIMIT_AS, &little));
    return execl("/proc/self/exe", "v", "little_memory", argv[1], (char*)NULL);
  }
  const size_t wanted = (size_t)atol(argv[1]) << 20;
  size_t got = 0;
  while (got < wanted) {
    char* block = malloc(1 << 20);
    if (block == NULL) break;
    block[0] = 1;
    got += 1 << 20;
  }
  say("%s", got == wanted ? "all of it" : "too little");
  if (got != wanted) fprintf(stderr, "%zu of %zu MiB\n", got >> 20, wanted >> 20);
  use("short of memory");
  return 0;
}
/// All memory used up, then descriptors.
static int no_memory(int argc, char** argv) {
  (void)argc, (void)argv;
  struct rlimit none = {1 << 20, 1 << 20};  // below what is used: nothing more can be mapped
  MUST(setrlimit(RLIMIT_AS, &none));
  const int mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
  say("mmap %d, errno %d", mapped, errno);
  int last = -1;
  for (int i = 0; i < 3; ++i) use("no memory");
  for (int i = 0; i < 500; ++i) last = eventfd(0, 0);
  say("eventfd %d", last);
  use_in_child("child without memory");
  return 0;
}
static int memory_lock(int argc, char** argv) {
  (void)argc;
  const struct rlimit some = {(rlim_t)atol(argv[1]) << 20, (rlim_t)atol(argv[1]) << 20};
  setrlimit(RLIMIT_MEMLOCK, &some);  // down always, up where the host allows it
  if (getuid() == 0) MUST(setuid(65534));
  errno = 0;
  const int locked = mlockall(MCL_CURRENT);
  say("mlockall %d, errno %d", locked, errno);
  return 0;
}
static int no_file_size(int argc, char** argv) {
  (void)argc, (void)argv;
  const struct rlimit none = {0, 0};
  use("before");
  MUST(setrlimit(RLIMIT_FSIZE, &none));
  use("no file size");
  for (int i = 0; i < 3000; ++i) MUST(eventfd(0, 0));
  use_in_child("child without file size");
  const int fd = MUST(open("made", O_WRONLY | O_CREAT, 0600));
  if (write(fd, "x", 1) != -1) say("written");
  say("not reached");
  return 0;
}
static int used(int argc, char** argv) {
  (void)argc, (void)argv;
  use("used");
  for (int i = 0; i < 400; ++i) MUST(eventfd(0, 0));
  use_in_child("child");
  return 29;
}

int main(int argc, char** argv) {
  signal(SIGXFSZ, SIG_DFL);  // Python ignores it
  static const struct victim_case cases[] = {{"user", other_user},
                                             {"root", other_root},
                                             {"files", other_files},
                                             {"filtered", filtered},
                                             {"filtered_away", filtered_away},
                                             {"strict", strict},
                                             {"few_descriptors", few_descriptors},
                                             {"high_descriptors", high_descriptors},
                                             {"little_memory", little_memory},
                                             {"no_memory", no_memory},
                                             {"memory_lock", memory_lock},
                                             {"no_file_size", no_file_size},
                                             {"used", used},
                                             {NULL, NULL}};
  return run_case(cases, argc, argv);
}
