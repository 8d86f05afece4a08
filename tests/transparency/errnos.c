// SPDX-License-Identifier: Apache-2.0
//
// What hooked calls return and leave in errno: each that fails, and each that succeeds (which
// leaves errno alone).
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <mntent.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "cases.h"

enum { kNobodys = 900 };  // a number that is not open

#define TRY(call)                                     \
  do {                                                \
    errno = 4242;                                     \
    const long result_ = (long)(call);                \
    say("%s = %ld, errno %d", #call, result_, errno); \
  } while (0)
/// For pointers and sizes that differ from run to run: only whether it is there.
#define TRY_POINTER(call)                                            \
  do {                                                               \
    errno = 4242;                                                    \
    const void* result_ = (call);                                    \
    say("%s = %s, errno %d", #call, result_ ? "it" : "null", errno); \
  } while (0)

static char buffer[64];
static struct iovec part = {buffer, sizeof buffer};
static struct epoll_event event;
static struct pollfd one = {.fd = 0};
static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "nobody-listens-here"};
static struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
static struct mmsghdr messages[1];
static struct itimerspec never;
static sigset_t mask;
static DIR* volatile no_directory;
static char* const arguments[] = {(char*)"x", NULL};

static int failing(int argc, char** argv) {
  (void)argc, (void)argv;
  const struct sockaddr* to = (const struct sockaddr*)&address;
  socklen_t size = sizeof address;
  int fds[2];
  sigemptyset(&mask);
  messages[0].msg_hdr = message;
  const int epoll = MUST(epoll_create1(0));
  const int file = MUST(open("/dev/null", O_RDWR));

  TRY(epoll_create(0));
  TRY(epoll_create1(12345));
  TRY(epoll_wait(-1, &event, 1, 0));
  TRY(epoll_wait(kNobodys, &event, 1, 0));
  TRY(epoll_wait(file, &event, 1, 0));
  TRY(epoll_wait(epoll, &event, 0, 0));
  TRY(epoll_wait(epoll, &event, -1, 0));
  TRY(epoll_pwait(kNobodys, &event, 1, 0, NULL));
  TRY(epoll_pwait(epoll, &event, 0, 0, &mask));
  TRY(epoll_pwait2(kNobodys, &event, 1, &(struct timespec){0, 0}, NULL));
  TRY(epoll_pwait2(epoll, &event, 1, &(struct timespec){0, -1}, NULL));
  TRY(epoll_ctl(kNobodys, EPOLL_CTL_ADD, 0, &event));
  TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, kNobodys, &event));
  TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, -1, &event));
  TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event));
  TRY(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event));
  TRY(epoll_ctl(epoll, EPOLL_CTL_MOD, epoll, &event));
  TRY(epoll_ctl(epoll, EPOLL_CTL_DEL, file, NULL));
  TRY(epoll_ctl(epoll, 77, file, &event));
  TRY(poll(&one, (nfds_t)-1, 0));
  TRY(ppoll(&one, 1, &(struct timespec){0, -1}, NULL));
  TRY(select(-1, NULL, NULL, NULL, &(struct timeval){0, 0}));
  TRY(select(0, NULL, NULL, NULL, &(struct timeval){-1, 0}));
  TRY(pselect(-1, NULL, NULL, NULL, &(struct timespec){0, 0}, NULL));
  TRY(open("/no/such/file", O_RDONLY));
  TRY(open("/", O_WRONLY));
  TRY(open("/dev/null/x", O_RDONLY | O_CREAT, 0600));
  TRY(open64("/no/such/file", O_RDONLY));
  TRY(openat(kNobodys, "relative", O_RDONLY));
  TRY(openat64(kNobodys, "relative", O_RDONLY));
  TRY(openat(file, "relative", O_RDONLY));
  TRY(creat("/no/such/file", 0600));
  TRY(creat64("/no/such/file", 0600));
  TRY(open_by_handle_at(kNobodys, (struct file_handle*)buffer, O_RDONLY));
  TRY(socket(12345, SOCK_STREAM, 0));
  TRY(socket(AF_INET, 12345, 0));
  TRY(socketpair(AF_INET, SOCK_STREAM, 0, fds));
  TRY(pipe2(fds, 12345));
  TRY(eventfd(0, 12345));
  TRY(timerfd_create(12345, 0));
  TRY(timerfd_settime(kNobodys, 0, &never, NULL));
  TRY(timerfd_settime(file, 0, &never, NULL));
  TRY(signalfd(kNobodys, &mask, 0));
  TRY(signalfd(file, &mask, 0));
  TRY(inotify_init1(12345));
  TRY(memfd_create("x", 12345));
  TRY(pidfd_open(-1, 0));
  TRY(pidfd_getfd(kNobodys, 0, 0));
  TRY(flock(kNobodys, LOCK_SH));
  TRY(flock(file, 12345));
  TRY(lockf(kNobodys, F_LOCK, 0));
  TRY(lockf(kNobodys, F_TEST, 0));
  TRY(lockf(file, 12345, 0));
  TRY(lockf64(kNobodys, F_TLOCK, 0));
  TRY(dup(kNobodys));
  TRY(dup(-1));
  TRY(dup2(kNobodys, 5));
  TRY(dup2(file, -1));
  TRY(dup2(file, 1 << 30));
  TRY(dup3(file, file, 0));
  TRY(dup3(file, 30, 12345));
  TRY(fcntl(kNobodys, F_GETFD));
  TRY(fcntl(file, F_DUPFD, -1));
  TRY(fcntl(file, 12345, 0));
  TRY(fcntl(file, F_DUPFD_CLOEXEC, 1 << 30));
  TRY(ioctl(kNobodys, FIONREAD, buffer));
  TRY(ioctl(file, FIONREAD, buffer));
  TRY(mkstemp((char[]){"/no/such/XXXXXX"}));
  TRY(mkstemp((char[]){"no-xes"}));
  TRY(mkostemp((char[]){"/no/such/XXXXXX"}, O_CLOEXEC));
  TRY(mkstemps((char[]){"/no/such/XXXXXX.c"}, 2));
  TRY(mkostemps((char[]){"/no/such/XXXXXX.c"}, 2, 0));
  TRY(shm_open("/no/such/thing", O_RDONLY, 0));
  TRY(shm_open("/transparency-nobody-has-this", O_RDONLY, 0));
  TRY_POINTER(fopen("/no/such/file", "r"));
  TRY_POINTER(fopen("/dev/null", "q"));
  TRY_POINTER(fopen64("/no/such/file", "r"));
  TRY_POINTER(popen("true", "q"));
  TRY_POINTER(setmntent("/no/such/file", "r"));
  TRY_POINTER(opendir("/no/such/dir"));
  TRY_POINTER(opendir("/dev/null"));
  TRY_POINTER(freopen("/no/such/file", "r", fopen("/dev/null", "r")));
  TRY(accept(kNobodys, NULL, NULL));
  TRY(accept(file, NULL, NULL));
  TRY(accept4(kNobodys, NULL, NULL, 0));
  TRY(accept4(file, NULL, NULL, 12345));
  TRY(connect(kNobodys, to, size));
  TRY(connect(file, to, size));
  TRY(bind(kNobodys, to, size));
  TRY(listen(kNobodys, 1));
  TRY(listen(file, 1));
  TRY(shutdown(file, SHUT_RD));
  TRY(close(kNobodys));
  TRY(close(-1));
  TRY(close(INT32_MIN));
  TRY(close_range(10, 5, 0));
  TRY(close_range(1000, 1001, 12345));
  TRY(closedir(no_directory));
  TRY(read(kNobodys, buffer, 1));
  TRY(read(epoll, buffer, 1));
  TRY(write(kNobodys, buffer, 1));
  TRY(write(epoll, buffer, 1));
  TRY(readv(kNobodys, &part, 1));
  TRY(writev(kNobodys, &part, 1));
  TRY(pread(kNobodys, buffer, 1, 0));
  TRY(pread64(kNobodys, buffer, 1, 0));
  TRY(pwrite(kNobodys, buffer, 1, 0));
  TRY(pwrite64(kNobodys, buffer, 1, 0));
  TRY(preadv(kNobodys, &part, 1, 0));
  TRY(pwritev(kNobodys, &part, 1, 0));
  TRY(preadv2(kNobodys, &part, 1, 0, 0));
  TRY(pwritev2(kNobodys, &part, 1, 0, 0));
  TRY(send(kNobodys, buffer, 1, 0));
  TRY(send(file, buffer, 1, 0));
  TRY(sendto(kNobodys, buffer, 1, 0, to, size));
  TRY(sendmsg(kNobodys, &message, 0));
  TRY(sendmmsg(kNobodys, messages, 1, 0));
  TRY(recv(kNobodys, buffer, 1, 0));
  TRY(recv(file, buffer, 1, 0));
  TRY(recvfrom(kNobodys, buffer, 1, 0, NULL, NULL));
  TRY(recvmsg(kNobodys, &message, 0));
  TRY(recvmmsg(kNobodys, messages, 1, 0, NULL));
  TRY(sendfile(kNobodys, file, NULL, 1));
  TRY(splice(kNobodys, NULL, file, NULL, 1, 0));
  TRY(execve("/no/such/program", arguments, environ));
  TRY(execv("/", arguments));
  TRY(execvp("no-such-program", arguments));
  TRY(execvpe("no-such-program", arguments, environ));
  TRY(execveat(kNobodys, "x", arguments, environ, 0));
  TRY(fexecve(kNobodys, arguments, environ));
  TRY(fexecve(file, arguments, environ));
  TRY(execl("/no/such/program", "x", NULL));
  TRY(execlp("no-such-program", "x", NULL));
  TRY(execle("/no/such/program", "x", NULL, environ));
  TRY(prctl(12345, 0, 0, 0, 0));
  TRY(prctl(PR_SET_NAME, (unsigned long)-1, 0, 0, 0));
  TRY(setns(kNobodys, 0));
  TRY(unshare(1 << 30 | 1));
  TRY(chroot("/no/such/dir"));
  TRY(openpty(&fds[0], &fds[1], NULL, NULL, NULL) == 0 && close(fds[0]) == 0 && close(fds[1]) == 0);
  TRY(dlclose(dlopen(NULL, RTLD_NOW)));

  // A Unix socket that nobody listens on, one that is full, and one that would block.
  const int client = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  TRY(connect(client, to, size));
  TRY(read(client, buffer, 1));
  TRY(send(client, buffer, 1, MSG_NOSIGNAL));
  TRY(bind(client, to, size));
  TRY(bind(client, to, size));
  TRY(listen(client, 0));
  TRY(accept(client, NULL, NULL));
  TRY(accept4(client, NULL, NULL, SOCK_CLOEXEC));
  unlink(address.sun_path);

  // The same through syscall(2).
  TRY(syscall(SYS_open, "/no/such/file", O_RDONLY));
  TRY(syscall(SYS_openat, kNobodys, "x", O_RDONLY));
  TRY(syscall(SYS_close, kNobodys));
  TRY(syscall(SYS_read, kNobodys, buffer, 1));
  TRY(syscall(SYS_epoll_wait, kNobodys, &event, 1, 0));
  TRY(syscall(SYS_epoll_pwait, kNobodys, &event, 1, 0, NULL, 8));
  TRY(syscall(SYS_epoll_ctl, kNobodys, EPOLL_CTL_ADD, 0, &event));
  TRY(syscall(SYS_dup2, kNobodys, 3));
  TRY(syscall(SYS_socket, 12345, 1, 0));
  TRY(syscall(SYS_pipe2, fds, 12345));
  TRY(syscall(SYS_fcntl, kNobodys, F_GETFD));
  TRY(syscall(SYS_accept4, kNobodys, NULL, NULL, 0));
  TRY(syscall(SYS_memfd_create, "x", 12345));
  TRY(syscall(SYS_close_range, 5, 4, 0));
  TRY(syscall(SYS_select, -1, NULL, NULL, NULL, &(struct timeval){0, 0}));
  TRY(syscall(SYS_connect, kNobodys, to, size));
  TRY(syscall(SYS_prctl, 12345, 0, 0, 0, 0));
  TRY(syscall(999, 1, 2, 3, 4, 5, 6));
  TRY(syscall(-1));
  TRY(syscall(SYS_seccomp, 12345, 0, NULL));
  return 0;
}

static int succeeding(int argc, char** argv) {
  (void)argc, (void)argv;
  int fds[2];
  char byte = 'x';
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  TRY(epoll_create1(0));  // 3
  TRY(epoll_create(1));   // 4
  TRY(pipe(fds));         // 5, 6
  event.events = EPOLLIN;
  TRY(epoll_ctl(3, EPOLL_CTL_ADD, 5, &event));
  event.data.u64 = 0x7f0012345678;
  TRY(epoll_ctl(3, EPOLL_CTL_MOD, 5, &event));
  TRY(epoll_wait(3, &event, 1, 0));
  TRY(epoll_wait(3, &event, 1, 1));
  TRY(write(6, &byte, 1));
  TRY(epoll_wait(3, &event, 1, -1));
  say("data %llx, events %x", (unsigned long long)event.data.u64, event.events);
  TRY(epoll_pwait(3, &event, 1, -1, &mask));
  TRY(epoll_pwait2(3, &event, 1, NULL, &mask));
  one.fd = 5;
  one.events = POLLIN;
  for (int i = 0; i < 5; ++i) TRY(poll(&one, 1, 10));
  for (int i = 0; i < 5; ++i) TRY(ppoll(&one, 1, NULL, NULL));
  one.fd = 3;
  TRY(ppoll(&one, 1, NULL, NULL));
  TRY(epoll_wait(3, &event, 1, 0));
  fd_set set;
  for (int i = 0; i < 5; ++i) {
    FD_ZERO(&set);
    FD_SET(5, &set);
    struct timeval time = {1, 0};
    TRY(select(6, &set, NULL, NULL, &time));
    say("left %d", time.tv_sec == 1 || time.tv_usec > 900000);
    FD_SET(5, &set);
    TRY(pselect(6, &set, NULL, NULL, NULL, &mask));
  }
  TRY(read(5, &byte, 1));
  TRY(epoll_ctl(3, EPOLL_CTL_DEL, 5, NULL));
  TRY(open("/dev/null", O_RDWR));                 // 7
  TRY(open64("/dev/null", O_RDWR | O_CLOEXEC));   // 8
  TRY(openat(AT_FDCWD, "/dev/null", O_RDWR));     // 9
  TRY(openat64(AT_FDCWD, "/dev/null", O_RDWR));   // 10
  TRY(open(".", O_TMPFILE | O_RDWR, 0600));       // 11
  TRY(creat("made", 0600));                       // 12
  TRY(creat64("made", 0600));                     // 13
  TRY(socket(AF_INET, SOCK_STREAM, 0));           // 14
  TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));  // 15, 16
  TRY(eventfd(0, EFD_NONBLOCK));                  // 17
  TRY(timerfd_create(CLOCK_MONOTONIC, 0));        // 18
  struct itimerspec soon = {.it_value = {0, 1}};
  TRY(timerfd_settime(18, 0, &soon, NULL));
  TRY(read(18, buffer, 8));
  TRY(signalfd(-1, &mask, 0));  // 19
  TRY(signalfd(19, &mask, 0));
  TRY(inotify_init());                     // 20
  TRY(inotify_init1(IN_CLOEXEC));          // 21
  TRY(memfd_create("name", MFD_CLOEXEC));  // 22
  TRY(pidfd_open(getpid(), 0));            // 23
  TRY(dup(7));                             // 24
  TRY(dup2(7, 24));
  TRY(dup2(24, 24));
  TRY(dup3(7, 25, O_CLOEXEC));          // 25
  TRY(fcntl(7, F_DUPFD, 0));            // 26
  TRY(fcntl(7, F_DUPFD_CLOEXEC, 100));  // 100
  TRY(fcntl(7, F_SETFD, FD_CLOEXEC));
  TRY(fcntl(7, F_GETFD));
  TRY(fcntl(7, F_SETFL, O_NONBLOCK));
  TRY(fcntl(7, F_GETFL));
  TRY(ioctl(7, FIOCLEX));
  TRY(ioctl(17, FIONBIO, &(int){1}));
  TRY(mkstemp((char[]){"temporary-XXXXXX"}));              // 27
  TRY(mkostemp((char[]){"temporary-XXXXXX"}, O_CLOEXEC));  // 28
  (void)shm_unlink("/transparency-nobody-has-this");
  TRY_POINTER(fopen("made", "w+e"));  // 29
  TRY_POINTER(tmpfile());             // 30
  TRY_POINTER(opendir("/"));          // 31
  TRY(open("/dev/null", O_RDONLY));   // 32
  TRY(write(15, &byte, 1));
  TRY(recv(16, buffer, 1, 0));
  TRY(send(15, &byte, 1, 0));
  TRY(recvfrom(16, buffer, 1, 0, NULL, NULL));
  TRY(sendto(15, &byte, 1, 0, NULL, 0));
  part.iov_len = 1;
  message.msg_iovlen = 1;
  TRY(recvmsg(16, &message, 0));
  TRY(sendmsg(15, &message, 0));
  TRY(readv(16, &part, 1));
  TRY(writev(15, &part, 1));
  messages[0].msg_hdr = message;
  TRY(recvmmsg(16, messages, 1, 0, NULL));
  TRY(sendmmsg(15, messages, 1, 0));
  TRY(pwrite(27, "abc", 3, 0));
  TRY(pread(27, buffer, 3, 0));
  TRY(pwritev(27, &part, 1, 0));
  TRY(preadv(27, &part, 1, 0));
  TRY(sendfile(15, 27, NULL, 1));
  TRY(shutdown(15, SHUT_RDWR));
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  TRY(bind(14, (struct sockaddr*)&here, sizeof here));
  TRY(listen(14, 4));
  socklen_t size = sizeof here;
  getsockname(14, (struct sockaddr*)&here, &size);
  TRY(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));  // 33
  TRY(connect(33, (struct sockaddr*)&here, sizeof here));
  size = sizeof here;
  TRY(accept(14, (struct sockaddr*)&here, &size));  // 34
  say("peer of %d bytes, family %d", (int)size, here.sin_family);
  TRY(syscall(SYS_dup, 34));  // 35
  TRY(syscall(SYS_close, 35));
  TRY(syscall(SYS_eventfd2, 0, 0));  // 35
  TRY(close(34));
  TRY(close(3));
  TRY(epoll_wait(4, &event, 1, 0));
  TRY(close_range(33, 35, 0));
  TRY(prctl(PR_SET_NAME, "renamed", 0, 0, 0));
  TRY(setuid(getuid()));
  TRY(setgid(getgid()));
  closefrom(20);
  TRY(open("/dev/null", O_RDONLY));  // 3
  TRY(open("/dev/null", O_RDONLY));  // 20
  return 0;
}

static sigjmp_buf after_fault;
static void on_fault(int number) { siglongjmp(after_fault, number); }
#define TRY_FAULT(call)                            \
  do {                                             \
    if (sigsetjmp(after_fault, 1) == 0) {          \
      TRY(call);                                   \
    } else {                                       \
      say("%s: the process gets a signal", #call); \
    }                                              \
  } while (0)

/// Pointers that the kernel refuses with EFAULT. Where libc itself follows them the bare process
/// gets the signal as well.
static int pointers(int argc, char** argv) {
  (void)argc, (void)argv;
  struct sigaction action = {.sa_handler = on_fault};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  const int epoll = MUST(epoll_create1(0));
  const int sockets[2] = {MUST(socket(AF_UNIX, SOCK_STREAM, 0)),
                          MUST(socket(AF_INET, SOCK_DGRAM, 0))};
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
  // Not mapped: null, nothing that an address can be, and a page without access.
  void* guard = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (guard == MAP_FAILED) give_up("mmap");
  void* const bads[] = {NULL, (void*)-1, guard};
  for (int i = 0; i < 3; ++i) {
    void* volatile bad = bads[i];
    say("pointer %d", i);
    TRY_FAULT(open((char*)bad, O_RDONLY));
    TRY_FAULT(openat(AT_FDCWD, (char*)bad, O_RDONLY));
    TRY_FAULT(creat((char*)bad, 0600));
    TRY_FAULT(memfd_create((char*)bad, 0));
    TRY_FAULT(pipe((int*)bad));
    TRY_FAULT(pipe2((int*)bad, O_CLOEXEC));
    TRY_FAULT(socketpair(AF_UNIX, SOCK_STREAM, 0, (int*)bad));
    TRY_FAULT(poll((struct pollfd*)bad, 3, 0));
    TRY_FAULT(select(1, (fd_set*)bad, NULL, NULL, &(struct timeval){0, 0}));
    TRY_FAULT(connect(sockets[0], (struct sockaddr*)bad, sizeof address));
    TRY_FAULT(connect(sockets[1], (struct sockaddr*)bad, sizeof(struct sockaddr_in)));
    TRY_FAULT(connect(kNobodys, (struct sockaddr*)bad, 16));
    TRY_FAULT(bind(sockets[0], (struct sockaddr*)bad, sizeof address));
    TRY_FAULT(recvmsg(pair[0], (struct msghdr*)bad, MSG_DONTWAIT));
    TRY_FAULT(sendmsg(pair[0], (struct msghdr*)bad, MSG_DONTWAIT));
    TRY_FAULT(read(pair[0], bad, 0));
    TRY_FAULT(write(pair[0], bad, 8));
    TRY_FAULT(timerfd_settime(kNobodys, 0, (struct itimerspec*)bad, NULL));
    TRY_FAULT(epoll_wait(epoll, (struct epoll_event*)bad, 1, 0));
    TRY_FAULT(ioctl(pair[0], FIONBIO, bad));
    TRY_FAULT(execve((char*)bad, arguments, environ));
    TRY_FAULT(syscall(SYS_open, bad, O_RDONLY));
    TRY_FAULT(syscall(SYS_openat, AT_FDCWD, bad, O_RDONLY));
    TRY_FAULT(syscall(SYS_openat2, -1, bad, bad, 0));  // how programs ask whether there is openat2
    TRY_FAULT(syscall(SYS_openat2, AT_FDCWD, "/dev/null", bad, 24));
    TRY_FAULT(syscall(SYS_memfd_create, bad, 0));
    TRY_FAULT(syscall(SYS_creat, bad, 0600));
    TRY_FAULT(syscall(SYS_connect, sockets[0], bad, sizeof address));
    TRY_FAULT(syscall(SYS_accept4, sockets[0], bad, bad, 0));
    TRY_FAULT(syscall(SYS_pipe2, bad, 0));
    // The probe reads these before the call. It knows what cannot be an address, not what is
    // mapped.
    if (bad == guard) break;
    TRY_FAULT(poll((struct pollfd*)bad, 1, 0));
    TRY_FAULT(poll((struct pollfd*)bad, 2, 0));
    TRY_FAULT(ppoll((struct pollfd*)bad, 1, &(struct timespec){0, 0}, NULL));
    TRY_FAULT(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], (struct epoll_event*)bad));
    TRY_FAULT(epoll_pwait2(epoll, &event, 1, (struct timespec*)(i != 0 ? bad : (void*)8), NULL));
    TRY_FAULT(syscall(SYS_poll, bad, 1, 0));
    TRY_FAULT(syscall(SYS_ppoll, bad, 1, bad, NULL, 8));
    TRY_FAULT(syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, pair[0], bad));
    TRY_FAULT(syscall(SYS_epoll_pwait2, epoll, &event, 1, i != 0 ? bad : (void*)8, NULL, 8));
    TRY_FAULT(syscall(SYS_select, 1, bad, NULL, NULL, i != 0 ? bad : (void*)8));
    TRY_FAULT(syscall(SYS_pselect6, 1, bad, NULL, NULL, i != 0 ? bad : (void*)8, NULL));
  }
  return 0;
}

/// Every call that makes descriptors when there are no more.
static int exhausted(int argc, char** argv) {
  (void)argc, (void)argv;
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof here;
  sigemptyset(&mask);
  const int listener = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  MUST(bind(listener, (struct sockaddr*)&here, sizeof here));
  MUST(listen(listener, 4));
  MUST(getsockname(listener, (struct sockaddr*)&here, &size));
  const int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(client, (struct sockaddr*)&here, sizeof here));
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control = {0};
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &listener, sizeof listener);
  MUST(sendmsg(pair[0], &message, 0));

  const struct rlimit few = {40, 40};
  MUST(setrlimit(RLIMIT_NOFILE, &few));
  int fd;
  errno = 0;
  while ((fd = open("/dev/null", O_RDONLY)) >= 0) say("open %d", fd);
  say("then errno %d", errno);
  int fds[2];
  TRY(open("/dev/null", O_RDONLY));
  TRY(openat(AT_FDCWD, "/dev/null", O_RDONLY));
  TRY(creat("made", 0600));
  TRY(epoll_create1(0));
  TRY(eventfd(0, 0));
  TRY(timerfd_create(CLOCK_MONOTONIC, 0));
  TRY(signalfd(-1, &mask, 0));
  TRY(inotify_init1(0));
  TRY(memfd_create("x", 0));
  TRY(socket(AF_UNIX, SOCK_STREAM, 0));
  TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
  TRY(pipe(fds));
  TRY(accept(listener, NULL, NULL));
  TRY(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
  TRY(dup(1));
  TRY(dup2(1, 39));
  TRY(dup2(1, 40));
  TRY(dup3(1, 41, 0));
  TRY(fcntl(1, F_DUPFD, 0));
  TRY(fcntl(1, F_DUPFD, 40));
  TRY_POINTER(fopen("/dev/null", "r"));
  TRY_POINTER(opendir("/"));
  TRY_POINTER(popen("true", "r"));
  TRY_POINTER(tmpfile());
  TRY(openpty(&fds[0], &fds[1], NULL, NULL, NULL));
  TRY(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY));
  TRY(syscall(SYS_pipe2, fds, 0));
  message.msg_controllen = sizeof control.bytes;
  TRY(recvmsg(pair[1], &message, 0));
  say("truncated %d, control of %d bytes", (message.msg_flags & MSG_CTRUNC) != 0,
      (int)message.msg_controllen);
  TRY(close(20));
  TRY(pipe(fds));
  TRY(accept(listener, NULL, NULL));  // 20
  const pid_t child = MUST(fork());
  if (child == 0) {
    say("child: open %d", open("/dev/null", O_RDONLY));
    TRY(close(21));
    say("child: open %d", open("/dev/null", O_RDONLY));
    _exit(5);
  }
  say_end("child", child);
  return 0;
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"failing", failing},
                                             {"succeeding", succeeding},
                                             {"pointers", pointers},
                                             {"exhausted", exhausted},
                                             {NULL, NULL}};
  return run_case(cases, argc, argv);
}
