/* SPDX-License-Identifier: Apache-2.0
 *
 * What can go wrong with descriptor numbers, each done once and on purpose, and its healthy twin:
 * `mishaps NAME`. The functions whose names matter are not inlined, so that a stack tells which of
 * them it was. What the program knows of itself it prints: "fd 5". */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* So that a call is no jump, and the caller is on the stack. */
#define NOT_LAST __asm__ volatile("")
#define OWN __attribute__((noinline, noclone))

static void check(int good, const char* what) {
  if (good) return;
  fprintf(stderr, "mishaps: %s: %s\n", what, strerror(errno));
  exit(99);
}

static void tell(const char* name, long value) {
  printf("%s %ld\n", name, value);
  fflush(stdout);
}

/* System calls that no preload sees. */
static long unseen(long number, long a, long b, long c) {
  long result;
  register long d __asm__("r10") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(d)
                   : "rcx", "r11", "memory");
  return result;
}

OWN static int opener(void) {
  const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  check(fd >= 0, "open");
  return fd;
}
OWN static int wrapped_close(int fd) {
  const int result = close(fd);
  NOT_LAST;
  return result;
}
OWN static int twice_wrapped_close(int fd) {
  const int result = wrapped_close(fd);
  NOT_LAST;
  return result;
}
OWN static void first_close(int fd) {
  check(twice_wrapped_close(fd) == 0, "first close");
  NOT_LAST;
}
OWN static int second_close(int fd) {
  const int result = wrapped_close(fd);
  NOT_LAST;
  return result;
}

static int open_and_close(void) {
  const int fd = opener();
  tell("fd", fd);
  first_close(fd);
  return fd;
}

static void double_close(void) { check(second_close(open_and_close()) == -1, "double close"); }
static void single_close(void) { open_and_close(); }

static void never_opened(void) {
  close(77);
  NOT_LAST;
  close(-1);
}

static void sweep(void) {
  for (int fd = 3; fd < 1000; ++fd) close(fd);
}

static void closes_of_all_kinds(void) {
  const int over = opener();
  check(dup2(0, over) == over, "dup2"); /* closes it, and opens it */
  close(over);
  second_close(over);

  FILE* file = fopen("/dev/null", "r");
  check(file != NULL, "fopen");
  const int of_file = fileno(file);
  fclose(file);
  second_close(of_file);

  DIR* directory = opendir("/");
  check(directory != NULL, "opendir");
  const int of_directory = dirfd(directory);
  closedir(directory);
  second_close(of_directory);

  const int ranged = opener();
  close_range((unsigned)ranged, (unsigned)ranged, 0);
  second_close(ranged);

  const int by_number = opener();
  syscall(SYS_close, by_number);
  check(syscall(SYS_close, by_number) == -1, "second syscall");
}

static void closed_below_a_file(void) {
  FILE* file = fopen("/dev/null", "r");
  check(file != NULL, "fopen");
  first_close(fileno(file));
  fclose(file);
}

static void use_after_close(void) {
  char byte = 0;
  const int fd = open_and_close();
  struct sockaddr_in address = {.sin_family = AF_INET};
  struct iovec part = {&byte, 1};
  struct epoll_event event = {0};
  int on = 1;
  errno = 0;
#define FAILS(call) check((call) == -1 && errno == EBADF, #call)
  FAILS(read(fd, &byte, 1));
  FAILS(write(fd, &byte, 1));
  FAILS(writev(fd, &part, 1));
  FAILS(send(fd, &byte, 1, 0));
  FAILS(recv(fd, &byte, 1, 0));
  FAILS(accept(fd, NULL, NULL));
  FAILS(connect(fd, (struct sockaddr*)&address, sizeof address));
  FAILS(listen(fd, 1));
  FAILS(shutdown(fd, SHUT_RD));
  FAILS(ioctl(fd, FIONBIO, &on));
  FAILS(fcntl(fd, F_SETFL, O_NONBLOCK));
  FAILS(epoll_ctl(fd, EPOLL_CTL_ADD, 0, &event));
  FAILS(epoll_wait(fd, &event, 1, 0));
  FAILS(syscall(SYS_write, fd, &byte, 1));
  FAILS(write(1000, &byte, 1)); /* never opened */
}

/* EBADF, and no number is wrong; or a question, which EBADF answers. */
static void wrong_ways(void) {
  char byte = 0;
  struct epoll_event event = {.events = EPOLLIN};
  const int in = open("/dev/null", O_RDONLY);
  const int out = open("/dev/null", O_WRONLY);
  const int path = open("/dev/null", O_PATH);
  FAILS(write(in, &byte, 1));
  FAILS(read(out, &byte, 1));
  FAILS(read(path, &byte, 1));
  const int hidden = (int)unseen(SYS_openat, AT_FDCWD, (long)"/dev/null", O_WRONLY);
  check(hidden >= 0, "unseen open");
  FAILS(read(hidden, &byte, 1));
  check(unseen(SYS_close, hidden, 0, 0) == 0, "unseen close");
  const int set = epoll_create1(0);
  const int gone = open_and_close();
  FAILS(fcntl(gone, F_GETFD));
  FAILS(fcntl(gone, F_GETFL));
  FAILS(fcntl(gone, F_SETFD, FD_CLOEXEC));
  FAILS(dup(gone));
  FAILS(dup2(gone, 100));
  FAILS(fcntl(gone, F_DUPFD, 10));
  FAILS(epoll_ctl(set, EPOLL_CTL_DEL, gone, &event));
  FAILS(epoll_ctl(set, EPOLL_CTL_ADD, gone, &event));
  close(in);
  close(out);
  close(path);
  close(set);
}

/* A registration that outlives its number: a duplicate keeps it. `how`: "number" or "pointer" is
 * what epoll gives back; "again": the number is open again by then; "removed", "whole": healthy. */
OWN static int wait_once(int set) {
  struct epoll_event event;
  const int ready = epoll_wait(set, &event, 1, 0);
  NOT_LAST;
  return ready;
}
static void event_after_close(const char* how) {
  static char object;
  int pair[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
  const int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  if (strcmp(how, "number") == 0) {
    event.data.fd = pair[0];
  } else {
    event.data.ptr = &object;
  }
  check(epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event) == 0, "epoll_ctl");
  const int kept = dup(pair[0]);
  check(write(pair[1], "x", 1) == 1, "write");
  check(wait_once(set) == 1, "the healthy event");
  tell("fd", pair[0]);
  if (strcmp(how, "removed") == 0) {
    check(epoll_ctl(set, EPOLL_CTL_DEL, pair[0], &event) == 0, "EPOLL_CTL_DEL");
  }
  if (strcmp(how, "whole") != 0) first_close(pair[0]);
  if (strcmp(how, "again") == 0) check(opener() == pair[0], "the same number");
  for (volatile int i = 0; i < 2; ++i) { /* volatile: not unrolled, so one place */
    check(wait_once(set) == (strcmp(how, "removed") != 0), "wait");
  }
  (void)kept;
}

/* A number that is closed while its event is handled by others is nobody's fault. */
static void* closes_it(void* fd) {
  close(*(int*)fd);
  return NULL;
}
static void closed_by_a_thread(void) {
  int pair[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
  const int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = pair[0]}};
  check(epoll_ctl(set, EPOLL_CTL_ADD, pair[0], &event) == 0, "epoll_ctl");
  check(write(pair[1], "x", 1) == 1, "write");
  check(wait_once(set) == 1, "wait");
  pthread_t thread;
  check(pthread_create(&thread, NULL, closes_it, &pair[0]) == 0, "pthread_create");
  pthread_join(thread, NULL);
  check(wait_once(set) == 0, "wait");
}

/* Behind the ledger's back: a file stays open, another is closed. */
/* As many open as it says it has, but others. */
static void exchanged(void) {
  const int there = opener();
  const int hidden = (int)unseen(SYS_openat, AT_FDCWD, (long)"/etc/passwd", O_RDONLY | O_CLOEXEC);
  check(hidden >= 0, "unseen");
  tell("hidden", hidden);
  tell("closed", there);
  check(unseen(SYS_close, there, 0, 0) == 0, "unseen close");
}

/* Two descriptors wait with the same data; the later one is removed and closed, and then the other
 * is ready. `how`: the data is an object, or the number of the other. */
static void same_data(const char* how) {
  static char object;
  int one[2];
  int other[2];
  check(pipe(one) == 0 && pipe(other) == 0, "pipe");
  const int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  if (strcmp(how, "number") == 0) {
    event.data.fd = one[0];
  } else {
    event.data.ptr = &object;
  }
  check(epoll_ctl(set, EPOLL_CTL_ADD, one[0], &event) == 0, "epoll_ctl");
  check(epoll_ctl(set, EPOLL_CTL_ADD, other[0], &event) == 0, "epoll_ctl");
  check(epoll_ctl(set, EPOLL_CTL_DEL, other[0], &event) == 0, "epoll_ctl");
  first_close(other[0]);
  check(write(one[1], "x", 1) == 1 && wait_once(set) == 1, "wait");
}

/* A forked child whose main thread was met in the parent, and whose other thread is the first to
 * open something: the parent's is no business of either. */
static void* opens_first(void* fd) {
  *(int*)fd = opener();
  return NULL;
}
static void child_of_threads(void) {
  pid_t child = -1;
  for (volatile int i = 0; i < 2; ++i) { /* volatile: not unrolled, so one place */
    if (i == 1) {
      child = fork();
      check(child >= 0, "fork");
      if (child != 0) break;
      int fd = -1;
      pthread_t thread;
      check(pthread_create(&thread, NULL, opens_first, &fd) == 0, "pthread_create");
      check(pthread_join(thread, NULL) == 0 && close(fd) == 0, "pthread_join");
    }
    wrapped_close(900 + i);
  }
  if (child == 0) {
    tell("main", opener());
    exit(0);
  }
  waitpid(child, NULL, 0);
}

/* A TCP socket that came in a message. */
static void receives_a_socket(void) {
  int pair[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
  const int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(tcp >= 0, "socket");
  char byte = 'x';
  struct iovec part = {&byte, 1};
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } control = {.room = {0}};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof tcp);
  memcpy(CMSG_DATA(header), &tcp, sizeof tcp);
  check(sendmsg(pair[0], &message, 0) == 1 && close(tcp) == 0, "sendmsg");
  check(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) == 1, "recvmsg");
  int received = -1;
  memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
  tell("fd", received);
}

static void behind(void) {
  const int there = opener();
  const int hidden = (int)unseen(SYS_openat, AT_FDCWD, (long)"/etc/passwd", O_RDONLY | O_CLOEXEC);
  const int event = (int)unseen(SYS_eventfd2, 0, 0, 0);
  check(hidden >= 0 && event >= 0, "unseen");
  tell("hidden", hidden);
  tell("event", event);
  tell("closed", there);
  check(unseen(SYS_close, there, 0, 0) == 0, "unseen close");
}

static void* opens(void* fd) {
  *(int*)fd = opener();
  return NULL;
}
static void lost_by_a_thread(void) {
  int fd = -1;
  pthread_t thread;
  check(pthread_create(&thread, NULL, opens, &fd) == 0, "pthread_create");
  pthread_join(thread, NULL);
  tell("fd", fd);
  tell("own", opener());
}

static void peer_closes(int it_does) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  check(bind(listener, (struct sockaddr*)&address, size) == 0 && listen(listener, 1) == 0 &&
            getsockname(listener, (struct sockaddr*)&address, &size) == 0,
        "listen");
  const int out = socket(AF_INET, SOCK_STREAM, 0);
  check(connect(out, (struct sockaddr*)&address, size) == 0, "connect");
  const int in = accept(listener, NULL, NULL);
  check(in >= 0, "accept");
  tell("fd", in);
  if (it_does) close(out);
  const struct timespec moment = {0, 200000000};
  nanosleep(&moment, NULL);
}

/* The parent closes a number before the fork, the child once more. `how` it is forked. */
static void child_closes(const char* how) {
  const int reused = opener();
  const int fd = opener();
  tell("fd", fd);
  first_close(fd);
  first_close(reused);
  const pid_t child = strcmp(how, "vfork") == 0 ? vfork() : fork();
  check(child >= 0, how);
  if (child == 0) {
    if (strcmp(how, "fork") == 0) opener(); /* now it has a recording of its own */
    close(fd);
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

static void no_more_numbers(void) {
  const struct rlimit limit = {32, 32};
  setrlimit(RLIMIT_NOFILE, &limit);
  while (open("/dev/null", O_RDONLY) >= 0) {
  }
}

/* One turn that serves two descriptors, the second for long. */
OWN static int slow_one(void) {
  int pair[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "x", 1) == 1, "slow_one");
  return pair[0];
}
OWN static int quick_one(void) {
  int pair[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "x", 1) == 1, "quick_one");
  return pair[0];
}
static void slow_turn(void) {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  const int quick = quick_one();
  const int slow = slow_one();
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = quick}};
  check(epoll_ctl(set, EPOLL_CTL_ADD, quick, &event) == 0, "epoll_ctl");
  event.data.fd = slow;
  check(epoll_ctl(set, EPOLL_CTL_ADD, slow, &event) == 0, "epoll_ctl");
  struct epoll_event events[4];
  for (int i = 0; i < 3; ++i) check(epoll_wait(set, events, 1, 0) == 1, "epoll_wait");
  check(epoll_wait(set, events, 4, 0) == 2, "epoll_wait");
  const struct timespec moment = {0, 1000000};
  const struct timespec long_time = {0, 40000000};
  char byte;
  check(read(quick, &byte, 1) == 1, "read");
  nanosleep(&moment, NULL);
  check(read(slow, &byte, 1) == 1, "read");
  nanosleep(&long_time, NULL);
  check(epoll_wait(set, events, 4, 0) == 0, "epoll_wait");
  tell("fd", slow);
}

static void exec_that_fails(void) {
  char* arguments[] = {"nothing", NULL};
  check(execv("/nonexistent/nothing", arguments) == -1, "execv");
}

static void end(const char* how) {
  char* arguments[] = {"true", NULL};
  if (strcmp(how, "exit") == 0) exit(0);
  if (strcmp(how, "_exit") == 0) _exit(0);
  if (strcmp(how, "_Exit") == 0) _Exit(0);
  if (strcmp(how, "quick_exit") == 0) quick_exit(0);
  if (strcmp(how, "exit_group") == 0) syscall(SYS_exit_group, 0);
  if (strcmp(how, "exit_call") == 0) syscall(SYS_exit, 0);
  if (strcmp(how, "exec") == 0) execv("/bin/true", arguments);
  if (strcmp(how, "exec_call") == 0) syscall(SYS_execve, "/bin/true", arguments, environ);
  if (strcmp(how, "abort") == 0) abort();
  if (strcmp(how, "kill") == 0) raise(SIGKILL);
}

int main(int count, char** arguments) {
  const char* what = count > 1 ? arguments[1] : "";
  const char* how = count > 2 ? arguments[2] : "";
  const struct {
    const char* name;
    void (*run)(void);
  } plain[] = {
      {"double_close", double_close},
      {"single_close", single_close},
      {"never_opened", never_opened},
      {"sweep", sweep},
      {"closes_of_all_kinds", closes_of_all_kinds},
      {"closed_below_a_file", closed_below_a_file},
      {"use_after_close", use_after_close},
      {"wrong_ways", wrong_ways},
      {"closed_by_a_thread", closed_by_a_thread},
      {"behind", behind},
      {"exchanged", exchanged},
      {"child_of_threads", child_of_threads},
      {"receives_a_socket", receives_a_socket},
      {"lost_by_a_thread", lost_by_a_thread},
      {"no_more_numbers", no_more_numbers},
      {"exec_that_fails", exec_that_fails},
      {"slow_turn", slow_turn},
  };
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; ++i) {
    if (strcmp(what, plain[i].name) != 0) continue;
    plain[i].run();
    end(how);
    return 0;
  }
  if (strcmp(what, "event_after_close") == 0) {
    event_after_close(how);
  } else if (strcmp(what, "same_data") == 0) {
    same_data(how);
  } else if (strcmp(what, "peer_closes") == 0) {
    peer_closes(strcmp(how, "yes") == 0);
  } else if (strcmp(what, "child_closes") == 0) {
    child_closes(how);
  } else {
    fprintf(stderr, "mishaps: what is %s?\n", what);
    return 98;
  }
  return 0;
}
