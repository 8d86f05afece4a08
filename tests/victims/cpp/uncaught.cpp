// SPDX-License-Identifier: Apache-2.0
//
// An exception that nobody catches: std::terminate, SIGABRT, with three timers open. The twin
// closes them and asks for nothing that throws.
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <stdexcept>

#include "tests/victims/victim.h"

namespace {

int arm(int delay) {
  if (delay < 0) throw std::invalid_argument("delay");
  return must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");  // LEAK
}

}  // namespace

int main(int argc, char** argv) {
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  for (int delay = 2; delay >= -1; --delay) {
    if (delay < 0 && is_healthy(argc, argv)) break;
    const int fd = arm(delay);
    if (is_healthy(argc, argv)) close(fd);
  }
}
