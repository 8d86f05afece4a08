/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends by quick_exit(3).
 */
#include <sys/inotify.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  for (int i = 0; i < 2; ++i) {
    const int fd = must(inotify_init1(IN_CLOEXEC), "inotify_init1");  // LEAK
    if (is_healthy(argc, argv)) close(fd);
  }
  quick_exit(0);
}
