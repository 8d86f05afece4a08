// SPDX-License-Identifier: Apache-2.0
#include "cli/check_result.h"

#include <algorithm>

namespace loopscope::cli {
namespace {

constexpr int kFound = 1;
constexpr int kNotObserved = 3;
constexpr int kTimedOut = 124;

}  // namespace

int CheckResult::exit_status() const {
  if (const int own = end.exit_status(); own != 0) return own;
  if (timed_out) return kTimedOut;
  if (!unseen.empty()) return kNotObserved;
  const bool fails = std::any_of(findings.begin(), findings.end(),
                                 [](const CheckedFinding& finding) { return finding.fails; });
  return fails ? kFound : 0;
}

CheckCounts count(const CheckResult& result) {
  using Status = CheckedFinding::Status;
  CheckCounts counts;
  for (const CheckedFinding& checked : result.findings) {
    switch (checked.status) {
      case Status::kSuppressed:
        ++counts.suppressed;
        continue;
      case Status::kBaseline:
        ++counts.baseline;
        continue;
      case Status::kFewer:
        ++counts.fewer;
        continue;
      case Status::kNew:
        break;
    }
    switch (checked.finding.severity) {
      case findings::Severity::kError:
        ++counts.errors;
        break;
      case findings::Severity::kWarning:
        ++counts.warnings;
        break;
      case findings::Severity::kInfo:
        ++counts.infos;
        break;
    }
  }
  return counts;
}

}  // namespace loopscope::cli
