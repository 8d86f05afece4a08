// SPDX-License-Identifier: Apache-2.0
//
// The places that opened descriptors, with how many of each are open and with their stacks.
//
// Thread-safety: one SiteBook by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "instrumentation/recording/snapshot.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/stack_names.h"

namespace loopscope::snapshot {

/// Innermost first; script lines before their interpreter's frames. `names` may be null.
std::vector<StackFrame> named_stack(const recording::Ledger& ledger,
                                    const recording::SiteRecord& site, StackNames* names);

/// How long naming may take, over all processes of one snapshot.
class NamingTime {
 public:
  explicit NamingTime(std::uint64_t most_ns);
  bool spent() const;

 private:
  std::uint64_t end_ns_;  // CLOCK_MONOTONIC
};

/// The sites of one recording. Each stack is named once and kept.
class SiteBook {
 public:
  /// Fills `process.sites` (at most kMostSites, most open ones first) and `sites_total` from the
  /// ledger of `process.recording`; `is_open` says of a descriptor in it whether it counts.
  /// `names` may be null. False if there was no time to name them all: those are named by a later
  /// call, and are modules and offsets until then.
  bool describe(ProcessSnapshot& process,
                const std::function<bool(const recording::FdRecord&)>& is_open, StackNames* names,
                const NamingTime& time);

  /// The stack of one site of `ledger`; as above.
  recording::Stack stack(const recording::Ledger& ledger, std::size_t site, StackNames* names,
                         const NamingTime& time);

 private:
  struct Stack {
    std::shared_ptr<const std::vector<StackFrame>> frames;
    bool named = false;
  };
  std::vector<Stack> stacks_;  // by site id
};

}  // namespace loopscope::snapshot
