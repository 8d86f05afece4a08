/* SPDX-License-Identifier: Apache-2.0
 *
 * Goes on writing to a log that has been closed.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static int g_log = -1;

static void note(const char* text) {
  if (g_log >= 0 && write(g_log, text, strlen(text)) < 0 && errno != EBADF) exit(3);  // USE
}

int main(int argc, char** argv) {
  g_log = must(open("/dev/null", O_WRONLY | O_CLOEXEC), "/dev/null");  // OPEN
  note("start\n");
  close(g_log);  // CLOSE1
  if (is_healthy(argc, argv)) g_log = -1;
  note("end\n");
  return 0;
}
