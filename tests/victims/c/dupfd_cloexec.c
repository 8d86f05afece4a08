/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot of a socket is taken by fcntl(F_DUPFD_CLOEXEC); the socket is closed, its snapshots
 * are not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  const int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  for (int i = 0; i < 2; ++i) {
    const int copy = must(fcntl(fd, F_DUPFD_CLOEXEC, 100), "F_DUPFD_CLOEXEC");  // LEAK
    if (is_healthy(argc, argv)) close(copy);
  }
  close(fd);
  return 0;
}
