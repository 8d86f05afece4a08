// SPDX-License-Identifier: Apache-2.0
//
// A fixed number of turns of the smallest loop there is, for tools that observe whole processes:
// write a byte to a pipe, wait for it with epoll_wait, read it. Times its turns itself, so that a
// tool's start is left out.
//
//   pipe_turns TURNS CPU
//
// Prints {"turn_ns": N}. Built twice: pipe_turns_lttng (LOOPSCOPE_BENCH_LTTNG) has an LTTng-UST
// tracepoint on both sides of its wait, as somebody would add them by hand.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#ifdef LOOPSCOPE_BENCH_LTTNG
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "pipe_turns_tracepoints.h"
#define TRACE(event, value) lttng_ust_tracepoint(loopscope_bench, event, value)
#else
#define TRACE(event, value) ((void)(value))
#endif

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

static int turns(int epoll_fd, const int* ends, long count) {
  char byte = 0;
  struct epoll_event events[16];
  for (long i = 0; i < count; ++i) {
    if (write(ends[1], &byte, 1) != 1) return -1;
    TRACE(wait_begins, -1);
    const int ready = epoll_wait(epoll_fd, events, 16, -1);
    TRACE(wait_ends, ready);
    if (ready != 1 || read(ends[0], &byte, 1) != 1) return -1;
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 3 || atol(argv[1]) <= 0) {
    fprintf(stderr, "usage: %s TURNS CPU\n", argv[0]);
    return 2;
  }
  const long count = atol(argv[1]);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET((size_t)atoi(argv[2]), &cpus);
  int ends[2];
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event wanted = {.events = EPOLLIN};
  if (sched_setaffinity(0, sizeof cpus, &cpus) != 0 || pipe2(ends, O_CLOEXEC) != 0 ||
      epoll_ctl(epoll_fd, EPOLL_CTL_ADD, ends[0], &wanted) != 0 ||
      turns(epoll_fd, ends, count / 10) != 0) {
    perror("pipe_turns");
    return 3;
  }
  const double began = now_ns();
  if (turns(epoll_fd, ends, count) != 0) {
    perror("pipe_turns");
    return 3;
  }
  printf("{\"turn_ns\": %.1f}\n", (now_ns() - began) / (double)count);
  return 0;
}
