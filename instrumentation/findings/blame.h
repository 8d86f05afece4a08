// SPDX-License-Identifier: Apache-2.0
//
// Whose code a stack is: which frame a reader should look at first, and whether that is the
// program's own.
//
// Thread-safety: no state. Cost: some string comparisons a frame.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "instrumentation/recording/stack_frame.h"

namespace loopscope::findings {

/// kProgram: the executable itself, a library that lies next to it or anywhere but where a system
/// keeps its own, or a line of a script.
/// kSystem: a library that the system brought (/lib, /usr/lib, /usr/local/lib, /nix, /opt/... are
/// decided by path), or code of no file.
enum class Owner { kProgram, kSystem };

struct Blame {
  /// Index into the stack; none: the stack is empty.
  std::optional<std::size_t> frame;
  /// Of that frame. kSystem if no frame is the program's.
  Owner owner = Owner::kSystem;
};

/// `executable`: the path of the program's own file (its module path). Of an interpreter that lies
/// where the system keeps programs, frames without a script line are the runtime's.
Blame blame(const std::vector<recording::StackFrame>& stack, std::string_view executable);

/// Whether the system brought a file: a library or program below /usr, /lib, /bin ... but not below
/// /usr/local/src, /home, /tmp, /opt.
bool is_system_file(std::string_view path);

/// "Client::connect (client.cpp:42)", "connect in libfoo.so+0x1234", "line 3 of leak.py (main)".
std::string place_name(const recording::StackFrame& frame);

}  // namespace loopscope::findings
