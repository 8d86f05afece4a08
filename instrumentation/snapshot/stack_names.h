// SPDX-License-Identifier: Apache-2.0
//
// Stacks of open sites, and where their names come from. The symboliser (libdw) belongs to the
// command: without one, frames are module and offset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "instrumentation/recording/snapshot.h"

namespace loopscope::snapshot {

/// One call. Strings are empty, and `line` is 0, where it is not known.
struct StackFrame {
  std::string function;
  std::string file;
  int line = 0;
  std::string module;        // path; empty: the code is in no file
  std::uint64_t offset = 0;  // in the module's own address space; without a module, the address
  bool inlined = false;      // into the next frame
};

/// Called by one thread at a time of each Collector.
class StackNames {
 public:
  virtual ~StackNames() = default;
  /// What the return address `frame` lies in, innermost inlined function first; never empty.
  /// `module` is null if it is in no file.
  virtual std::vector<StackFrame> frames(const recording::SiteFrame& frame,
                                         const recording::ModuleRecord* module) = 0;
};

/// Without a symboliser.
StackFrame unnamed_frame(const recording::SiteFrame& frame, const recording::ModuleRecord* module);

}  // namespace loopscope::snapshot
