// SPDX-License-Identifier: Apache-2.0
#include "cli/top_batch.h"

#include <cstdio>
#include <ctime>
#include <ostream>
#include <string>
#include <vector>

#include "cli/report.h"
#include "cli/text_table.h"
#include "cli/top_cells.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli::top {
namespace {

using snapshot::ProcessSnapshot;

/// Room for a state in full words.
constexpr std::size_t kFull = 16;

std::string instant_text(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[40];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local));
}

/// A table of `all` but the columns that are no more than a picture; the name, which may hold
/// spaces, is the last, so that the others can be cut out by number.
template <typename T, typename CellOf>
void write_table(std::ostream& out, const std::string& indent, const std::vector<Column>& all,
                 const std::vector<T>& rows, const CellOf& cell_of) {
  std::vector<std::string> titles;
  std::vector<bool> left;
  for (const Column& column : all) {
    if (column.title[0] == '\0') continue;
    titles.emplace_back(column.title);
    left.push_back(!column.right);
  }
  Table table(indent, titles, left);
  for (const T& row : rows) {
    std::vector<std::string> cells;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].title[0] == '\0') continue;
      const Cell cell = cell_of(row, i);
      cells.push_back(cell.text.empty() ? "-" : clean(cell.text));
    }
    table.row(std::move(cells));
  }
  table.print(out);
}

void write_watchers(std::ostream& out, const Row& row, const History& history) {
  std::vector<WatcherWindow> watchers = history.watchers(row.key, *row.loop, Window::kInterval);
  if (watchers.empty()) return;
  arrange(watchers, WatcherSort::kShare, true, {});
  out << "\n" << clean(row.name) << "  " << clean(phase_text(*row.process, *row.loop).text) << "\n";
  write_table(out, "  ", watcher_columns(), watchers, watcher_cell);
}

}  // namespace

void write_block(std::ostream& out, const snapshot::HostSnapshot& host, const History& history,
                 bool details) {
  OverviewOptions options;
  options.window = Window::kInterval;
  options.ended = details;
  const Overview all = overview(host, history, options);
  std::size_t processes = 0, loops = 0;
  std::uint64_t descriptors = 0;
  for (const ProcessSnapshot& process : host.processes) {
    if (process.recording.life != recording::Life::kRunning) continue;
    ++processes;
    loops += process.recording.loops.size();
    descriptors += process.fds.open.value_or(0);
  }
  char interval[48] = "since their start";
  if (const auto seconds = history.interval_seconds()) {
    std::snprintf(interval, sizeof interval, "over the last %.3g s", *seconds);
  }
  out << "loopscope top  " << instant_text(host.taken_at_ns) << "  " << processes
      << (processes == 1 ? " process, " : " processes, ") << counted(loops, "loop") << ", "
      << counted(descriptors, "descriptor") << ", " << interval << "\n";
  for (const ProcessSnapshot& process : host.processes) {
    if (process.recording.life != recording::Life::kRunning && !details) continue;
    for (const findings::Finding& finding : process.findings) {
      out << findings::severity_name(finding.severity) << ": " << clean(process.recording.command)
          << " (" << process.recording.pid << "): " << clean(finding.title) << " ["
          << clean(finding.rule) << "]\n";
    }
  }
  for (const auto& [path, error] : host.unreadable) out << "unreadable: " << clean(error) << "\n";
  if (all.rows.empty()) {
    out << "nothing is being recorded\n";
    return;
  }
  write_table(out, "", overview_columns(), all.rows,
              [](const Row& row, std::size_t column) { return overview_cell(row, column, kFull); });
  if (!details) return;
  for (const Row& row : all.rows) {
    if (row.loop != nullptr) write_watchers(out, row, history);
  }
}

}  // namespace loopscope::cli::top
