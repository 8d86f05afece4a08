// SPDX-License-Identifier: Apache-2.0
//
// Streams made by new and never deleted: the call that opens is inside the C++ library.
#include <fstream>
#include <string>

#include "tests/victims/victim.h"

namespace {

char first_of(const char* path, bool healthy) {
  auto* stream = new std::ifstream(path);  // LEAK
  if (!*stream) exit(3);
  const char first = static_cast<char>(stream->get());
  if (healthy) delete stream;
  return first;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) first_of(argv[0], is_healthy(argc, argv));
}
