/* SPDX-License-Identifier: Apache-2.0
 *
 * Closes the descriptor of a stream after fclose(3) has closed it.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  FILE* file = fopen(argv[0], "re");  // OPEN
  if (file == NULL) return 3;
  const int fd = fileno(file);
  fclose(file);                            // CLOSE1
  if (!is_healthy(argc, argv)) close(fd);  // CLOSE2
  return 0;
}
