// SPDX-License-Identifier: Apache-2.0
//
// host: a program that does one of everything a probe has work with, in one thread where it can,
// always the same, and says what came of each call: its result and errno after it (errno is set to
// 77 before each). What it says bare and with whatever went wrong inside the probe must be equal.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char* format, ...) {
  char line[256];
  va_list list;
  va_start(list, format);
  const int size = vsnprintf(line, sizeof line, format, list);
  va_end(list);
  if (syscall(SYS_write, 1, line, size) != size) _exit(90);
}

/// The result of a call and what it left in errno.
#define SAY(what, call)                             \
  do {                                              \
    errno = 77;                                     \
    const long result = (long)(call);               \
    const int error = errno;                        \
    say("%s: %ld errno %d\n", what, result, error); \
  } while (0)

/// The same of a call whose result is needed; the number of a process or a thread is not said.
#define SAID(what, call)                                                 \
  ({                                                                     \
    errno = 77;                                                          \
    const int result_ = (int)(call);                                     \
    const int error_ = errno;                                            \
    say("%s: %s errno %d\n", what, result_ < 0 ? "-1" : "done", error_); \
    result_;                                                             \
  })

static void say_open(const char* who) {
  unsigned long long open[4] = {0};
  for (int fd = 0; fd < 256; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) open[fd / 64] |= 1ull << fd % 64;
  }
  say("%s: open %llx %llx %llx %llx\n", who, open[0], open[1], open[2], open[3]);
}

static void say_mask(const char* who) {
  unsigned long long mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
  say("%s: mask %llx\n", who, mask);
}

/// Ten turns of an epoll loop: two descriptors, a time-out, one that is interrupted by nothing.
static void epoll_turns(const char* who, int turns) {
  int fds[2], others[2];
  SAY("pipe", pipe(fds));
  SAY("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, others));
  const int epoll = SAID("epoll", epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0xabcdef012345ull};
  SAY("add", epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event));
  event.data.fd = others[0];
  SAY("add", epoll_ctl(epoll, EPOLL_CTL_ADD, others[0], &event));
  SAY("add twice", epoll_ctl(epoll, EPOLL_CTL_ADD, others[0], &event));
  for (int turn = 0; turn < turns; ++turn) {
    struct epoll_event events[8];
    char byte[4];
    if (turn % 3 != 0) SAY("write", write(fds[1], "x", 1));
    if (turn % 3 == 1) SAY("send", send(others[1], "y", 1, 0));
    errno = 77;
    const int ready = epoll_wait(epoll, events, 8, turn % 3 != 0 ? 5000 : turn % 2);
    say("%s: turn %d: %d ready, errno %d\n", who, turn, ready, errno);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[i].data.u64 == 0xabcdef012345ull ? fds[0] : others[0];
      SAY("read", read(fd, byte, sizeof byte));
    }
  }
  SAY("delete", epoll_ctl(epoll, EPOLL_CTL_DEL, fds[0], NULL));
  SAY("close", close(fds[0]));
  SAY("close", close(fds[1]));
  SAY("close", close(others[0]));
  SAY("close", close(others[1]));
  SAY("close", close(epoll));
  SAY("close again", close(epoll));
  SAY("use after close", epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event));
}

static void poll_turns(void) {
  struct pollfd one = {.fd = SAID("eventfd", eventfd(0, EFD_CLOEXEC)), .events = POLLIN};
  for (int turn = 0; turn < 6; ++turn) SAY("poll", poll(&one, 1, 1));
  unsigned long long value = 3;
  SAY("write", write(one.fd, &value, sizeof value));
  for (int turn = 0; turn < 3; ++turn) SAY("poll", poll(&one, 1, 1000));
  fd_set set;
  for (int turn = 0; turn < 5; ++turn) {
    FD_ZERO(&set);
    FD_SET(one.fd, &set);
    struct timeval time = {1, 0};
    SAY("select", select(one.fd + 1, &set, NULL, NULL, &time));
  }
  SAY("close", close(one.fd));
}

/// A connection whose peer hangs up and that nobody closes.
static int hung_up(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  const int listener = SAID("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  SAY("bind", bind(listener, (struct sockaddr*)&address, size));
  SAY("listen", listen(listener, 5));
  SAY("name", getsockname(listener, (struct sockaddr*)&address, &size));
  const int client = SAID("socket", socket(AF_INET, SOCK_STREAM, 0));
  SAY("connect", connect(client, (struct sockaddr*)&address, size));
  const int server = SAID("accept", accept4(listener, NULL, NULL, SOCK_NONBLOCK));
  SAY("close", close(client));
  struct pollfd one = {.fd = server, .events = POLLIN};
  SAY("hang-up", poll(&one, 1, 5000));
  SAY("close", close(listener));
  return server;
}

static void* thread_main(void* kept) {
  prctl(PR_SET_NAME, "second");
  epoll_turns("thread", 4);
  *(int*)kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return NULL;
}

/// A thread that opened something and is there to the end.
static void* stays(void* told) {
  const int own = eventfd(0, EFD_CLOEXEC);
  if (write(*(int*)told, &own, sizeof own) != sizeof own) _exit(92);
  for (;;) pause();
}

/// Opens that the probe cannot see: they come in a message, or by a call of the kernel's own
/// number.
static void unseen(void) {
  int pair[2];
  SAY("socketpair", socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
  const int one = SAID("eventfd", eventfd(0, 0));
  struct iovec byte = {.iov_base = (char[1]){'b'}, .iov_len = 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &one, sizeof one);
  struct msghdr message = {
      .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  SAY("send descriptor", sendmsg(pair[0], &message, 0));
  SAY("receive descriptor", recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
  register long number __asm__("rax") = SYS_dup;
  register long argument __asm__("rdi") = one;
  __asm__ volatile("syscall" : "+r"(number) : "r"(argument) : "rcx", "r11", "memory");
  say("raw dup: %ld\n", number);
}

static void say_end(const char* who, pid_t child) {
  int status = 0;
  SAY(who, waitpid(child, &status, 0) == child);
  say("%s: status %x\n", who, status);
}

static volatile sig_atomic_t g_alarms;
static void on_alarm(int signal) {
  (void)signal;
  ++g_alarms;
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "image") == 0) {
    say_open("second image");
    epoll_turns("second image", 3);
    return 9;
  }
  const char* self = argv[0];
  const char* end = argc > 1 ? argv[1] : "return";
  say_mask("start");
  say_open("start");
  signal(SIGUSR1, on_alarm);
  sigset_t usr2;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  sigprocmask(SIG_BLOCK, &usr2, NULL);

  epoll_turns("main", 10);
  poll_turns();
  const int kept = hung_up();
  say("kept %d\n", kept);
  unseen();
  SAY("missing", open("/nonexistent/file", O_RDONLY));
  SAY("directory", open(".", O_RDONLY | O_DIRECTORY));
  SAY("timer", timerfd_create(CLOCK_MONOTONIC, 0));
  SAY("memory", memfd_create("mine", 0));
  SAY("duplicate", dup2(2, 130));  // another chunk of numbers
  SAY("duplicate", fcntl(1, F_DUPFD_CLOEXEC, 200));
  SAY("close of nothing", close(99));
  SAY("read of nothing", read(98, NULL, 0));
  // So many places that their table grows by some pages.
  for (int i = 0; i < 60; ++i) {
    errno = 77;
    const int fd = i % 2 == 0 ? open("/dev/null", O_RDONLY) : eventfd(0, 0);
    const int opened = errno;
    const int closed = close(fd);
    if (i % 20 == 19 || opened != 77 || closed != 0 || errno != 77) {
      say("place %d: %d errno %d, %d errno %d\n", i, fd, opened, closed, errno);
    }
  }
  raise(SIGUSR1);
  say("alarms %d\n", (int)g_alarms);

  int by_thread = -1;
  pthread_t thread;
  // It says much itself meanwhile: what this leaves in errno is said after the join.
  errno = 77;
  const int made = pthread_create(&thread, NULL, thread_main, &by_thread);
  const int made_errno = errno;
  SAY("join", pthread_join(thread, NULL));
  say("thread: %d errno %d, kept %d\n", made, made_errno, by_thread);

  int told[2], its = -1;
  SAY("pipe", pipe(told));
  SAY("thread", pthread_create(&thread, NULL, stays, &told[1]));
  SAY("read", read(told[0], &its, sizeof its));
  say("the other thread has %d\n", its);

  errno = 77;
  pid_t child = fork();
  if (child == 0) {
    say("forked: errno %d\n", errno);
    say_mask("child");
    epoll_turns("child", 4);
    say_open("child");
    exit(5);
  }
  say_end("child", child);
  child = fork();
  if (child == 0) {
    execl(self, self, "image", (char*)NULL);
    _exit(91);
  }
  say_end("image", child);
  child = vfork();
  if (child == 0) {
    close(0);
    _exit(6);
  }
  say_end("vfork", child);
  FILE* pipe = popen("echo from a shell", "r");
  char line[64] = "";
  if (pipe == NULL || fgets(line, sizeof line, pipe) == NULL) say("popen failed\n");
  say("shell: %s", line);
  SAY("pclose", pclose(pipe));

  SAY("exec of nothing", execl("/nonexistent/program", "program", (char*)NULL));
  say_mask("end");
  say_open("end");
  if (strcmp(end, "_exit") == 0) _exit(17);
  if (strcmp(end, "exec") == 0) execl(self, self, "image", (char*)NULL);
  return 16;
}
