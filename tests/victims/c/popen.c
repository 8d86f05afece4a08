/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the answer of a command and forgets pclose.
 */
#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  for (int i = 0; i < 2; ++i) {
    char answer[16];
    FILE* command = popen("echo yes", "r");  // LEAK
    if (command == NULL || fgets(answer, sizeof answer, command) == NULL) return 3;
    if (is_healthy(argc, argv)) pclose(command);
  }
  return 0;
}
