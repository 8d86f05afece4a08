// SPDX-License-Identifier: Apache-2.0
//
// A container of owners: taking one out by release() instead of reset() loses its descriptor, one
// of eight.
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "tests/victims/victim.h"

namespace {

class UniqueFd {
 public:
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() { reset(); }

  int release() { return std::exchange(fd_, -1); }
  void reset() {
    if (const int fd = release(); fd >= 0) close(fd);
  }

 private:
  int fd_;
};

UniqueFd wakeup() {
  return UniqueFd(must(eventfd(0, EFD_CLOEXEC), "eventfd"));  // LEAK
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<UniqueFd> all;
  for (int i = 0; i < 8; ++i) all.push_back(wakeup());
  if (is_healthy(argc, argv)) {
    all.back().reset();
  } else {
    all.back().release();
  }
  all.pop_back();
}
