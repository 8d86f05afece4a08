// SPDX-License-Identifier: Apache-2.0
//
// What a rule concluded from a snapshot, with its evidence and what to do about it.
//
// Plain values; may be copied and shared between threads as any value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "instrumentation/recording/stack_frame.h"

namespace loopscope::findings {

enum class Severity { kInfo, kWarning, kError };

/// "info", "warning", "error".
const char* severity_name(Severity severity) noexcept;

/// A place in the program that a finding is about.
struct Place {
  std::string role;  // "opened", "closed", "closed again", "used", "served"
  recording::Stack stack;
  /// The frame to look at first: the innermost of the program's own, see blame.h. None without a
  /// stack.
  std::optional<std::size_t> frame;
};

/// One of the descriptors that a finding is about.
struct FoundDescriptor {
  std::int32_t fd = -1;
  std::string kind;             // as in DescriptorKind's names: "tcp", "pipe"
  std::string target;           // path, name; may be empty
  std::string local;            // "127.0.0.1:80"; may be empty
  std::string peer;             // likewise
  std::uint64_t opened_ns = 0;  // CLOCK_REALTIME; 0: unknown
  std::int32_t thread_id = 0;   // that opened it; 0: unknown
};

struct Finding {
  std::string rule;  // stable name, "loop-stall"
  Severity severity = Severity::kInfo;
  std::string title;                      // one line, with the numbers that matter
  std::string detail;                     // the evidence
  std::string advice;                     // what to look at or change
  std::uint64_t count = 1;                // how often it happened, where it can be counted
  std::optional<std::uint64_t> since_ns;  // CLOCK_REALTIME; none: unknown
  std::string subject;                    // what it is about: a loop's name, or "process"
  // Of rules about descriptors and about budgets.
  std::vector<Place> places;                 // the most important first
  std::vector<FoundDescriptor> descriptors;  // the oldest first, at most kMostFoundDescriptors
  std::string kind;                          // of the descriptors; empty: of none, or of several
};

inline constexpr std::size_t kMostFoundDescriptors = 8;

}  // namespace loopscope::findings
