// SPDX-License-Identifier: Apache-2.0
//
// A process that opens 20 descriptors, closes them and ends: what process_starts.cpp starts over
// and over.
#include <fcntl.h>
#include <unistd.h>

enum { kDescriptors = 20 };

int main(void) {
  int opened[kDescriptors];
  for (int i = 0; i < kDescriptors; ++i) {
    opened[i] = open("/dev/null", O_RDONLY);
    if (opened[i] < 0) return 3;
  }
  for (int i = 0; i < kDescriptors; ++i) {
    if (close(opened[i]) != 0) return 3;
  }
  return 0;
}
