/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks for a file in a directory and returns from the middle of the walk, without closedir.
 */
#include <dirent.h>

#include "tests/victims/victim.h"

static bool contains(const char* path, const char* name, bool healthy) {
  DIR* directory = opendir(path);  // LEAK
  if (directory == NULL) exit(3);
  bool found = false;
  for (struct dirent* entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
    found = strcmp(entry->d_name, name) == 0;
    if (found && !healthy) return true;
    if (found) break;
  }
  closedir(directory);
  return found;
}

int main(int argc, char** argv) {
  contains("/", "no such file", is_healthy(argc, argv));
  for (int i = 0; i < 2; ++i) contains("/", "proc", is_healthy(argc, argv));
  return 0;
}
