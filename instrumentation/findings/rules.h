// SPDX-License-Identifier: Apache-2.0
//
// The rules: pure functions from what is known of one process to findings. One file a rule; to add
// one, write the file, declare it at the end of this header and give it a line in the table in
// rules.cpp.
//
// A rule says nothing when it does not know enough: a process that has just started, too few
// samples, a value the source cannot see. Each has a twin in the tests that must stay silent.
//
// Thread-safety: no state. Cost: all rules together about 2 µs a loop plus 2 ns a recent turn.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "instrumentation/findings/finding.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::findings {

/// What a loop did between an earlier snapshot and this one. Some things (a loop that spins at a
/// million turns a second) leave only milliseconds in the ring of recent turns; whether they last
/// can only be told from two snapshots.
struct LoopWindow {
  std::uint64_t length_ns = 0;
  std::uint64_t iterations = 0;
  std::uint64_t nonblocking = 0;
};

/// What the rules may look at. Refers to values that must outlive it.
struct Evidence {
  const recording::RecordingSnapshot&
      recording;  // `recent` is all that the ring holds, not cut for a view
  std::optional<std::uint64_t> open_fds;
  std::optional<std::uint64_t> fd_limit;
  /// Parallel to recording.loops, or empty: no earlier snapshot.
  std::span<const std::optional<LoopWindow>> windows = {};
  char process_state = '?';  // as in process::Resources
  /// The stack of an open site, named as far as there was time; may be empty: not known.
  std::function<recording::Stack(std::size_t site)> stack_of = {};
};

using Check = void (*)(const Evidence& evidence, std::vector<Finding>& out);

struct Rule {
  const char* name;
  const char* summary;                   // one line for documents and the command's help
  std::span<const Severity> severities;  // what it can give
  Check check;
};

/// All rules, in the order in which equally severe findings are shown.
std::span<const Rule> rules() noexcept;

/// Runs every rule. The most severe findings first.
std::vector<Finding> evaluate(const Evidence& evidence);

// --- the rules, for their tests; views use evaluate()
// ---------------------------------------------

void check_loop_stall(const Evidence& evidence, std::vector<Finding>& out);
void check_busy_spin(const Evidence& evidence, std::vector<Finding>& out);
void check_fork_without_loop_fork(const Evidence& evidence, std::vector<Finding>& out);
void check_backend_rebuilt(const Evidence& evidence, std::vector<Finding>& out);
void check_timer_lag(const Evidence& evidence, std::vector<Finding>& out);
void check_fd_limit(const Evidence& evidence, std::vector<Finding>& out);
void check_fd_growth(const Evidence& evidence, std::vector<Finding>& out);
void check_batch_saturated(const Evidence& evidence, std::vector<Finding>& out);
void check_records_dropped(const Evidence& evidence, std::vector<Finding>& out);
void check_own_failures(const Evidence& evidence, std::vector<Finding>& out);

}  // namespace loopscope::findings
