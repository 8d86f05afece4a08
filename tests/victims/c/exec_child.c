/* SPDX-License-Identifier: Apache-2.0
 *
 * The program that a child becomes leaks: exec_child [healthy] runs itself as
 * exec_child child [healthy].
 */
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static int child(bool healthy) {
  for (int i = 0; i < 2; ++i) {
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");  // LEAK
    close(pair[0]);
    if (healthy) close(pair[1]);
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "child") == 0) return child(is_healthy(argc, argv));
  const pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    execl(argv[0], argv[0], "child", is_healthy(argc, argv) ? "healthy" : NULL, (char*)NULL);
    _exit(3);
  }
  int status = 0;
  must(waitpid(pid, &status, 0), "waitpid");
  return WEXITSTATUS(status);
}
