/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed on the error path, then once more where all paths meet.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static int load(const char* path, bool healthy) {
  char magic[4];
  int result = 0;
  const int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);  // OPEN
  if (read(fd, magic, sizeof magic) != 4 || magic[0] == 0x7f) {
    result = -1;
    if (!healthy) close(fd);  // CLOSE1
  }
  close(fd);  // CLOSE2
  return result;
}

int main(int argc, char** argv) {
  load(argv[0], is_healthy(argc, argv));
  return 0;
}
