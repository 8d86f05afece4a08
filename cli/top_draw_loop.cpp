// SPDX-License-Identifier: Apache-2.0
//
// One loop: what it does now, durations, and a pane.
#include <algorithm>
#include <utility>

#include "cli/text_table.h"
#include "cli/top_dashboard.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli::top {
namespace {

using findings::duration_text;
using recording::Histogram;
using recording::LoopSnapshot;
using snapshot::ProcessSnapshot;

constexpr std::size_t kBarWidth = 20;

std::string value_text(const Histogram& histogram, double value) {
  if (histogram.count == 0) return "-";
  if (histogram.scale == Histogram::Scale::kTime) {
    return duration_text(static_cast<std::uint64_t>(value));
  }
  return short_count(value);
}

std::string quantile_text(const Histogram& histogram, double p) {
  return value_text(histogram, histogram.quantile(p));
}

/// A table's rows that are in sight.
template <typename CellOf>
void add_rows(Canvas& canvas, const std::vector<Column>& all, const std::vector<std::size_t>& shown,
              const Cursor& cursor, std::size_t count, std::size_t rows, const CellOf& cell_of) {
  for (std::size_t i = cursor.first; i < std::min(count, cursor.first + rows); ++i) {
    Line line;
    line.selected = i == cursor.index;
    if (line.selected) canvas.cursor_row = canvas.lines.size();
    std::size_t taken = 0;
    for (const std::size_t index : shown) {
      if (taken != 0) {
        line.add(" ");
        ++taken;
      }
      std::size_t wide = all[index].width;
      if (index + 1 == all.size()) wide = canvas.width > taken ? canvas.width - taken : 0;
      const Cell cell = cell_of(i, index);
      line.add(fit(cell.text, wide, all[index].right), cell.style);
      taken += wide;
    }
    canvas.lines.push_back(std::move(line));
  }
}

}  // namespace

void Dashboard::draw_loop(Canvas& canvas) {
  const ProcessSnapshot* const of = process();
  const LoopSnapshot* const one = loop();
  if (of == nullptr || one == nullptr) {
    canvas.lines.emplace_back("This recording is gone. Esc goes back.", Style::kWarning);
    return;
  }
  if (pane_ == Pane::kDurations && durations_beside()) pane_ = Pane::kWatchers;
  const recording::RecordingSnapshot& recording = of->recording;
  const Window window = window_of(*of, *one);

  Line name;
  name.add(recording.command + " (" + std::to_string(recording.pid) + ") ", Style::kBold);
  name.add(loop_text(*one), Style::kBold);
  name.add("  " + one->backend);
  if (one->epoll_fd >= 0) name.add(" " + std::to_string(one->epoll_fd));
  name.add(", thread " + std::to_string(one->thread_id));
  if (paused_) name.add("  PAUSED", Style::kWarning);
  name.add("  window ", Style::kDim).add(window_name(window));
  name.add("  every ", Style::kDim).add(short_count(interval_) + " s");
  canvas.lines.push_back(std::move(name));
  const Cell phase = phase_text(*of, *one);
  if (canvas.height >= 5) canvas.lines.emplace_back(phase.text, phase.style);

  if (canvas.height >= 9) {
    const LoopWindow now = history_.loop(shown_, *one, window);
    const bool over = window == Window::kLife && window_ != Window::kLife;
    Line line;
    const auto utilization =
        over ? now.utilization : history_.utilization(shown_, *one, Window::kInterval);
    line.add("busy ", Style::kDim);
    line.add(fit(short_percent(utilization), 5, true), utilization_style(utilization)).add(" ");
    if (canvas.width >= 100 && utilization) {
      line.add(bar(*utilization, kBarWidth), Style::kMeter).add(" ");
    }
    if (!over) {
      line.add(" 10s ", Style::kDim);
      line.add(short_percent(history_.utilization(shown_, *one, Window::kTenSeconds)));
      line.add(" 100s ", Style::kDim);
      line.add(short_percent(history_.utilization(shown_, *one, Window::kHundredSeconds)));
    }
    line.add("  " + short_count(now.turns_per_second) + " turns/s");
    line.add("  " + short_count(now.ready_per_turn) + " ready/turn");
    line.add("  " + counted(now.stalls, "stall"),
             now.stalls != 0 ? Style::kWarning : Style::kPlain);
    if (of->fds.open) {
      line.add("  fds " + std::to_string(*of->fds.open));
      if (of->fds.limit) line.add("/" + std::to_string(*of->fds.limit));
    }
    canvas.lines.push_back(std::move(line));
  }
  if (durations_beside()) draw_durations(canvas, *one, window);

  // The panes' names, the one that is shown marked.
  Line tabs;
  std::size_t found = 0;
  for (const findings::Finding& finding : of->findings) {
    const bool of_other = std::any_of(
        recording.loops.begin(), recording.loops.end(),
        [&](const LoopSnapshot& other) { return &other != one && is_about(finding, *of, other); });
    if (!of_other || is_about(finding, *of, *one)) ++found;
  }
  for (const Pane pane : panes()) {
    std::string text;
    switch (pane) {
      case Pane::kDurations:
        text = "Durations";
        break;
      case Pane::kWatchers:
        text = "Watchers " + std::to_string(one->watchers.size());
        break;
      case Pane::kDescriptors:
        text = "Descriptors";
        if (of->fds.open) text += " " + std::to_string(*of->fds.open);
        break;
      case Pane::kTurns:
        text = "Slow turns";
        break;
      case Pane::kFindings:
        text = "Findings " + std::to_string(found);
        break;
    }
    const bool active = pane == pane_;
    // Where there is little room the others are only their first letters.
    if (canvas.width < 70 && !active) text = text.substr(0, canvas.width < 50 ? 4 : 8);
    tabs.add(active ? "[" + text + "]" : " " + text + " ", active ? Style::kActive : Style::kPlain);
  }
  canvas.lines.push_back(std::move(tabs));
  if (canvas.height >= 12) {
    const std::vector<Line> all = notes();
    if (all.size() > 1) canvas.lines.push_back(all[1]);  // a filter, above all
  }

  const std::size_t used = canvas.lines.size() + 1;
  const std::size_t rows = canvas.height > used ? canvas.height - used : 0;
  if (menu_) {
    draw_menu(canvas, rows);
    return;
  }
  switch (pane_) {
    case Pane::kDurations:
      draw_durations(canvas, *one, window);
      break;
    case Pane::kWatchers:
      draw_watchers(canvas, rows);
      break;
    case Pane::kDescriptors:
      draw_descriptors(canvas, rows);
      break;
    case Pane::kTurns:
      draw_turns(canvas, *one, rows);
      break;
    case Pane::kFindings:
      draw_findings(canvas, rows);
      break;
  }
}

void Dashboard::draw_durations(Canvas& canvas, const LoopSnapshot& loop, Window window) {
  const LoopWindow chosen = history_.loop(shown_, loop, window);
  const LoopWindow ten = history_.loop(shown_, loop, Window::kTenSeconds);
  const LoopWindow hundred = history_.loop(shown_, loop, Window::kHundredSeconds);
  const LoopWindow life = history_.loop(shown_, loop, Window::kLife);
  // Of what has ended the windows are empty: nothing happens in them.
  const bool all_windows = canvas.width >= 78 && window != Window::kLife;
  Line head;
  head.fill = Style::kTitle;
  const auto cell = [](const std::string& text, std::size_t width) {
    return " " + fit(text, width, true);
  };
  constexpr std::size_t kNumber = 8;
  std::string title = fit("", 12) + (canvas.width >= 60 ? cell("count", kNumber) : "") +
                      cell("p50", kNumber) + cell("p99", kNumber);
  if (canvas.width >= 50) title += cell("max", kNumber);
  if (all_windows) {
    title += "  " + cell("p99 10s", 8) + cell("100s", kNumber) + cell("ever", kNumber);
  }
  head.add(title, Style::kTitle);
  canvas.lines.push_back(std::move(head));
  struct RowOf {
    const char* name;
    Histogram LoopWindow::*histogram;
  };
  static constexpr RowOf kRows[] = {{"poll wait", &LoopWindow::poll_wait},
                                    {"busy", &LoopWindow::busy},
                                    {"poll delay", &LoopWindow::poll_delay},
                                    {"timer lag", &LoopWindow::timer_lag},
                                    {"ready events", &LoopWindow::ready}};
  for (const RowOf& row : kRows) {
    const Histogram& values = chosen.*row.histogram;
    Line line;
    line.add(fit(row.name, 12));
    if (canvas.width >= 60) {
      line.add(cell(short_count(static_cast<double>(values.count)), kNumber), Style::kDim);
    }
    line.add(cell(quantile_text(values, 0.5), kNumber));
    line.add(cell(quantile_text(values, 0.99), kNumber), Style::kBold);
    if (canvas.width >= 50) {
      line.add(cell(value_text(values, static_cast<double>(values.max)), kNumber));
    }
    if (all_windows) {
      line.add("  " + cell(quantile_text(ten.*row.histogram, 0.99), 8) +
               cell(quantile_text(hundred.*row.histogram, 0.99), kNumber) +
               cell(quantile_text(life.*row.histogram, 0.99), kNumber));
    }
    canvas.lines.push_back(std::move(line));
  }
}

void Dashboard::draw_list(Canvas& canvas, List& list, const std::vector<Column>& columns,
                          const std::vector<std::size_t>& shown, std::size_t size, std::size_t rows,
                          const std::function<Cell(std::size_t, std::size_t)>& cell) const {
  if (rows > 1) {
    canvas.lines.push_back(titles(list, shown, canvas.width));
    --rows;
  }
  list.height = std::max<std::size_t>(rows, 1);
  list.cursor.follow(list.keys, list.height);
  add_rows(canvas, columns, shown, list.cursor, size, rows, cell);
}

void Dashboard::draw_watchers(Canvas& canvas, std::size_t rows) {
  if (watcher_rows_.empty()) {
    canvas.lines.emplace_back(
        watchers_.filter.empty()
            ? "No watchers are known: the probe sees descriptors, libraries name watchers."
            : "No watcher contains \"" + watchers_.filter + "\".",
        Style::kDim);
    return;
  }
  const auto shown = choose_columns(watcher_columns(), canvas.width, 14);
  draw_list(
      canvas, watchers_, watcher_columns(), shown, watcher_rows_.size(), rows,
      [&](std::size_t i, std::size_t column) { return watcher_cell(watcher_rows_[i], column); });
}

void Dashboard::draw_descriptors(Canvas& canvas, std::size_t rows) {
  const ProcessSnapshot* const of = process();
  if (descriptor_rows_.empty()) {
    const bool asked = of != nullptr && of->descriptors.has_value();
    canvas.lines.emplace_back(
        !asked && paused_              ? "Paused before they were looked at: Space goes on."
        : !asked                       ? "Looking ..."
        : !descriptors_.filter.empty() ? "No descriptor contains \"" + descriptors_.filter + "\"."
                                       : "No descriptors are known: of another user, or gone.",
        Style::kDim);
    return;
  }
  const auto shown = choose_columns(descriptor_columns(), canvas.width, 16);
  if (of != nullptr && of->descriptors_left_out != 0 && rows > 3) {
    canvas.lines.emplace_back(
        "and " + std::to_string(of->descriptors_left_out) + " more that are not in this list",
        Style::kWarning);
    --rows;
  }
  draw_list(canvas, descriptors_, descriptor_columns(), shown, descriptor_rows_.size(), rows,
            [&](std::size_t i, std::size_t column) {
              return descriptor_cell(descriptor_rows_[i], column);
            });
}

void Dashboard::draw_turns(Canvas& canvas, const LoopSnapshot& loop, std::size_t rows) {
  if (turn_rows_.empty()) {
    canvas.lines.emplace_back(!turns_.filter.empty() ? "No turn contains \"" + turns_.filter + "\"."
                              : paused_ ? "Paused before they were looked at: Space goes on."
                                        : "No turn has ended yet.",
                              Style::kDim);
    return;
  }
  if (rows > 4) {
    canvas.lines.emplace_back("the slowest " + std::to_string(turn_rows_.size()) + " of the last " +
                                  counted(loop.recent.size(), "turn") + "; busy for more than " +
                                  duration_text(loop.stall_threshold_ns) + " is a stall",
                              Style::kDim);
    --rows;
  }
  const auto shown = choose_columns(turn_columns(), canvas.width, 14);
  draw_list(
      canvas, turns_, turn_columns(), shown, turn_rows_.size(), rows,
      [&](std::size_t i, std::size_t column) { return turn_cell(loop, turn_rows_[i], column); });
}

void Dashboard::draw_findings(Canvas& canvas, std::size_t rows) {
  const ProcessSnapshot* const of = process();
  const LoopSnapshot* const one = loop();
  if (of == nullptr || one == nullptr) return;
  std::vector<Line> lines;
  const auto prose = [&](const std::string& text, Style style, std::size_t indent) {
    for (const std::string& part : wrap(text, canvas.width, indent))
      lines.emplace_back(part, style);
  };
  for (const findings::Finding& finding : of->findings) {
    const auto& loops = of->recording.loops;
    const bool of_other = std::any_of(loops.begin(), loops.end(), [&](const LoopSnapshot& other) {
      return &other != one && is_about(finding, *of, other);
    });
    if (of_other && !is_about(finding, *of, *one)) continue;
    if (!lines.empty()) lines.emplace_back();
    prose(std::string(findings::severity_name(finding.severity)) + ": " + finding.title + " [" +
              finding.rule + "]",
          severity_style(finding.severity), 2);
    if (!finding.detail.empty()) prose(finding.detail, Style::kPlain, 0);
    if (!finding.advice.empty()) prose("-> " + finding.advice, Style::kBold, 3);
  }
  if (lines.empty()) {
    if (one->iterations < 2 || !history_.interval_seconds()) {
      prose("Not enough data yet.", Style::kDim, 0);
    } else {
      prose("No findings: of this loop's " + counted(one->iterations, "turn") +
                " and its process' descriptors nothing is worth a word.",
            Style::kGood, 0);
    }
  } else {
    lines.emplace_back();
    prose("more: loopscope report " + std::to_string(of->recording.pid), Style::kDim, 6);
  }
  findings_lines_ = lines.size();
  findings_rows_ = std::max<std::size_t>(rows, 1);
  findings_first_ = std::min(
      findings_first_, findings_lines_ > findings_rows_ ? findings_lines_ - findings_rows_ : 0);
  for (std::size_t i = findings_first_; i < std::min(lines.size(), findings_first_ + rows); ++i) {
    canvas.lines.push_back(std::move(lines[i]));
  }
}

}  // namespace loopscope::cli::top
