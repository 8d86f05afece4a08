// SPDX-License-Identifier: Apache-2.0
//
// The tables of `loopscope top`: their columns and what stands in them. What the screen shows,
// --batch prints.
//
// Thread-safety: no state.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/top_canvas.h"
#include "cli/top_model.h"

namespace loopscope::cli::top {

struct Cell {
  std::string text;
  Style style = Style::kPlain;
};

/// In the order in which they stand; the last takes what width is left.
const std::vector<Column>& overview_columns();
const std::vector<Column>& watcher_columns();
const std::vector<Column>& descriptor_columns();
const std::vector<Column>& turn_columns();

/// The overview's columns by name: indices into overview_columns().
namespace overview_column {
enum : std::size_t {
  kPid,
  kState,
  kUtilization,
  kBar,
  kUtilization10,
  kUtilization100,
  kTurns,
  kReady,
  kBusyP50,
  kBusyP99,
  kLag,
  kFds,
  kFindings,
  kName,
};
}

/// What a column of the overview sorts by (the bar: utilization).
Sort overview_sort(std::size_t column);
WatcherSort watcher_sort(std::size_t column);
DescriptorSort descriptor_sort(std::size_t column);

/// `width` of the column as it is shown: the state is said in full where there is room for it.
Cell overview_cell(const Row& row, std::size_t column, std::size_t width);
Cell watcher_cell(const WatcherWindow& row, std::size_t column);
Cell descriptor_cell(const DescriptorRow& row, std::size_t column);
/// Of `loop`'s turns.
Cell turn_cell(const recording::LoopSnapshot& loop, const recording::Turn& turn,
               std::size_t column);
/// Whether `a` goes before `b`.
bool turn_before(const recording::Turn& a, const recording::Turn& b, std::size_t column);

/// "~ polling", "! STALLED 1.2s", "X killed SIGKILL"; else in nine columns.
std::string state_text(const Row& row, bool full);

/// "dispatching for 12 ms", "STALLED for 1.2 s, in the callback "resolve" (io)", "killed by
/// SIGKILL".
Cell phase_text(const snapshot::ProcessSnapshot& process, const recording::LoopSnapshot& loop);

/// "loop "main"", "loop 0".
std::string loop_text(const recording::LoopSnapshot& loop);

/// "exited with status 1", "killed by SIGKILL"; empty: it runs.
std::string end_text(const snapshot::ProcessSnapshot& process);

Style severity_style(findings::Severity severity);
Style utilization_style(std::optional<double> utilization);

}  // namespace loopscope::cli::top
