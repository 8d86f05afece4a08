// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/end_rules.h"

#include <algorithm>

namespace loopscope::findings {

std::vector<Finding> evaluate_end(const EndEvidence& evidence) {
  std::vector<Finding> findings;
  for (const auto check :
       {check_double_close, check_use_after_close, check_event_after_close, check_open_at_end,
        check_inherited_by_exec, check_close_never_opened, check_budgets}) {
    check(evidence, findings);
  }
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  return findings;
}

bool nothing_to_judge(const EndEvidence& evidence) {
  const recording::RecordingSnapshot& recording = evidence.image.recording;
  const Budgets& budgets = evidence.budgets;
  if (!recording.loops.empty() &&
      (budgets.stall_ns || budgets.timer_lag_ns || budgets.busy_p99_ns)) {
    return false;
  }
  if (!recording.ledger) return true;
  return recording.ledger->incidents.empty() &&
         std::all_of(recording.ledger->fds.begin(), recording.ledger->fds.end(),
                     [](const recording::FdRecord& fd) { return fd.fd <= 2; });
}

}  // namespace loopscope::findings
