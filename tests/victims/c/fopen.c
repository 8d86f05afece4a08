/* SPDX-License-Identifier: Apache-2.0
 *
 * A reader of settings that returns early when it has found its line, without fclose.
 */
#include "tests/victims/victim.h"

static int setting(const char* path, bool healthy) {
  FILE* file = fopen(path, "re");  // LEAK
  if (file == NULL) exit(3);
  const int first = fgetc(file);
  if (first == 0x7f && !healthy) return first;  // found: the early return
  fclose(file);
  return first;
}

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) setting(argv[0], is_healthy(argc, argv));
  return 0;
}
