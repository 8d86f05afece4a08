// SPDX-License-Identifier: Apache-2.0
//
// The rules that `loopscope check` judges a process by once it has ended: what it left open, what
// it did wrong with descriptor numbers, and whether its loops kept within their budgets. Like the
// rules over living processes (rules.h), pure functions from evidence to findings, one file a rule.
//
// Thread-safety: no state but what Image::stack_of keeps. Cost: some µs for a process without
// suspects; naming stacks is most of the rest.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "instrumentation/findings/finding.h"
#include "instrumentation/findings/leak_grade.h"
#include "instrumentation/findings/stall_glance.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::findings {

/// One program that a process was (exec begins another). Refers to values that must outlive it.
struct Image {
  const recording::RecordingSnapshot& recording;  // with details
  /// The stack of one of its sites, named; null if there is none.
  std::function<recording::Stack(std::size_t site)> stack_of;
  std::string executable;  // path of the program's own file; empty: not known
  Ending ending = Ending::kExited;
  const Image* before = nullptr;  // that called exec(3) to become this one
  const Image* parent = nullptr;  // the process that forked it, as far as it is recorded
  /// Of its longest stalls, of each loop two at most. Only where a stall budget is set.
  std::span<const StallGlance> glances = {};
};

/// Limits that a run must keep, where they are set.
struct Budgets {
  std::optional<std::uint64_t> stall_ns = {};      // longest busy part of a turn
  std::optional<std::uint64_t> timer_lag_ns = {};  // latest timer
  std::optional<std::uint64_t> busy_p99_ns = {};
};

struct EndEvidence {
  const Image& image;
  Budgets budgets;
  /// Patterns (fnmatch) of files that are the program's own wherever they lie: --own.
  std::span<const std::string> own;
};

/// Runs every rule. The most severe findings first.
std::vector<Finding> evaluate_end(const EndEvidence& evidence);

/// Whether a look at the process can be spared: it left nothing open, nothing went wrong, and no
/// budget is set. Cheap.
bool nothing_to_judge(const EndEvidence& evidence);

// --- the rules, for their tests
// -------------------------------------------------------------------

/// fd-leak, fd-kept, fd-lost-by-thread, fd-growth and close-wait: each open site is graded once.
void check_open_at_end(const EndEvidence& evidence, std::vector<Finding>& out);
void check_double_close(const EndEvidence& evidence, std::vector<Finding>& out);
void check_close_never_opened(const EndEvidence& evidence, std::vector<Finding>& out);
void check_use_after_close(const EndEvidence& evidence, std::vector<Finding>& out);
void check_event_after_close(const EndEvidence& evidence, std::vector<Finding>& out);
void check_inherited_by_exec(const EndEvidence& evidence, std::vector<Finding>& out);
void check_budgets(const EndEvidence& evidence, std::vector<Finding>& out);

}  // namespace loopscope::findings
