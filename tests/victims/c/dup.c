/* SPDX-License-Identifier: Apache-2.0
 *
 * Every report goes to a duplicate of the log's descriptor, and nobody closes the duplicates.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static void report(int log, bool healthy) {
  const int copy = must(dup(log), "dup");  // LEAK
  must((int)write(copy, "report\n", 7), "write");
  if (healthy) close(copy);
}

int main(int argc, char** argv) {
  const int log = must(open("/dev/null", O_WRONLY | O_CLOEXEC), "/dev/null");
  for (int i = 0; i < 3; ++i) report(log, is_healthy(argc, argv));
  close(log);
  return 0;
}
