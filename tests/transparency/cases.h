// SPDX-License-Identifier: Apache-2.0
//
// What the victims share. A victim is a program with named cases: `victim CASE [ARGUMENT...]`. It
// says on stdout all that it can notice (results, errno, descriptor numbers, signals, state), in an
// order that does not depend on timing: with and without the probe the same must come out.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct victim_case {
  const char* name;
  int (*run)(int argc, char** argv);
};

/// One write(2) a line: children and threads may speak too, and nothing is left in a buffer.
__attribute__((format(printf, 1, 2))) static inline void say(const char* format, ...) {
  const int saved = errno;
  char line[512];
  va_list list;
  va_start(list, format);
  int size = vsnprintf(line, sizeof line - 1, format, list);
  va_end(list);
  if (size > (int)sizeof line - 2) size = (int)sizeof line - 2;
  line[size++] = '\n';
  if (write(1, line, (size_t)size) != size) _exit(99);
  errno = saved;
}

/// Ends the victim where its own preparations fail: that is no result.
__attribute__((noreturn)) static inline void give_up(const char* what) {
  say("cannot go on: %s: errno %d", what, errno);
  _exit(98);
}
#define MUST(call)                         \
  __extension__({                          \
    __typeof__(call) must_ = (call);       \
    if ((long)must_ == -1) give_up(#call); \
    must_;                                 \
  })

/// How a child ended.
__attribute__((unused)) static inline void say_end(const char* who, pid_t child) {
  int status = 0;
  pid_t ended;
  do {
    ended = waitpid(child, &status, __WALL);
  } while (ended == -1 && errno == EINTR);
  if (ended != child) {
    say("%s: waitpid: errno %d", who, errno);
  } else if (WIFEXITED(status)) {
    say("%s: exit %d", who, WEXITSTATUS(status));
  } else {
    say("%s: signal %d", who, WTERMSIG(status));
  }
}

static inline int run_case(const struct victim_case* cases, int argc, char** argv) {
  for (; argc > 1 && cases->name != NULL; ++cases) {
    if (strcmp(cases->name, argv[1]) == 0) return cases->run(argc - 1, argv + 1);
  }
  fprintf(stderr, "no such case\n");
  return 97;
}
