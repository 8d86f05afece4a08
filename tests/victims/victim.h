/* SPDX-License-Identifier: Apache-2.0
 *
 * What every victim in C and C++ needs: whether it is to be the healthy twin, and calls that must
 * succeed. Included by C and C++.
 */
#ifndef LOOPSCOPE_TESTS_VICTIMS_VICTIM_H
#define LOOPSCOPE_TESTS_VICTIMS_VICTIM_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Status of a victim whose fault this machine does not allow (no io_uring, no fanotify): skipped.
 */
#define VICTIM_IMPOSSIBLE 77

/* The twin without the fault: the last argument says so. */
static inline bool is_healthy(int argc, char** argv) {
  return argc > 1 && strcmp(argv[argc - 1], "healthy") == 0;
}

/* Ends with status 3 if a call failed that has nothing to do with the fault. */
static inline int must(int result, const char* what) {
  if (result < 0) {
    perror(what);
    exit(3);
  }
  return result;
}

#endif
