/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that opens a file for each request and never closes one. It runs until it is killed, by
 * its parent, so that it never comes to an end of its own. Both twins keep their epoll set and
 * their timer, as servers do.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/victim.h"

enum { kRequests = 150 };

static void serve(const char* path, bool healthy) {
  char magic[4];
  const int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);  // LEAK
  must((int)read(fd, magic, sizeof magic), "read");
  if (healthy) close(fd);
}

/* Every 5 ms a request; then a byte to `done`, and nothing more. */
static void run(const char* path, int done, bool healthy) {
  const struct itimerspec every_5_ms = {{0, 5000000}, {0, 5000000}};
  const int epoll = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int requests = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");
  struct epoll_event event = {.events = EPOLLIN};
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, requests, &event), "epoll_ctl");
  timerfd_settime(requests, 0, &every_5_ms, NULL);
  for (int served = 0;; ++served) {
    unsigned long long ticks;
    must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
    must((int)read(requests, &ticks, sizeof ticks), "read");
    if (served < kRequests) serve(path, healthy);
    if (served == kRequests) must((int)write(done, "d", 1), "write");
  }
}

int main(int argc, char** argv) {
  int done[2];
  char byte;
  must(pipe2(done, O_CLOEXEC), "pipe2");
  const pid_t pid = must(fork(), "fork");
  if (pid == 0) run(argv[0], done[1], is_healthy(argc, argv));
  must((int)read(done[0], &byte, 1), "read");
  close(done[0]);
  close(done[1]);
  kill(pid, SIGTERM);
  must(waitpid(pid, NULL, 0), "waitpid");
  return 0;
}
