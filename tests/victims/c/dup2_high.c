/* SPDX-License-Identifier: Apache-2.0
 *
 * Moves descriptors out of the way, to numbers from 600 on, and forgets them there. The twin closes
 * them by close_range(2).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

enum { kFirst = 600, kCount = 4 };

static void move_up(const char* path, int number) {
  const int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
  must(dup2(fd, number), "dup2");  // LEAK
  close(fd);
}

int main(int argc, char** argv) {
  for (int i = 0; i < kCount; ++i) move_up(argv[0], kFirst + i);
  if (is_healthy(argc, argv)) must(close_range(kFirst, kFirst + kCount - 1, 0), "close_range");
  return 0;
}
