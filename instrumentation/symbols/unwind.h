// SPDX-License-Identifier: Apache-2.0
//
// Unwinds a stack that was copied out of another process, with elfutils' libdwfl: call frame
// information from the files that the process has mapped, and frame pointers where there is none.
//
// libdwfl's finders, which map files and ask debuginfod, are not used: files are read, only regular
// ones, only below the paths that the kernel tells of the process.
//
// Thread-safety: free function without state. Cost: 1 ms for a small program, 5 to 20 ms for one
// with many libraries (its list of mappings, and the frame information of the modules on the
// stack).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "instrumentation/process/stack_copy.h"
#include "instrumentation/symbols/symbolizer.h"

namespace loopscope::symbols {

struct UnwoundFrame {
  std::uint64_t address = 0;  // in the process
  CodeAddress code;           // without module if it is in no file
};

struct UnwoundStack {
  std::vector<UnwoundFrame> frames;  // innermost first
  /// The outermost was reached. If not, those that are there still hold.
  bool complete = false;
  std::string why;  // it is not complete
};

/// The process must still have its code mapped as it was when `copy` was made. `as_user`: whose
/// rights the files it has mapped are opened with (AsUser).
UnwoundStack unwind(const process::StackCopy& copy,
                    std::optional<std::uint32_t> as_user = std::nullopt);

}  // namespace loopscope::symbols
