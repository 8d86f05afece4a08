// SPDX-License-Identifier: Apache-2.0
//
// A program that does nothing but open and close: the dearest there is for whoever keeps a ledger
// of descriptors and the stack of each. The calls come from four places, 2 to 8 levels deep.
//
//   open_close_program [PAIRS [CPU]]
//
// Prints {"pair_ns": N}, by the clock over all of main.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

__attribute__((noinline)) static int open_one(void) {
  const int fd = open("/dev/null", O_RDONLY);
  if (fd < 0) exit(3);
  return fd;
}

__attribute__((noinline)) static int open_and_close(int levels) {
  if (levels > 1) {
    const int returned = open_and_close(levels - 1);
    __asm__ volatile("" ::: "memory");  // something to do after the call, or it becomes a loop
    return returned + 1;
  }
  return close(open_one());
}

int main(int argc, char** argv) {
  const double began = now_ns();
  const int pairs = argc > 1 ? atoi(argv[1]) : 200000;
  if (argc > 2) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(argv[2]), &cpus);
    sched_setaffinity(0, sizeof cpus, &cpus);
  }
  long levels = 0;
  for (int i = 0; i < pairs / 4; ++i) {
    levels += open_and_close(2);
    levels += open_and_close(4);
    levels += open_and_close(6);
    levels += open_and_close(8);
  }
  if (levels != (pairs / 4) * (1L + 3 + 5 + 7)) return 3;  // a close failed
  printf("{\"pair_ns\": %.1f}\n", (now_ns() - began) / pairs);
  return 0;
}
