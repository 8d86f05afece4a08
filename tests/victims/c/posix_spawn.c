/* SPDX-License-Identifier: Apache-2.0
 *
 * Gives each spawned child a pipe to write to, and never closes the end it reads from.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static void run(char** environment, bool healthy) {
  char* arguments[] = {"echo", "yes", NULL};
  char answer[16];
  int ends[2];
  pid_t pid;
  posix_spawn_file_actions_t actions;
  must(pipe2(ends, O_CLOEXEC), "pipe2");  // LEAK
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  if (posix_spawn(&pid, "/bin/echo", &actions, NULL, arguments, environment) != 0) exit(3);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  must((int)read(ends[0], answer, sizeof answer), "read");
  must(waitpid(pid, NULL, 0), "waitpid");
  if (healthy) close(ends[0]);
}

int main(int argc, char** argv) {
  for (int i = 0; i < 2; ++i) run(environ, is_healthy(argc, argv));
  return 0;
}
