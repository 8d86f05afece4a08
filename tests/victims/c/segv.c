/* SPDX-License-Identifier: Apache-2.0
 *
 * Leaks, then writes where it must not. The twin does neither.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  const struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (int i = 0; i < 3; ++i) {
    const int fd = must(memfd_create("buffer", MFD_CLOEXEC), "memfd_create");  // LEAK
    if (is_healthy(argc, argv)) close(fd);
  }
  if (!is_healthy(argc, argv)) {
    volatile char* page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
  }
  return 0;
}
