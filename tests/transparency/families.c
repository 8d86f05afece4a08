// SPDX-License-Identifier: Apache-2.0
//
// Children of all kinds, and programs that become others.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "cases.h"

/// The descriptors up to 63 that are open, as a number.
static void say_open(const char* who) {
  unsigned long long open = 0;
  for (int fd = 0; fd < 64; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open |= 1ull << fd;
  }
  say("%s: open %llx", who, open);
}

/// What a child does with descriptors and loops.
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

static int by_fork(int argc, char** argv) {
  (void)argc, (void)argv;
  use("parent");
  for (int generation = 0; generation < 3; ++generation) {
    const pid_t child = MUST(fork());
    if (child != 0) {
      say_end("child", child);
      use("parent");
      return 10 + generation;
    }
    use("child");
    say_open("child");
  }
  return 42;
}

static pthread_mutex_t locked = PTHREAD_MUTEX_INITIALIZER;
static volatile int stop;
/// Keeps malloc's and stdio's locks busy, and the probe's.
static void* busy(void* unused) {
  (void)unused;
  while (!stop) {
    pthread_mutex_lock(&locked);
    FILE* file = fopen("/dev/null", "w");
    const int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = file};
    int fds[2];
    if (file == NULL || epoll < 0 || pipe(fds) != 0) give_up("busy");
    epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event);
    epoll_wait(epoll, &event, 1, 0);
    free(malloc(100));
    close(fds[0]);
    close(fds[1]);
    close(epoll);
    fclose(file);
    pthread_mutex_unlock(&locked);
  }
  return NULL;
}
static void* forks(void* unused) {
  (void)unused;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = MUST(fork());
    if (child == 0) {
      const int null = open("/dev/null", O_RDONLY);
      struct epoll_event event;
      const int epoll = epoll_create1(0);
      const int good = null >= 0 && epoll >= 0 && epoll_wait(epoll, &event, 1, 0) == 0 &&
                       close(epoll) == 0 && close(null) == 0;
      _exit(good ? 7 : 8);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) say("status %x", status);
  }
  return NULL;
}
static int threads_fork(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_t busy_ones[3], forking[2];
  for (int i = 0; i < 3; ++i) pthread_create(&busy_ones[i], NULL, busy, NULL);
  for (int i = 0; i < 2; ++i) pthread_create(&forking[i], NULL, forks, NULL);
  for (int i = 0; i < 2; ++i) pthread_join(forking[i], NULL);
  stop = 1;
  for (int i = 0; i < 3; ++i) pthread_join(busy_ones[i], NULL);
  say("done");
  return 0;
}

/// A child of a thread that runs a loop ends by pthread_exit: the parent's loop goes on.
static void* loops_and_forks(void* unused) {
  (void)unused;
  const int epoll = MUST(epoll_create1(0));
  struct epoll_event event;
  say("epoll_wait %d", epoll_wait(epoll, &event, 1, 1));
  const pid_t child = MUST(fork());
  if (child == 0) pthread_exit(NULL);
  say_end("child", child);
  say("epoll_wait %d", epoll_wait(epoll, &event, 1, 1));
  kill(getpid(), SIGKILL);  // the recording shows the loop as it is now
  return NULL;
}
static int child_ends_thread(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_t thread;
  pthread_create(&thread, NULL, loops_and_forks, NULL);
  pthread_join(thread, NULL);
  return 0;
}

/// Async-signal-safe calls in a child that a handler forked while main is in the middle of malloc.
static volatile sig_atomic_t good_children, bad_children;
static void fork_in_handler(int number) {
  (void)number;
  const int saved = errno;
  const pid_t child = syscall(SYS_fork);
  if (child == 0) {
    alarm(5);  // not inherited from here: a child that hangs dies by SIGALRM
    signal(SIGALRM, SIG_DFL);
    sigset_t all;
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    const int fd = open("/dev/null", O_RDONLY);
    _exit(fd >= 0 && close(fd) == 0 ? 7 : 8);
  }
  int status = 0;
  while (waitpid(child, &status, 0) == -1 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 7) {
    ++good_children;
  } else {
    ++bad_children;
  }
  errno = saved;
}
static int handler_forks(int argc, char** argv) {
  (void)argc, (void)argv;
  struct sigaction action = {.sa_handler = fork_in_handler};
  MUST(sigaction(SIGALRM, &action, NULL));
  const struct itimerval time = {.it_value = {0, 1000}, .it_interval = {0, 1000}};
  MUST(setitimer(ITIMER_REAL, &time, NULL));
  void* volatile blocks[64] = {0};
  unsigned random = 1;
  while (good_children < 60 && bad_children == 0) {
    random = random * 1103515245 + 12345;
    void* volatile* block = &blocks[random >> 16 & 63];
    free(*block);
    *block = malloc(20000 + (random >> 20));  // past the thread's own cache: takes the arena's lock
  }
  const struct itimerval off = {0};
  setitimer(ITIMER_REAL, &off, NULL);
  say("bad children %d", bad_children);
  return 0;
}

// --- vfork ---
static char* const true_arguments[] = {(char*)"true", NULL};
static char* const show_arguments[] = {(char*)"sh", (char*)"-c",
                                       (char*)"echo shell; ls /proc/self/fd | wc -l; exit 5", NULL};

static void vfork_child(int what, int keep) {
  switch (what) {
    case 0:
      _exit(6);
    case 1:
      close(keep);
      dup2(1, 40);
      _exit(open("/dev/null", O_RDONLY));
    case 2:
      close(0);
      open("/dev/null", O_RDONLY);
      for (int fd = 3; fd < 256; ++fd) close(fd);
      execv("/bin/sh", show_arguments);
      _exit(9);
    case 3:
      execv("/no/such/program", true_arguments);
      _exit(errno);
    case 4:
      execl("/bin/sh", "sh", "-c", "exit 12", (char*)NULL);
      _exit(9);
    case 5:
      closefrom(3);
      _exit(13);
    case 6: {
      int fds[2];
      const int made = pipe(fds) == 0 && syscall(SYS_close, fds[0]) == 0;
      _exit(made ? fds[1] : 50);
    }
    default:
      kill(getpid(), SIGKILL);
      _exit(9);
  }
}
static void vforks(const char* who) {
  const int keep = MUST(open("/dev/null", O_RDWR));
  const int epoll = MUST(epoll_create1(0));
  for (int what = 0; what < 8; ++what) {
    errno = 4242;
    const pid_t child = vfork();
    if (child == 0) vfork_child(what, keep);
    const int left = errno;
    say_end(who, child);
    if (what != 3) say("errno %d", left);
    say("%s: keep %d, epoll %d", who, fcntl(keep, F_GETFD), fcntl(epoll, F_GETFD));
  }
  struct epoll_event event;
  say("%s: epoll_wait %d, close %d %d", who, epoll_wait(epoll, &event, 1, 1), close(keep),
      close(epoll));
}
static void* vforks_in_thread(void* unused) {
  (void)unused;
  vforks("thread");
  return NULL;
}
static int by_vfork(int argc, char** argv) {
  (void)argc, (void)argv;
  vforks("main");
  pthread_t thread;
  pthread_create(&thread, NULL, vforks_in_thread, NULL);
  pthread_join(thread, NULL);
  const int fd = MUST(open("/dev/null", O_RDONLY));  // still open at the end
  say("open %d", fd);
  return 0;
}

static int by_spawn(int argc, char** argv) {
  (void)argc, (void)argv;
  const int keep = MUST(open("/dev/null", O_RDWR | O_CLOEXEC));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 7, "/etc/passwd", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, keep, 8);
  posix_spawn_file_actions_addclose(&actions, 0);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  pid_t child;
  char* const arguments[] = {
      (char*)"sh", (char*)"-c",
      (char*)"readlink /proc/self/fd/7; ls -l /proc/self/fd/8 | grep -c null; exit 3", NULL};
  int error = posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ);
  say_end("spawned", child);
  say("posix_spawn %d", error);
  error = posix_spawnp(&child, "sh", &actions, NULL, arguments, environ);
  say_end("spawned", child);
  say("posix_spawnp %d", error);
  say("posix_spawn %d", posix_spawn(&child, "/no/such/program", NULL, NULL, arguments, environ));
  posix_spawn_file_actions_addclose(&actions, 99);
  posix_spawn_file_actions_adddup2(&actions, 98, 97);
  say("posix_spawn %d", posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ));
  say("system %x", system("exit 4"));
  FILE* file = popen("echo from the child; exit 6", "r");
  char line[64] = "";
  say("popen %d, %s", fgets(line, sizeof line, file) != NULL, line);
  say("pclose %x", pclose(file));
  say_open("parent");
  return 0;
}

static char stack[256 << 10] __attribute__((aligned(64)));
static int cloned(void* keep) {
  close(*(int*)keep);
  say_open("clone's child");
  return 21;
}
static int cloned_keeps(void* keep) {
  (void)keep;
  use("clone's child");
  return 22;
}
static int by_clone(int argc, char** argv) {
  (void)argc, (void)argv;
  int keep = MUST(open("/dev/null", O_RDWR));
  say_end("vfork-like",
          MUST(clone(cloned, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &keep)));
  say("keep %d", fcntl(keep, F_GETFD));
  say_end("fork-like", MUST(clone(cloned, stack + sizeof stack, SIGCHLD, &keep)));
  say("keep %d", fcntl(keep, F_GETFD));
  say_end("fork-like", MUST(clone(cloned_keeps, stack + sizeof stack, SIGCHLD, NULL)));
  pid_t parent_tid = -1;
  int pidfd_or_tid = -1;
  const pid_t child = MUST(clone(cloned_keeps, stack + sizeof stack, CLONE_PARENT_SETTID | SIGCHLD,
                                 NULL, &parent_tid, NULL, &pidfd_or_tid));
  say("parent_tid %d, child_tid %d", parent_tid == child, pidfd_or_tid);
  say_end("fork-like", child);
  const int refused = clone(cloned, stack + sizeof stack, CLONE_THREAD, &keep);
  say("clone %d, errno %d", refused, errno);
  say("clone %d", clone(NULL, NULL, 0, NULL));
  use("parent");
  return 0;
}

/// Comes from a return: the stack is aligned as at a jump.
__attribute__((noreturn, force_align_arg_pointer)) static void ends_on_new_stack(void) {
  const int fd = open("/dev/null", O_RDONLY);
  _exit(fd >= 0 && close(fd) == 0 ? 33 : 34);
}

static int by_syscall(int argc, char** argv) {
  (void)argc, (void)argv;
  pid_t child = (pid_t)MUST(syscall(SYS_fork));
  if (child == 0) {
    use("SYS_fork");
    _exit(31);
  }
  say_end("SYS_fork", child);
  child = (pid_t)MUST(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    use("SYS_clone");
    _exit(32);
  }
  say_end("SYS_clone", child);
  // A stack of its own: what the child returns to from syscall(3) is put there before.
  void** top = (void**)(stack + sizeof stack) - 8;
  top[0] = (void*)ends_on_new_stack;
  child = (pid_t)MUST(syscall(SYS_clone, SIGCHLD, top, 0, 0, 0));
  say_end("SYS_clone with a stack", child);
  use("parent");
  const long page = syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  say("six arguments: %d", page != -1);
  const int file = MUST(open("made", O_RDWR | O_CREAT, 0600));
  MUST(ftruncate(file, 8192));
  if (pwrite(file, "second page", 11, 4096) != 11) give_up("pwrite");
  const char* second =
      (const char*)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED, file, 4096);
  say("sixth argument: %s", second);
  char text[8] = "";
  say("SYS_pread64 %ld %s", syscall(SYS_pread64, file, text, 6, 4096), text);
  struct iovec part = {text, 4};
  say("SYS_preadv %ld %s", syscall(SYS_preadv, file, &part, 1, 4103, 0), text);
  return 0;
}

static int closes_all(int argc, char** argv) {
  (void)argc;
  const int how = atoi(argv[1]);
  const int keep = MUST(open("/dev/null", O_RDWR));
  int epoll = MUST(epoll_create1(0));
  MUST(dup2(keep, 700));
  struct epoll_event event;
  say("epoll_wait %d", epoll_wait(epoll, &event, 1, 1));
  const int out = 500;
  MUST(dup2(1, out));
  int closed = 0;
  switch (how) {
    case 0:
      for (int fd = 0; fd < 1024; ++fd) {
        if (fd != out && close(fd) == 0) ++closed;
      }
      break;
    case 1:
      for (int fd = 1023; fd >= 0; --fd) {
        if (fd != out && syscall(SYS_close, fd) == 0) ++closed;
      }
      break;
    case 2:
      closefrom(out + 1);
      for (int fd = 0; fd < out; ++fd) closed += close(fd) == 0;
      break;
    case 3:
      closed = close_range(0, (unsigned)out - 1, 0) * 10 + close_range((unsigned)out + 1, ~0u, 0);
      break;
    default:
      closed = close_range(3, ~0u, 1 << 2);  // CLOSE_RANGE_CLOEXEC
      execl("/bin/sh", "sh", "-c", "ls /proc/self/fd | wc -l", (char*)NULL);
  }
  MUST(dup2(out, 1));
  say("closed %d", closed);
  say_open("then");
  use("then");
  const int waited = epoll_wait(epoll, &event, 1, 1);
  say("epoll_wait %d, errno %d", waited, errno);
  return 0;
}

/// A daemon as the books say; a pipe tells its starter what became of it.
static int daemonises(int argc, char** argv) {
  (void)argc;
  const int by_hand = strcmp(argv[1], "hand") == 0;
  int fds[2];
  MUST(pipe(fds));
  const pid_t child = MUST(fork());
  if (child != 0) {
    close(fds[1]);
    char text[512];
    ssize_t size;
    while ((size = read(fds[0], text, sizeof text)) > 0) {
      if (write(1, text, (size_t)size) != size) give_up("write");
    }
    say_end("starter", child);
    return 0;
  }
  MUST(dup2(fds[1], 100));
  if (by_hand) {
    if (MUST(fork()) != 0) _exit(11);
    MUST(setsid());
    if (MUST(fork()) != 0) _exit(0);
    MUST(chdir("/"));
    umask(022);
    for (int fd = 0; fd < 100; ++fd) close(fd);
    MUST(open("/dev/null", O_RDWR));
    MUST(dup2(100, 1));
    MUST(dup(0));
  } else {
    say("daemon %d", daemon(0, 0));
    MUST(dup2(100, 1));
  }
  use("daemon");
  say("session %d, parent is not the starter %d", getsid(0) != getppid(), 1);
  return 0;
}

// --- exec with lists ---
static int shows(int argc, char** argv) {
  char all[512] = "";
  for (int i = 0; i < argc; ++i) {
    strcat(all, argv[i]);
    strcat(all, "|");
  }
  const char* mark = getenv("MARK");
  int count = 0;
  for (char** entry = environ; *entry != NULL; ++entry) ++count;
  say("%s MARK=%s, %s", all, mark ? mark : "none",
      count > 1    ? "an environment"
      : count == 1 ? "one variable"
                   : "none");
  return 0;
}
static int by_exec(int argc, char** argv) {
  (void)argc;
  const char* self = "/proc/self/exe";
  char* const marked[] = {(char*)"MARK=marked", NULL};
  char* const none[] = {NULL};
  char* const list[] = {(char*)"v", (char*)"shows", (char*)"a", NULL};
  const int fd = MUST(open(self, O_RDONLY | O_CLOEXEC));
  switch (atoi(argv[1])) {
    case 0:
      return execl(self, "v", "shows", (char*)NULL);
    case 1:
      return execl(self, "v", "shows", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11",
                   "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24",
                   "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35", "36", "37",
                   "38", "39", "40", (char*)NULL);
    case 2:
      return execle(self, "v", "shows", "x", (char*)NULL, marked);
    case 3:
      return execle(self, "v", "shows", "1", "2", "3", "4", "5", "6", "7", "8", "9", (char*)NULL,
                    none);
    case 4:
      return execlp("sh", "sh", "-c", "echo $0 $1 $2", "zero", "one", "two", (char*)NULL);
    case 5:
      return execle(self, "v", "shows", (char*)NULL, none);
    case 6:
      return execv(self, list);
    case 7:
      return execve(self, list, marked);
    case 8:
      return execve(self, list, none);
    case 9:
      return execvpe("sh", (char*[]){(char*)"sh", (char*)"-c", (char*)"echo $MARK $#", NULL},
                     marked);
    case 10:
      return fexecve(fd, list, marked);
    case 11:
      return execveat(fd, "", list, marked, 0x1000);
    case 12:
      clearenv();
      return execv(self, list);
    case 13: {
      // A script without #!: execvp hands it to the shell.
      const int script = MUST(open("script", O_WRONLY | O_CREAT, 0700));
      dprintf(script, "echo script $1\n");
      close(script);
      return execlp("./script", "script", "one", (char*)NULL);
    }
    case 14: {
      int (*volatile list_of_none)(const char*, const char*, ...) = execl;  // no arguments at all
      return list_of_none(self, (char*)NULL);
    }
    default:
      clearenv();
      if (MUST(fork()) == 0) {
        use("child");
        return system("echo shell without an environment: $MARK") >> 8;
      }
      wait(NULL);
      return 0;
  }
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"fork", by_fork},
                                             {"threads_fork", threads_fork},
                                             {"child_ends_thread", child_ends_thread},
                                             {"handler_forks", handler_forks},
                                             {"vfork", by_vfork},
                                             {"spawn", by_spawn},
                                             {"clone", by_clone},
                                             {"syscall", by_syscall},
                                             {"closes_all", closes_all},
                                             {"daemonises", daemonises},
                                             {"exec", by_exec},
                                             {"shows", shows},
                                             {NULL, NULL}};
  if (argc == 0) return 96;
  return run_case(cases, argc, argv);
}
