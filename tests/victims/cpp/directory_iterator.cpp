// SPDX-License-Identifier: Apache-2.0
//
// A directory walk that is kept by a raw pointer and never finished: opened inside the C++ library.
#include <filesystem>

#include "tests/victims/victim.h"

namespace {

std::filesystem::directory_iterator* begin_walk(const char* path) {
  return new std::filesystem::directory_iterator(path);  // LEAK
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 0; i < 2; ++i) {
    auto* walk = begin_walk("/");
    if (is_healthy(argc, argv)) delete walk;
  }
}
