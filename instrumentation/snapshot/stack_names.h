// SPDX-License-Identifier: Apache-2.0
//
// Stacks of open sites, and where their names come from. The symboliser (libdw) belongs to the
// command: without one, frames are module and offset.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "instrumentation/recording/snapshot.h"
#include "instrumentation/recording/stack_frame.h"

namespace loopscope::snapshot {

using recording::StackFrame;

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
