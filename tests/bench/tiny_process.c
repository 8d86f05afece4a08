// SPDX-License-Identifier: Apache-2.0
//
// A process that opens 20 descriptors and ends: what process_starts.cpp starts over and over.
#include <fcntl.h>

int main(void) {
  for (int i = 0; i < 20; ++i) {
    if (open("/dev/null", O_RDONLY) < 0) return 3;
  }
  return 0;
}
