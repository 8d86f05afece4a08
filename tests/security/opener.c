/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens the files it is given, says so, and waits for the end of its input. Built with a function
 * of a name that can be looked for in what a report says of it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) int opens_a_file_for_all_to_see(const char* path) {
  const int fd = open(path, O_RDONLY);
  __asm__ volatile("" ::: "memory"); /* no tail call */
  return fd;
}

int main(int count, char** files) {
  for (int i = 1; i < count; ++i) {
    if (opens_a_file_for_all_to_see(files[i]) < 0) return 1;
  }
  puts("opened");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}
