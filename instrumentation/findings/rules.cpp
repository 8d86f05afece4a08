// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/rules.h"

#include <algorithm>

namespace loopscope::findings {
namespace {

constexpr Severity kInfoOnly[] = {Severity::kInfo};
constexpr Severity kWarningOnly[] = {Severity::kWarning};
constexpr Severity kErrorOnly[] = {Severity::kError};
constexpr Severity kWarningOrError[] = {Severity::kWarning, Severity::kError};

constexpr Rule kRules[] = {
    {"loop-stall", "a turn of the loop was busy for longer than the stall threshold",
     kWarningOrError, check_loop_stall},
    {"fork-without-loop-fork", "a forked child runs its parent's loop without ev_loop_fork()",
     kErrorOnly, check_fork_without_loop_fork},
    {"busy-spin", "the loop polls without waiting and gets nothing, over and over", kWarningOnly,
     check_busy_spin},
    {"fd-limit", "the process is close to its limit of open descriptors", kWarningOrError,
     check_fd_limit},
    {"fd-growth", "a place opens ever more descriptors, closes none and leaves them idle",
     kWarningOnly, check_fd_growth},
    {"backend-rebuilt", "libev found its epoll set inconsistent and made a new one", kWarningOnly,
     check_backend_rebuilt},
    {"timer-lag", "timers run much later than they are due", kWarningOnly, check_timer_lag},
    {"batch-saturated", "polls return as many events as there is room for", kInfoOnly,
     check_batch_saturated},
    {"records-dropped", "something could not be recorded", kInfoOnly, check_records_dropped},
    {"own-failures", "system calls of loopscope's own failed", kInfoOnly, check_own_failures},
};

}  // namespace

std::span<const Rule> rules() noexcept { return kRules; }

std::vector<Finding> evaluate(const Evidence& evidence) {
  std::vector<Finding> findings;
  for (const Rule& rule : kRules) rule.check(evidence, findings);
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  return findings;
}

}  // namespace loopscope::findings
