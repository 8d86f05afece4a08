// SPDX-License-Identifier: Apache-2.0
//
// From what the processes left (check_tree.h) to what `loopscope check` says of them: the rules are
// run over each, equal findings of several processes become one, suppressions and the baseline are
// applied.
//
// Thread-safety: no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/baseline.h"
#include "cli/check_result.h"
#include "cli/check_tree.h"
#include "instrumentation/findings/end_rules.h"
#include "instrumentation/findings/suppressions.h"

namespace loopscope::cli {

struct CheckPolicy {
  findings::Budgets budgets;
  std::vector<std::string> own;      // patterns of files that are the program's own
  std::vector<std::string> ignored;  // patterns of commands that are not judged
  bool follow_forks = true;          // false: PROGRAM alone
  std::uint64_t min_count = 1;       // fewer descriptors than this do not fail the run
  bool strict = false;
  std::vector<findings::Suppression> suppressions;  // the user's first, then those that ship
  std::size_t shipped_from = 0;                     // index of the first that ships
  std::optional<Baseline> baseline;
};

/// Fills what `result` says of processes and findings. Who called: argv, pid, end, times, root are
/// there already.
void judge(CheckTree& tree, std::vector<TreeImage> images, const CheckPolicy& policy,
           CheckResult& result);

}  // namespace loopscope::cli
