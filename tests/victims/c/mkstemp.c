/* SPDX-License-Identifier: Apache-2.0
 *
 * Temporary files that are unlinked and never closed: their blocks stay in use.
 */
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) {
    char path[] = "/tmp/loopscope-victim-XXXXXX";
    const int fd = must(mkstemp(path), path);  // LEAK
    unlink(path);
    if (is_healthy(argc, argv)) close(fd);
  }
  return 0;
}
