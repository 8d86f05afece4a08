// SPDX-License-Identifier: Apache-2.0
//
// The loopscope command: does what the command line asks for.
#include <exception>
#include <iostream>
#include <variant>

#include "cli/command_line.h"

int main(int argc, char** argv) {
  using namespace loopscope::cli;
  try {
    const Wanted wanted = read_command_line(argc, argv, std::cout, std::cerr);
    if (const int* status = std::get_if<int>(&wanted)) return *status;
    return std::get<Action>(wanted)();
  } catch (const std::exception& error) {
    std::cerr << "loopscope: " << error.what() << "\n";
    return kCouldNotRead;
  }
}
