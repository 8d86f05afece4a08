// SPDX-License-Identifier: Apache-2.0
//
// A call of a stack, named for people. Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace loopscope::recording {

/// One call. Strings are empty, and `line` is 0, where it is not known.
struct StackFrame {
  std::string function;
  std::string file;
  int line = 0;
  std::string module;        // path; empty: the code is in no file
  std::uint64_t offset = 0;  // in the module's own address space; without a module, the address
  bool inlined = false;      // into the next frame
  bool script = false;       // a line of a script; its interpreter's frames follow
};

/// Innermost first. Shared because the same stack is shown in several places; null: none is known.
using Stack = std::shared_ptr<const std::vector<StackFrame>>;

}  // namespace loopscope::recording
