// SPDX-License-Identifier: Apache-2.0
//
// What a rule concluded from a snapshot, with its evidence and what to do about it.
//
// Plain values; may be copied and shared between threads as any value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace loopscope::findings {

enum class Severity { kInfo, kWarning, kError };

/// "info", "warning", "error".
const char* severity_name(Severity severity) noexcept;

struct Finding {
  std::string rule;  // stable name, "loop-stall"
  Severity severity = Severity::kInfo;
  std::string title;                      // one line, with the numbers that matter
  std::string detail;                     // the evidence
  std::string advice;                     // what to look at or change
  std::uint64_t count = 1;                // how often it happened, where it can be counted
  std::optional<std::uint64_t> since_ns;  // CLOCK_REALTIME; none: unknown
  std::string subject;                    // what it is about: a loop's name, or "process"
};

}  // namespace loopscope::findings
