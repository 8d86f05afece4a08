/* SPDX-License-Identifier: Apache-2.0
 *
 * Leaks, then ends by abort(3). The twin does neither.
 */
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  const struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (int i = 0; i < 3; ++i) {
    const int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");  // LEAK
    if (is_healthy(argc, argv)) close(fd);
  }
  if (!is_healthy(argc, argv)) abort();
  return 0;
}
