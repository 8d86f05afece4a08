/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens files without close-on-exec and becomes another program (itself, as exec_lost second),
 * which knows nothing of them. The twin opens them close-on-exec.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "second") == 0) return 0;
  const int flags = is_healthy(argc, argv) ? O_RDONLY | O_CLOEXEC : O_RDONLY;
  for (int i = 0; i < 3; ++i) must(open(argv[0], flags), argv[0]);  // LEAK
  execl(argv[0], argv[0], "second", (char*)NULL);
  return 3;
}
