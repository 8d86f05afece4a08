// SPDX-License-Identifier: Apache-2.0
//
// A move assignment that takes the other's descriptor and forgets its own.
#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "tests/victims/victim.h"

namespace {

class LogFile {
 public:
  LogFile() = default;
  LogFile(const char* path, bool healthy)
      : fd_(must(open(path, O_RDONLY | O_CLOEXEC), path)), healthy_(healthy) {}  // LEAK
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;
  LogFile& operator=(LogFile&& other) noexcept {
    if (other.healthy_ && fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  ~LogFile() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  int fd_ = -1;
  bool healthy_ = true;
};

}  // namespace

int main(int argc, char** argv) {
  LogFile current;
  for (int rotation = 0; rotation < 4; ++rotation)
    current = LogFile(argv[0], is_healthy(argc, argv));
}
