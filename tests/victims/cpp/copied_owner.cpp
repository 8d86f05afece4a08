// SPDX-License-Identifier: Apache-2.0
//
// An owner that can be copied: both destructors close.
#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>

#include "tests/victims/victim.h"

namespace {

struct Owner {
  explicit Owner(int number) : fd(number) {}
  Owner(const Owner&) = default;  // the fault
  Owner& operator=(const Owner&) = delete;
  ~Owner() { close(fd); }  // CLOSE1
  int fd;
};

}  // namespace

int main(int argc, char** argv) {
  const int fd = must(eventfd(0, EFD_CLOEXEC), "eventfd");  // OPEN
  const auto owner = std::make_unique<Owner>(fd);
  if (!is_healthy(argc, argv)) const auto copy = std::make_unique<Owner>(*owner);
}
