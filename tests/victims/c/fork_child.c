/* SPDX-License-Identifier: Apache-2.0
 *
 * Only the forked child leaks; the parent is in order.
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static int child(const char* path, bool healthy) {
  for (int i = 0; i < 3; ++i) {
    const int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);  // LEAK
    if (healthy) close(fd);
  }
  return 0;
}

int main(int argc, char** argv) {
  const int own = must(open(argv[0], O_RDONLY | O_CLOEXEC), argv[0]);
  const pid_t pid = must(fork(), "fork");
  if (pid == 0) return child(argv[0], is_healthy(argc, argv));
  int status = 0;
  must(waitpid(pid, &status, 0), "waitpid");
  close(own);
  return WEXITSTATUS(status);
}
