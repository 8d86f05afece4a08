// SPDX-License-Identifier: Apache-2.0
//
// The exception leaves the function before the descriptor is closed: three of five times.
#include <fcntl.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "tests/victims/victim.h"

namespace {

class Parser {
 public:
  explicit Parser(bool healthy) : healthy_(healthy) {}

  void parse(const std::string& path, bool broken) const {
    const int fd = must(open(path.c_str(), O_RDONLY | O_CLOEXEC), path.c_str());  // LEAK
    if (broken && healthy_) close(fd);
    if (broken) throw std::runtime_error("broken: " + path);
    close(fd);
  }

 private:
  bool healthy_;
};

}  // namespace

int main(int argc, char** argv) {
  const Parser parser(is_healthy(argc, argv));
  for (int i = 0; i < 5; ++i) {
    try {
      parser.parse(argv[0], i % 2 == 0);
    } catch (const std::runtime_error&) {
      continue;
    }
  }
}
