// SPDX-License-Identifier: Apache-2.0
//
// Each worker thread opens its own wake-up descriptor and ends without closing it.
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "tests/victims/victim.h"

namespace {

void work(bool healthy) {
  const int wakeup = must(eventfd(0, EFD_CLOEXEC), "eventfd");  // LEAK
  if (healthy) close(wakeup);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::jthread> workers;
  for (int i = 0; i < 3; ++i) workers.emplace_back(work, is_healthy(argc, argv));
}
