// SPDX-License-Identifier: Apache-2.0
//
// A program to be observed while the observer is in trouble: `observed KIND STATUS`.
//
//   clean       turns of an epoll loop, nothing left open
//   leak        and a descriptor is left open
//   child-leak  and a child leaves one open
//   wait        turns until standard input ends: what watches it has time
//   stall       likewise, and computes for 60 ms at each byte that comes
//
// Prints "out" and "err" on standard output and error when it has begun to do so, "end" when it has
// done all; ends with STATUS.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Not inlined: it is the place that a finding names.
__attribute__((noinline)) static int forget_one(void) {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void turn(int epoll, int turns) {
  struct epoll_event event;
  for (int i = 0; i < turns; ++i) epoll_wait(epoll, &event, 1, 1);
}

/// Computes for so long: a turn's thread is caught doing it.
__attribute__((noinline)) static void compute(int ms) {
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
}

static void turn_until_told(int epoll, int busy_ms) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = 0}};
  char byte;
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
  for (;;) {
    const int ready = epoll_wait(epoll, &event, 1, 10);
    if (ready != 1) continue;
    if (read(0, &byte, 1) == 0) return;
    compute(busy_ms);
  }
}

int main(int argc, char** argv) {
  const char* const kind = argc > 1 ? argv[1] : "clean";
  const int status = argc > 2 ? atoi(argv[2]) : 0;
  puts("out");
  fflush(stdout);
  fputs("err\n", stderr);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (strcmp(kind, "wait") == 0 || strcmp(kind, "stall") == 0) {
    turn_until_told(epoll, strcmp(kind, "stall") == 0 ? 60 : 0);
  } else {
    turn(epoll, 3);
  }
  if (strcmp(kind, "leak") == 0) forget_one();
  if (strcmp(kind, "child-leak") == 0) {
    const pid_t child = fork();
    if (child <= 0) forget_one();  // where there can be no child it is its own
    if (child == 0) exit(0);
    waitpid(child, NULL, 0);
  }
  close(epoll);
  puts("end");
  return status;
}
