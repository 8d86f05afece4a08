/* SPDX-License-Identifier: Apache-2.0
 *
 * Spools each job to a tmpfile(3) and loses the stream.
 */
#include "tests/victims/victim.h"

static void spool(const char* job, bool healthy) {
  FILE* file = tmpfile();  // LEAK
  if (file == NULL) exit(3);
  fputs(job, file);
  if (healthy) fclose(file);
}

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) spool("job\n", is_healthy(argc, argv));
  return 0;
}
