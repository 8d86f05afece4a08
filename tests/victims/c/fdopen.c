/* SPDX-License-Identifier: Apache-2.0
 *
 * open(2), then fdopen(3): the stream is dropped without fclose.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) {
    const int fd = must(open(argv[0], O_RDONLY | O_CLOEXEC), argv[0]);  // LEAK
    FILE* file = fdopen(fd, "r");
    if (file == NULL || fgetc(file) == EOF) return 3;
    if (is_healthy(argc, argv)) fclose(file);
  }
  return 0;
}
