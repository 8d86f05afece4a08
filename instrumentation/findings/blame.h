// SPDX-License-Identifier: Apache-2.0
//
// Whose code a stack is: which frame a reader should look at first, and whether that is the
// program's own.
//
// Everything is decided by names and paths, nothing is looked up on disk: the same stack gets the
// same answer on another machine and after the program was removed.
//
// Thread-safety: no state. Cost: some string comparisons a frame.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "instrumentation/recording/stack_frame.h"

namespace loopscope::findings {

/// kProgram: the executable itself, a library from anywhere but where the system keeps its own, or
/// a line of a script. kSystem: a file that the system brought (is_system_file()), a runtime's
/// standard library, or code of no file.
enum class Owner { kProgram, kSystem };

struct Blame {
  /// Index into the stack; none: the stack is empty.
  std::optional<std::size_t> frame;
  /// Of that frame. kSystem if no frame is the program's.
  Owner owner = Owner::kSystem;
};

/// `executable`: the path of the program's own file (its module path). The frame is the first there
/// is of, innermost first:
///
/// 1. a line of a script that is the program's, neither the standard library's nor a package's;
/// 2. code of the executable or of a library that is the program's. Passed over: functions that the
///    system's headers brought (std::ifstream::open, compiled into the program) and what starts a
///    program (_start). Of an interpreter (python3, ruby, node, perl, a shell, ...), frames without
///    a script line are the runtime's;
/// 3. a line of a package (site-packages, node_modules, gems) that no system path holds.
///
/// Without any of these it is the system's: its innermost script line, else the first frame beyond
/// libc and libstdc++, else the innermost.
Blame blame(const std::vector<recording::StackFrame>& stack, std::string_view executable);

/// Whether the system's packages brought a file: it lies below /usr, /lib*, /bin or /sbin, but not
/// below /usr/local or /usr/src (what was built here).
bool is_system_file(std::string_view path);

/// Whether a file is a library that stands between any program and the kernel (libc, libstdc++, the
/// sanitizers, loopscope itself) and opens nothing of its own accord.
bool is_base_library(std::string_view module);

/// Whether the frame alone tells that it is the program's: as in blame(), for a frame that is not
/// of the executable.
bool is_own_frame(const recording::StackFrame& frame);

/// "Client::connect" of "Client::connect(std::string const&) const": no parameters, no suffix of a
/// compiler's copy (".part.0", ".cold", " [clone ...]"). Template arguments stay.
std::string_view bare_function(std::string_view function);

/// What follows the last '/'.
std::string_view base_name(std::string_view path);

/// "Client::connect (client.cpp:42)", "connect in libfoo.so+0x1234", "line 3 of leak.py (main)".
std::string place_name(const recording::StackFrame& frame);

}  // namespace loopscope::findings
