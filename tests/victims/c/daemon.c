/* SPDX-License-Identifier: Apache-2.0
 *
 * Becomes a daemon by two forks. The first process ends at once; the daemon leaks and ends a moment
 * later.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static void serve(bool healthy) {
  usleep(100000);  // its ancestors have ended
  for (int i = 0; i < 3; ++i) {
    const int fd = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd");  // LEAK
    if (healthy) close(fd);
  }
}

int main(int argc, char** argv) {
  const pid_t pid = must(fork(), "fork");
  if (pid > 0) {
    must(waitpid(pid, NULL, 0), "waitpid");
    return 0;
  }
  must(setsid(), "setsid");
  if (must(fork(), "fork") > 0) _exit(0);
  const int nowhere = must(open("/dev/null", O_RDWR), "/dev/null");
  for (int i = 0; i < 3; ++i) dup2(nowhere, i);
  close(nowhere);
  serve(is_healthy(argc, argv));
  return 0;
}
