/* SPDX-License-Identifier: Apache-2.0
 *
 * kinds KIND [healthy]: opens three descriptors of one kind (or three pairs) in a function that
 * loses them. Every kind that can be opened without privileges.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/victims/victim.h"

/* Each gives how many it opened: 1 or 2. */
static int file(int* fds) {
  fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);  // LEAK file
  return 1;
}

static int directory(int* fds) {
  fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // LEAK directory
  return 1;
}

static int device(int* fds) {
  fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);  // LEAK device
  return 1;
}

static int terminal(int* fds) {
  fds[0] = posix_openpt(O_RDWR | O_NOCTTY);  // LEAK terminal
  return 1;
}

static int terminal_pair(int* fds) {
  must(openpty(&fds[0], &fds[1], NULL, NULL, NULL), "openpty");  // LEAK terminal-pair
  return 2;
}

static struct sockaddr_in any_port(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static struct sockaddr_in listen_on(int fd) {
  struct sockaddr_in address = any_port();
  socklen_t size = sizeof address;
  must(bind(fd, (struct sockaddr*)&address, size), "bind");
  must(listen(fd, 8), "listen");
  must(getsockname(fd, (struct sockaddr*)&address, &size), "getsockname");
  return address;
}

static int tcp_listening(int* fds) {
  fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // LEAK tcp-listening
  listen_on(fds[0]);
  return 1;
}

static int tcp_connected(int* fds) {
  const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  const struct sockaddr_in address = listen_on(listener);
  fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // LEAK tcp-connected
  must(connect(fds[0], (const struct sockaddr*)&address, sizeof address), "connect");
  close(must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4"));
  close(listener);
  return 1;
}

static int tcp_accepted(int* fds) {
  const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  const struct sockaddr_in address = listen_on(listener);
  const int client = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  must(connect(client, (const struct sockaddr*)&address, sizeof address), "connect");
  fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);  // LEAK tcp-accepted
  close(client);
  close(listener);
  return 1;
}

static int udp(int* fds) {
  const struct sockaddr_in address = any_port();
  fds[0] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);  // LEAK udp
  must(bind(fds[0], (const struct sockaddr*)&address, sizeof address), "bind");
  return 1;
}

static int unix_socket(int* fds) {
  fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);  // LEAK unix
  return 1;
}

static int unix_pair(int* fds) {
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "socketpair");  // LEAK socketpair
  return 2;
}

static int netlink(int* fds) {
  fds[0] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);  // LEAK netlink
  return 1;
}

static int pipe_end(int* fds) {
  int ends[2];
  must(pipe2(ends, O_CLOEXEC), "pipe2");  // LEAK pipe-end
  close(ends[1]);
  fds[0] = ends[0];
  return 1;
}

static int pipe_both(int* fds) {
  must(pipe(fds), "pipe");  // LEAK pipe
  return 2;
}

static int event(int* fds) {
  fds[0] = eventfd(0, EFD_CLOEXEC);  // LEAK eventfd
  return 1;
}

static int timer(int* fds) {
  fds[0] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);  // LEAK timerfd
  return 1;
}

static int signals(int* fds) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  fds[0] = signalfd(-1, &set, SFD_CLOEXEC);  // LEAK signalfd
  return 1;
}

static int epoll(int* fds) {
  fds[0] = epoll_create1(EPOLL_CLOEXEC);  // LEAK epoll
  return 1;
}

static int inotify(int* fds) {
  fds[0] = inotify_init1(IN_CLOEXEC);  // LEAK inotify
  return 1;
}

static int fanotify(int* fds) {
  const unsigned flags = FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_CLOEXEC;
  fds[0] = fanotify_init(flags, O_RDONLY);  // LEAK fanotify
  if (fds[0] < 0) exit(VICTIM_IMPOSSIBLE);
  return 1;
}

static int memory(int* fds) {
  fds[0] = memfd_create("victim", MFD_CLOEXEC);  // LEAK memfd
  return 1;
}

static int process(int* fds) {
  fds[0] = pidfd_open(getpid(), 0);  // LEAK pidfd
  return 1;
}

static int io_uring(int* fds) {
  char parameters[120] = {0};                                       // struct io_uring_params
  fds[0] = (int)syscall(SYS_io_uring_setup, 2, (void*)parameters);  // LEAK io_uring
  if (fds[0] < 0) exit(VICTIM_IMPOSSIBLE);
  return 1;
}

static const struct {
  const char* name;
  int (*open)(int* fds);
} kKinds[] = {
    {"file", file},
    {"directory", directory},
    {"device", device},
    {"terminal", terminal},
    {"terminal-pair", terminal_pair},
    {"tcp-listening", tcp_listening},
    {"udp", udp},
    {"tcp-connected", tcp_connected},
    {"tcp-accepted", tcp_accepted},
    {"unix", unix_socket},
    {"socketpair", unix_pair},
    {"netlink", netlink},
    {"pipe-end", pipe_end},
    {"pipe", pipe_both},
    {"eventfd", event},
    {"timerfd", timer},
    {"signalfd", signals},
    {"epoll", epoll},
    {"inotify", inotify},
    {"fanotify", fanotify},
    {"memfd", memory},
    {"pidfd", process},
    {"io_uring", io_uring},
};

int main(int argc, char** argv) {
  for (size_t i = 0; argc > 1 && i < sizeof kKinds / sizeof kKinds[0]; ++i) {
    if (strcmp(argv[1], kKinds[i].name) != 0) continue;
    for (int request = 0; request < 3; ++request) {
      int fds[2];
      const int count = kKinds[i].open(fds);
      must(fds[0], kKinds[i].name);
      for (int end = 0; end < count && is_healthy(argc, argv); ++end) close(fds[end]);
    }
    return 0;
  }
  fprintf(stderr, "usage: kinds KIND [healthy]\n");
  return 2;
}
