/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends by _exit(2): no atexit handler, no destructor runs.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) {
    const int fd = must(eventfd(0, EFD_CLOEXEC), "eventfd");  // LEAK
    if (is_healthy(argc, argv)) close(fd);
  }
  _exit(0);
}
