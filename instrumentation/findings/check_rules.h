// SPDX-License-Identifier: Apache-2.0
//
// The rules of `loopscope check` for reports that list them: names, what each means and what to do
// about it. What they look for is in end_rules.h.
//
// Thread-safety: constant.
#pragma once

#include <span>
#include <string_view>

#include "instrumentation/findings/finding.h"

namespace loopscope::findings {

struct CheckRule {
  const char* name;
  Severity severity;  // as a rule; a finding says its own
  /// Finding::count is a number of descriptors.
  bool counts_descriptors;
  /// Judged only if a limit was set for it.
  bool budget;
  const char* summary;  // one line, without a full stop
  const char* meaning;  // what it is, and why it is worth a look
  const char* advice;   // what to do
};

/// In the order in which reports list them.
std::span<const CheckRule> check_rules() noexcept;

/// Null: there is no rule of that name.
const CheckRule* find_check_rule(std::string_view name) noexcept;

}  // namespace loopscope::findings
