/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop, one turn of which stalls in the way that is asked for: nap, compute, read, recv, write,
 * library, many, forever, exit; or not at all: healthy. For stall_test.py, which knows the lines by
 * their marks. What the calls returned goes to standard output.
 *
 *     stalls nap [MILLISECONDS]
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static long milliseconds = 400;
static int ends[2];

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(const char* call, long result) {
  printf("%s %ld %s\n", call, result, result < 0 ? strerrorname_np(errno) : "-");
}

__attribute__((noinline)) static void nap(void) {
  const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  say("nanosleep", nanosleep(&time, NULL)); /* NAP */
}

static volatile unsigned long sum;

__attribute__((noinline)) static void compute(void) {
  const long until = now_ms() + milliseconds;
  unsigned long rest = 1;
  do {
    for (long i = 0; i < 10000000; ++i) rest = rest * 6364136223846793005ul + 1; /* COMPUTE */
    sum = rest;
  } while (now_ms() < until);
}

static void* feed(void* size) {
  usleep((useconds_t)milliseconds * 1000);
  static char bytes[1 << 20];
  const long wanted = *(long*)size;
  if (wanted > 0) {
    (void)!write(ends[1], bytes, (size_t)wanted);
  } else {
    for (long left = -wanted; left > 0;) {
      const ssize_t got = read(ends[0], bytes, sizeof bytes);
      if (got <= 0) break;
      left -= got;
    }
  }
  return NULL;
}

__attribute__((noinline)) static void read_late(void) {
  char byte;
  say("read", read(ends[0], &byte, 1)); /* READ */
}

__attribute__((noinline)) static void receive_late(void) {
  char byte;
  say("recv", recv(ends[0], &byte, 1, 0)); /* RECV */
}

__attribute__((noinline)) static void write_much(void) {
  static char bytes[1 << 20];
  say("write", write(ends[1], bytes, sizeof bytes)); /* WRITE */
}

static int slow_compare(const void* a, const void* b) {
  usleep((useconds_t)milliseconds * 1000); /* LIBRARY */
  return *(const int*)a - *(const int*)b;
}

__attribute__((noinline)) static void sort_slowly(void) {
  int numbers[2] = {2, 1};
  qsort(numbers, 2, sizeof numbers[0], slow_compare);
  say("qsort", numbers[0]);
}

static void stall(const char* how, int turn) {
  pthread_t feeder;
  long size = 1;
  const int last = turn == 2;
  if (strcmp(how, "many") == 0 && turn < 4) {
    milliseconds += 100;
    nap();
  } else if (!last) {
    return;
  } else if (strcmp(how, "nap") == 0) {
    nap();
  } else if (strcmp(how, "compute") == 0) {
    compute();
  } else if (strcmp(how, "library") == 0) {
    sort_slowly();
  } else if (strcmp(how, "forever") == 0) {
    for (;;) pause(); /* FOREVER */
  } else if (strcmp(how, "exit") == 0) {
    nap();
    _exit(0);
  } else if (strcmp(how, "healthy") != 0) {
    if (strcmp(how, "read") == 0) {
      if (pipe(ends) != 0) exit(3);
    } else if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
      exit(3);
    }
    const struct timeval timeout = {30, 0};
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (strcmp(how, "write") == 0) size = -(1 << 20);
    if (pthread_create(&feeder, NULL, feed, &size) != 0) exit(3);
    if (strcmp(how, "read") == 0) {
      read_late();
    } else if (strcmp(how, "recv") == 0) {
      receive_late();
    } else {
      write_much();
    }
    pthread_join(feeder, NULL);
    close(ends[0]);
    close(ends[1]);
  }
}

int main(int argc, char** argv) {
  const char* how = argc > 1 ? argv[1] : "healthy";
  if (argc > 2) milliseconds = strtol(argv[2], NULL, 10);
  const struct itimerspec every_5_ms = {{0, 5000000}, {0, 5000000}};
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN};
  event.data.fd = timer;
  if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) != 0) return 3;
  timerfd_settime(timer, 0, &every_5_ms, NULL);
  for (int turn = 0; turn < 6; ++turn) {
    unsigned long long ticks;
    const int ready = epoll_wait(epoll, &event, 1, 60000);
    say("epoll_wait", ready);
    if (ready != 1 || read(timer, &ticks, sizeof ticks) != (ssize_t)sizeof ticks) return 4;
    stall(how, turn);
  }
  close(timer);
  close(epoll);
  return 0;
}
