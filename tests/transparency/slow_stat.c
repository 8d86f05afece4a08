// SPDX-License-Identifier: Apache-2.0
//
// A preload whose stat(2) takes 20 ms: the probe counts what a process has inherited by it, so
// that what happens meanwhile does happen.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

int stat(const char* path, struct stat* status) {
  const struct timespec long_time = {0, 20000000};
  nanosleep(&long_time, NULL);
  return fstatat(AT_FDCWD, path, status, 0);
}
