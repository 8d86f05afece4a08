// SPDX-License-Identifier: Apache-2.0
//
// Arguments arrive as they were given, in calls that take a variable number of them too.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>

#include "cases.h"

static void say_mode(const char* path) {
  struct stat status;
  MUST(stat(path, &status));
  say("%s: mode %o, size %ld", path, status.st_mode, (long)status.st_size);
}

static void opens(void) {
  umask(027);
  const struct {
    const char* name;
    int flags;
    int mode;
  } files[] = {{"a", O_CREAT | O_RDWR, 0666},
               {"b", O_CREAT | O_EXCL | O_WRONLY, 0751},
               {"c", O_CREAT | O_APPEND | O_RDWR | O_CLOEXEC, 04777},
               {"d", O_CREAT | O_TRUNC | O_NONBLOCK | O_RDONLY, 0}};
  for (size_t i = 0; i < sizeof files / sizeof files[0]; ++i) {
    const int fd = open(files[i].name, files[i].flags, files[i].mode);
    say("open %d: flags %x, descriptor flags %d", fd, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    say_mode(files[i].name);
    unlink(files[i].name);
    close(fd);
    close(openat(AT_FDCWD, files[i].name, files[i].flags, files[i].mode));
    say_mode(files[i].name);
    unlink(files[i].name);
    close((int)syscall(SYS_openat, AT_FDCWD, files[i].name, files[i].flags, files[i].mode));
    say_mode(files[i].name);
    unlink(files[i].name);
    close((int)syscall(SYS_open, files[i].name, files[i].flags, files[i].mode));
    say_mode(files[i].name);
  }
  const int unnamed = open(".", O_TMPFILE | O_RDWR, 0640);
  struct stat status;
  MUST(fstat(unnamed, &status));
  say("O_TMPFILE: mode %o", status.st_mode);
  close(unnamed);
  close(creat("e", 0606));
  say_mode("e");
  char name[] = "t-XXXXXX";
  const int temporary = mkstemp(name);
  MUST(fstat(temporary, &status));
  say("mkstemp: mode %o, named %d", status.st_mode, strcmp(name, "t-XXXXXX") != 0);
  close(temporary);
  umask(022);
}

static void fcntls(void) {
  const int file = MUST(open("locked", O_RDWR | O_CREAT, 0600));
  if (write(file, "0123456789", 10) != 10) give_up("write");
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3};
  say("F_SETLK %d", fcntl(file, F_SETLK, &lock));
  const pid_t child = MUST(fork());
  if (child == 0) {
    struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
    say("F_GETLK %d: type %d, from %ld, %ld bytes, parent's %d", fcntl(file, F_GETLK, &asked),
        asked.l_type, (long)asked.l_start, (long)asked.l_len, asked.l_pid == getppid());
    errno = 0;
    asked.l_type = F_WRLCK;
    asked.l_start = 0;
    asked.l_len = 10;
    say("F_SETLK %d, errno %d", fcntl(file, F_SETLK, &asked), errno);
    _exit(0);
  }
  say_end("child", child);
  struct flock open_lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 7, .l_len = 1};
  say("F_OFD_SETLKW %d", fcntl(file, F_OFD_SETLKW, &open_lock));
  lock.l_type = F_UNLCK;
  say("F_SETLKW %d", fcntl(file, F_SETLKW, &lock));

  int fds[2];
  MUST(pipe(fds));
  say("F_SETPIPE_SZ %d, F_GETPIPE_SZ %d", fcntl(fds[0], F_SETPIPE_SZ, 65536),
      fcntl(fds[1], F_GETPIPE_SZ));
  say("F_SETOWN %d, F_GETOWN %d", fcntl(fds[0], F_SETOWN, getpid()),
      fcntl(fds[0], F_GETOWN) == getpid());
  struct f_owner_ex owner = {F_OWNER_PID, getpid()};
  say("F_SETOWN_EX %d", fcntl(fds[0], F_SETOWN_EX, &owner));
  memset(&owner, 0, sizeof owner);
  say("F_GETOWN_EX %d: %d %d", fcntl(fds[0], F_GETOWN_EX, &owner), owner.type,
      owner.pid == getpid());
  say("F_SETSIG %d, F_GETSIG %d", fcntl(fds[0], F_SETSIG, SIGRTMIN),
      fcntl(fds[0], F_GETSIG) == SIGRTMIN);
  say("F_SETFL %d, F_GETFL %x", fcntl(fds[0], F_SETFL, O_NONBLOCK), fcntl(fds[0], F_GETFL));
  say("F_SETFD %d, F_GETFD %d", fcntl(fds[0], F_SETFD, FD_CLOEXEC), fcntl(fds[0], F_GETFD));
  say("F_DUPFD %d, F_DUPFD_CLOEXEC %d", fcntl(fds[0], F_DUPFD, 77),
      fcntl(fds[0], F_DUPFD_CLOEXEC, 77));
  const int sealed = MUST(memfd_create("sealed", MFD_ALLOW_SEALING));
  say("F_ADD_SEALS %d, F_GET_SEALS %d", fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW),
      fcntl(sealed, F_GET_SEALS));
  uint64_t hint = 3;
  say("F_SET_RW_HINT %d", fcntl(file, 1036, &hint));
  hint = 0;
  say("F_GET_RW_HINT %d: %d", fcntl(file, 1035, &hint), (int)hint);
  say("F_SETLEASE %d, F_GETLEASE %d", fcntl(file, F_SETLEASE, F_UNLCK), fcntl(file, F_GETLEASE));
  say("fcntl64 %d", fcntl64(file, F_DUPFD, 90));
}

static void ioctls(void) {
  int fds[2];
  MUST(pipe(fds));
  if (write(fds[1], "12345", 5) != 5) give_up("write");
  int count = -1;
  say("FIONREAD %d: %d", ioctl(fds[0], FIONREAD, &count), count);
  int on = 1;
  say("FIONBIO %d: %x", ioctl(fds[0], FIONBIO, &on), fcntl(fds[0], F_GETFL));
  on = 0;
  say("FIONBIO %d: %x", ioctl(fds[0], FIONBIO, &on), fcntl(fds[0], F_GETFL));
  say("FIOCLEX %d: %d", ioctl(fds[0], FIOCLEX), fcntl(fds[0], F_GETFD));
  say("FIONCLEX %d: %d", ioctl(fds[0], FIONCLEX), fcntl(fds[0], F_GETFD));
  int controller, terminal;
  char name[64] = "";
  struct winsize size = {.ws_row = 11, .ws_col = 22};
  struct termios settings;
  memset(&settings, 0, sizeof settings);
  cfmakeraw(&settings);
  say("openpty %d", openpty(&controller, &terminal, name, &settings, &size));
  memset(&size, 0, sizeof size);
  say("TIOCGWINSZ %d: %d %d, named %d", ioctl(terminal, TIOCGWINSZ, &size), size.ws_row,
      size.ws_col, strncmp(name, "/dev/pts/", 9) == 0);
  const int peer = ioctl(controller, TIOCGPTPEER, O_RDWR | O_NOCTTY);
  say("TIOCGPTPEER %d, tty %d", peer, isatty(peer));
  int own = -1;
  const pid_t child = forkpty(&own, NULL, NULL, &size);
  if (child == 0) {
    struct winsize there;
    _exit(ioctl(0, TIOCGWINSZ, &there) == 0 && there.ws_row == 11 && isatty(0) && isatty(1) &&
                  isatty(2)
              ? 33
              : 34);
  }
  say("forkpty %d", own);
  say_end("forkpty", child);
}

static void others(void) {
  say("PR_SET_NAME %d", prctl(PR_SET_NAME, "other name", 0, 0, 0));
  char name[17] = "";
  say("PR_GET_NAME %d: %s", prctl(PR_GET_NAME, name, 0, 0, 0), name);
  int number = -1;
  say("PR_SET_PDEATHSIG %d", prctl(PR_SET_PDEATHSIG, SIGUSR2));
  say("PR_GET_PDEATHSIG %d: %d", prctl(PR_GET_PDEATHSIG, &number), number);
  say("PR_SET_TIMERSLACK %d, PR_GET_TIMERSLACK %d", prctl(PR_SET_TIMERSLACK, 12345),
      prctl(PR_GET_TIMERSLACK));
  const int file = MUST(open("two-pages", O_RDWR | O_CREAT, 0600));
  MUST(ftruncate(file, 8192));
  if (pwrite(file, "second", 6, 4096) != 6) give_up("pwrite");
  const char* page = (const char*)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_SHARED, file, 4096);
  say("SYS_mmap: %s", page);
  say("SYS_splice errno %ld", syscall(SYS_splice, file, NULL, file, NULL, 1, 0));
  int fds[2];
  say("SYS_socketpair %ld", syscall(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET, 0, fds));
  say("SYS_sendto %ld", syscall(SYS_sendto, fds[0], "packet", 6, 0, NULL, 0));
  char text[16] = "";
  socklen_t none = 0;
  say("SYS_recvfrom %ld %s", syscall(SYS_recvfrom, fds[1], text, 15, 0, NULL, &none), text);
  struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 0x0123456789abcdefull};
  const int epoll = (int)syscall(SYS_epoll_create1, O_CLOEXEC);
  say("SYS_epoll_create1: %d", fcntl(epoll, F_GETFD));
  say("SYS_epoll_ctl %ld", syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fds[0], &event));
  memset(&event, 0, sizeof event);
  sigset_t mask;
  sigemptyset(&mask);
  say("SYS_epoll_pwait %ld: %llx", syscall(SYS_epoll_pwait, epoll, &event, 1, 100, &mask, 8),
      (unsigned long long)event.data.u64);
  memset(&event, 0, sizeof event);
  say("SYS_epoll_pwait2 %ld: %llx",
      syscall(SYS_epoll_pwait2, epoll, &event, 1, &(struct timespec){1, 0}, &mask, 8),
      (unsigned long long)event.data.u64);
  struct timespec time = {0, 1000000};
  struct pollfd idle = {.fd = fds[0], .events = POLLIN};
  say("SYS_ppoll %ld", syscall(SYS_ppoll, &idle, 1, &time, &mask, 8));
  const struct {
    const sigset_t* mask;
    size_t size;
  } packed = {&mask, 8};
  time.tv_nsec = 1000000;
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fds[0], &set);
  say("SYS_pselect6 %ld, set %d",
      syscall(SYS_pselect6, fds[0] + 1, &set, NULL, NULL, &time, &packed),
      FD_ISSET(fds[0], &set) != 0);
  say("inotify_add_watch %d", inotify_add_watch(inotify_init(), ".", IN_CREATE));
  say("getdents %d", syscall(SYS_getdents64, 0, text, 1) == -1);
}

/// Descriptors in a message, one that was closed at once, and credentials beside them.
static void messages(void) {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  const int sent[3] = {0, 1, pair[0]};
  char byte = 'm';
  struct iovec part = {&byte, 1};
  char control[CMSG_SPACE(sizeof sent)] __attribute__((aligned(8))) = {0};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof sent);
  memcpy(CMSG_DATA(head), sent, sizeof sent);
  say("sendmsg %d", (int)sendmsg(pair[0], &message, 0));
  memset(control, 0, sizeof control);
  say("recvmsg %d", (int)recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
  int received[3];
  memcpy(received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof received);
  for (int i = 0; i < 3; ++i)
    say("received %d, flags %d, close %d", received[i], fcntl(received[i], F_GETFD),
        close(received[i]));
}

static int all(int argc, char** argv) {
  (void)argc, (void)argv;
  opens();
  fcntls();
  ioctls();
  others();
  messages();
  return 0;
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"all", all}, {NULL, NULL}};
  return run_case(cases, argc, argv);
}
