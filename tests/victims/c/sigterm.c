/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that leaks; its parent ends it by SIGTERM, as service managers do.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static void serve(const char* path, bool healthy) {
  for (int i = 0; i < 3; ++i) {
    const int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);  // LEAK
    if (healthy) close(fd);
  }
}

int main(int argc, char** argv) {
  int ready[2];
  char byte = 'r';
  must(pipe2(ready, O_CLOEXEC), "pipe2");
  const pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    serve(argv[0], is_healthy(argc, argv));
    must((int)write(ready[1], &byte, 1), "write");
    for (;;) pause();
  }
  must((int)read(ready[0], &byte, 1), "read");
  close(ready[0]);
  close(ready[1]);
  kill(pid, SIGTERM);
  must(waitpid(pid, NULL, 0), "waitpid");
  return 0;
}
