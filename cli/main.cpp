// SPDX-License-Identifier: Apache-2.0
//
// The loopscope command: does what the command line asks for.
#include <malloc.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <iostream>
#include <variant>

#include "cli/command_line.h"
#include "cli/launch.h"
#include "cli/observation.h"

namespace {

/// What was written to standard output is a success only if it got there.
int with_output(int status) {
  if (std::cout.flush()) return status;
  loopscope::cli::say(std::string("cannot write to standard output: ") + std::strerror(errno));
  return status == loopscope::cli::kOk ? loopscope::cli::kCouldNotRead : status;
}

/// A server for weeks must not grow: each of its threads would keep an arena as large as the
/// largest snapshot it ever made, and what is freed of those would be kept for the next. So: two
/// arenas for all, and what is large goes back to the kernel at once.
void keep_memory_level() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace loopscope::cli;
  keep_memory_level();
  try {
    fill_standard_descriptors();
    const Wanted wanted = read_command_line(argc, argv, std::cout, std::cerr);
    if (const int* status = std::get_if<int>(&wanted)) return with_output(*status);
    return with_output(std::get<Action>(wanted)());
  } catch (const std::exception& error) {
    say(what_of(error));
    return kCouldNotRead;
  }
}
