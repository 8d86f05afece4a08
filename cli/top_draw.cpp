// SPDX-License-Identifier: Apache-2.0
//
// The overview, the help, and what is around every screen.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iterator>

#include "cli/text_table.h"
#include "cli/top_dashboard.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli::top {
namespace {

using snapshot::ProcessSnapshot;

/// A state in full words beside every other column, from this width on.
constexpr std::size_t kWideScreen = 118;
constexpr std::size_t kWideState = 16;

std::string host_time(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%H:%M:%S", &local));
}

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g s", seconds);
  return text;
}

struct KeyHelp {
  const char* keys;
  const char* what;
};

constexpr KeyHelp kKeys[] = {
    {"F1 h ?", "this help"},
    {"Up Down PgUp PgDn", "move; the selection follows its row"},
    {"Home End", "first row (it stays the first, whichever that is), last row"},
    {"Enter", "look into the selected loop"},
    {"Esc Backspace", "back; without anything to go back to: no filter"},
    {"Tab Left Right", "the loop's panes: watchers, descriptors, slow turns, findings"},
    {"F3 /", "search; F3 or n: the next one"},
    {"F4 \\", "filter: only rows that contain it; Enter keeps it, Esc ends it"},
    {"F5 t", "tree: processes with their loops below"},
    {"F6", "choose the column to sort by; the same again turns it round"},
    {"< >", "sort by the next column to the left, to the right"},
    {"R", "turn the order round"},
    {"P T B L D F N C S",
     "sort by utilization (share), turns (calls), busy p99, lag, "
     "descriptors, findings, number, name, state"},
    {"w", "window of rates and quantiles: 10 s, 100 s, since start, last interval"},
    {"e", "show what had ended before, too"},
    {"Space Z", "pause, go on"},
    {"+ -", "refresh more rarely, more often"},
    {"q F10 Ctrl-C", "quit"},
};

void add_columns(std::vector<Line>& lines, const char* title, const std::vector<Column>& all) {
  lines.emplace_back();
  lines.emplace_back(title, Style::kBold);
  for (const Column& column : all) {
    if (column.title[0] == '\0') continue;
    Line line;
    line.add(" " + fit(column.title, 17), Style::kKey);
    line.add(std::string(" ") + column.what);
    if (column.key != 0) line.add(std::string("  [") + column.key + "]", Style::kDim);
    lines.push_back(std::move(line));
  }
}

}  // namespace

std::vector<std::size_t> choose_columns(const std::vector<Column>& all, std::size_t width,
                                        std::size_t least) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i + 1 < all.size(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return all[a].rank < all[b].rank; });
  std::vector<std::size_t> shown = {all.size() - 1};
  std::size_t taken = least;
  for (const std::size_t column : order) {
    if (taken + all[column].width + 1 > width) break;
    taken += all[column].width + 1;
    shown.push_back(column);
  }
  std::sort(shown.begin(), shown.end());
  return shown;
}

std::vector<Line> help_lines() {
  std::vector<Line> lines;
  lines.emplace_back("Keys", Style::kBold);
  for (const KeyHelp& key : kKeys) {
    Line line;
    line.add(" " + fit(key.keys, 17), Style::kKey);
    line.add(std::string(" ") + key.what);
    lines.push_back(std::move(line));
  }
  lines.emplace_back();
  lines.emplace_back("States", Style::kBold);
  lines.emplace_back(" ~ polling   > dispatching   . outside of the loop   ! STALLED");
  lines.emplace_back(" # stopped by a signal   - ended, exited, exec   X killed or crashed");
  add_columns(lines, "Overview", overview_columns());
  add_columns(lines, "Watchers", watcher_columns());
  add_columns(lines, "Descriptors", descriptor_columns());
  add_columns(lines, "Slow turns", turn_columns());
  return lines;
}

Line Dashboard::headline() const {
  Line line;
  line.add("loopscope", Style::kBold);
  if (host_ == nullptr) return line;
  line.add(" " + host_time(host_->taken_at_ns));
  std::size_t processes = 0, loops = 0, stalled = 0;
  std::uint64_t descriptors = 0;
  for (const ProcessSnapshot& process : host_->processes) {
    if (process.recording.life != recording::Life::kRunning) continue;
    ++processes;
    descriptors += process.fds.open.value_or(0);
    for (const recording::LoopSnapshot& loop : process.recording.loops) {
      const State state = loop_state(process, loop);
      loops += state != State::kEnded ? 1 : 0;
      stalled += state == State::kStalled ? 1 : 0;
    }
  }
  if (paused_) line.add("  PAUSED", Style::kWarning);
  if (stalled != 0) line.add("  " + std::to_string(stalled) + " STALLED", Style::kBad);
  line.add("  " + std::to_string(processes) + (processes == 1 ? " process" : " processes"));
  line.add("  " + counted(loops, "loop"));
  line.add("  " + counted(descriptors, "descriptor"));
  line.add("  window ", Style::kDim).add(window_name(window_));
  line.add("  every ", Style::kDim).add(seconds_text(interval_));
  return line;
}

/// What is worth a line above the table: the worst first.
std::vector<Line> Dashboard::notes() const {
  std::vector<Line> lines;
  if (host_ == nullptr) return lines;
  // A stall that lasts is worse than what any rule could say of the past.
  std::string stalled;
  std::uint64_t longest = 0;
  bool enough = false;
  for (const ProcessSnapshot& process : host_->processes) {
    if (process.recording.life != recording::Life::kRunning) continue;
    for (const recording::LoopSnapshot& loop : process.recording.loops) {
      enough = enough || loop.iterations > 1;
      if (loop_state(process, loop) != State::kStalled || loop.stalled_ns <= longest) continue;
      longest = loop.stalled_ns;
      stalled = process.recording.command + " (" + std::to_string(process.recording.pid) + ") " +
                loop_text(loop) + ": " + phase_text(process, loop).text;
    }
  }
  Line first;
  if (!stalled.empty()) {
    first.add(stalled, Style::kBad);
  } else if (const auto [finding, process] = worst_finding(*host_); finding != nullptr) {
    first.add(findings::severity_name(finding->severity), severity_style(finding->severity));
    first.add(": " + process->recording.command + " (" + std::to_string(process->recording.pid) +
              "): " + finding->title);
  } else if (!enough || !history_.interval_seconds()) {
    first.add("not enough data yet", Style::kDim);
  } else {
    first.add("no findings", Style::kGood);
  }
  lines.push_back(std::move(first));
  Line others;
  const auto add = [&others](const std::string& text, Style style = Style::kDim) {
    others.add((others.spans.empty() ? "" : "; ") + text, style);
  };
  const List* const in = screen_ == Screen::kOverview  ? &overview_
                         : pane_ == Pane::kWatchers    ? &watchers_
                         : pane_ == Pane::kDescriptors ? &descriptors_
                         : pane_ == Pane::kTurns       ? &turns_
                                                       : nullptr;
  if (in != nullptr && !in->filter.empty() && prompt_ != Prompt::kFilter) {
    add("filter: " + in->filter + " (Esc or F4)", Style::kWarning);
  }
  if (!host_->unreadable.empty()) {
    add(counted(host_->unreadable.size(), "file") +
            " unreadable: " + host_->unreadable.front().error,
        Style::kWarning);
  }
  if (screen_ == Screen::kOverview && rows_.left_out != 0) {
    add(std::to_string(rows_.left_out) + " ended before (e shows them)");
  }
  if (!others.spans.empty()) lines.push_back(std::move(others));
  return lines;
}

std::vector<Line> Dashboard::hint() const {
  std::vector<Line> lines;
  const auto say = [&](const std::string& text) { lines.emplace_back(text); };
  if (host_ != nullptr && !overview_.filter.empty()) {
    say("No row contains \"" + overview_.filter + "\".");
    return lines;
  }
  if (options_.pid) {
    say("The recording of process " + std::to_string(*options_.pid) + " is gone.");
    return lines;
  }
  say("Nothing is being recorded. Waiting for it ...");
  say("");
  say("Any program:         loopscope run -- PROGRAM ARGS");
  say("A program of yours:  loopscope::Loop, or loopscope::instrument(loop)");
  say("");
  say("Recordings are looked for in " + options_.directories);
  return lines;
}

Line Dashboard::titles(const List& in, const std::vector<std::size_t>& shown,
                       std::size_t width) const {
  Line line;
  line.fill = Style::kTitle;
  std::size_t taken = 0;
  for (const std::size_t i : shown) {
    const Column& column = (*in.columns)[i];
    if (taken != 0) {
      line.add(" ", Style::kTitle);
      ++taken;
    }
    const bool last = i + 1 == in.columns->size();
    std::size_t wide = column.width;
    if (in.columns == &overview_columns() && i == overview_column::kState && width >= kWideScreen) {
      wide = kWideState;
    }
    if (last) wide = width > taken ? width - taken : 0;
    const bool sorted = i == in.sort;
    std::string title = column.title;
    // Which way: said by a sign, not by a colour. It may take a narrow column's last letter.
    if (sorted) {
      const char* sign =
          in.descending ? (unicode_terminal() ? "▼" : "v") : (unicode_terminal() ? "▲" : "^");
      if (columns(title) + 1 > wide && wide > 1) title.resize(wide - 1);
      title += sign;
    }
    line.add(fit(title, wide, column.right), sorted ? Style::kActive : Style::kTitle);
    taken += wide;
  }
  return line;
}

namespace {

/// The key bar: as many whole items as fit.
Line bar_of(const std::vector<std::pair<const char*, const char*>>& items, std::size_t width) {
  Line line;
  line.fill = Style::kKey;
  std::size_t taken = 0;
  for (const auto& [key, what] : items) {
    const std::size_t wide = columns(key) + columns(what) + 1;
    if (taken + wide > width + 1) break;
    line.add(key).add(what + std::string(" "), Style::kKey);
    taken += wide;
  }
  return line;
}

}  // namespace

void Dashboard::draw_bottom(Canvas& canvas) {
  Line line;
  if (prompt_ != Prompt::kNone) {
    const std::string what = prompt_ == Prompt::kFilter ? "Filter: " : "Search: ";
    // The end of what is typed is what matters.
    std::string typed = clean(typed_);
    const std::size_t room = canvas.width > what.size() + 1 ? canvas.width - what.size() - 1 : 0;
    while (columns(typed) > room && !typed.empty()) {
      std::size_t next = 1;
      while (next < typed.size() && (static_cast<unsigned char>(typed[next]) & 0xC0) == 0x80)
        ++next;
      typed.erase(0, next);
    }
    line.add(what, Style::kBold).add(typed);
    canvas.cursor_row = canvas.lines.size();
    canvas.cursor_column = what.size() + columns(typed);
    canvas.cursor_shown = true;
    if (not_found_) line.add("  not found", Style::kWarning);
  } else if (menu_) {
    line = bar_of({{"Enter", "Sort"}, {"Esc", "Cancel"}}, canvas.width);
  } else if (help_) {
    line = bar_of({{"Up/Down", "Scroll"}, {"Any key", "Back"}}, canvas.width);
  } else if (screen_ == Screen::kOverview) {
    line = bar_of({{"F1", "Help"},
                   {"Enter", "Look"},
                   {"F3", "Search"},
                   {"F4", "Filter"},
                   {"F5", tree_ ? "List" : "Tree"},
                   {"F6", "SortBy"},
                   {"w", "Window"},
                   {"Space", paused_ ? "GoOn" : "Pause"},
                   {"F10", "Quit"}},
                  canvas.width);
  } else {
    line = bar_of({{"F1", "Help"},
                   {"Esc", "Back"},
                   {"Tab", "Pane"},
                   {"F3", "Search"},
                   {"F4", "Filter"},
                   {"F6", "SortBy"},
                   {"w", "Window"},
                   {"Space", paused_ ? "GoOn" : "Pause"},
                   {"F10", "Quit"}},
                  canvas.width);
  }
  canvas.lines.push_back(std::move(line));
}

void Dashboard::draw_menu(Canvas& canvas, std::size_t rows) {
  const List* const in = list();
  if (in == nullptr || rows == 0) return;
  const std::vector<Column>& all = *in->columns;
  canvas.lines.emplace_back("Sort by", Style::kTitle);
  canvas.lines.back().fill = Style::kTitle;
  const std::size_t height = std::max<std::size_t>(rows - 1, 1);
  const std::size_t first = menu_at_ >= height ? menu_at_ - height + 1 : 0;
  for (std::size_t i = first; i < std::min(all.size(), first + height); ++i) {
    Line line;
    line.add(std::string(i == menu_at_ ? "> " : "  ") +
                 fit(all[i].title[0] != '\0' ? all[i].title : "-", 17),
             Style::kBold);
    line.add(all[i].what);
    line.selected = i == menu_at_;
    if (line.selected) canvas.cursor_row = canvas.lines.size();
    canvas.lines.push_back(std::move(line));
  }
}

void Dashboard::draw_help(Canvas& canvas) {
  const std::vector<Line> all = help_lines();
  const std::size_t rows = canvas.height > 1 ? canvas.height - 1 : 1;
  help_first_ = std::min(help_first_, all.size() > rows ? all.size() - rows : 0);
  for (std::size_t i = help_first_; i < std::min(all.size(), help_first_ + rows); ++i) {
    canvas.lines.push_back(all[i]);
  }
}

void Dashboard::draw_overview(Canvas& canvas) {
  // On a screen of a few lines the rows matter most.
  if (canvas.height >= 5) canvas.lines.push_back(headline());
  if (canvas.height >= 8) {
    for (Line& line : notes()) canvas.lines.push_back(std::move(line));
  } else if (canvas.height >= 6) {
    canvas.lines.push_back(notes().empty() ? Line() : notes().front());
  }
  const std::size_t used = canvas.lines.size() + 1;  // with the bar at the bottom
  std::size_t rows = canvas.height > used ? canvas.height - used : 0;
  if (menu_) {
    draw_menu(canvas, rows);
    return;
  }
  if (rows_.rows.empty()) {
    for (const Line& line : hint()) {
      for (const std::string& part : wrap(line.text(), canvas.width)) {
        canvas.lines.emplace_back(part);
      }
    }
    return;
  }
  const std::vector<std::size_t> shown =
      choose_columns(overview_columns(),
                     canvas.width >= kWideScreen ? canvas.width - (kWideState - 9) : canvas.width,
                     canvas.width >= kWideScreen ? 24
                     : canvas.width >= 90        ? 20
                                                 : 12);
  if (rows > 1) {
    canvas.lines.push_back(titles(overview_, shown, canvas.width));
    --rows;
  }
  overview_.height = std::max<std::size_t>(rows, 1);
  overview_.cursor.follow(overview_.keys, overview_.height);
  const std::size_t first = overview_.cursor.first;
  for (std::size_t i = first; i < std::min(rows_.rows.size(), first + rows); ++i) {
    const Row& row = rows_.rows[i];
    Line line;
    line.selected = i == overview_.cursor.index;
    if (line.selected) canvas.cursor_row = canvas.lines.size();
    std::size_t taken = 0;
    for (const std::size_t index : shown) {
      const Column& column = overview_columns()[index];
      if (taken != 0) {
        line.add(" ");
        ++taken;
      }
      std::size_t wide = column.width;
      if (index == overview_column::kState && canvas.width >= kWideScreen) wide = kWideState;
      if (index + 1 == overview_columns().size()) {
        wide = canvas.width > taken ? canvas.width - taken : 0;
      }
      const Cell cell = overview_cell(row, index, wide);
      line.add(fit(cell.text, wide, column.right), cell.style);
      taken += wide;
    }
    canvas.lines.push_back(std::move(line));
  }
}

Canvas Dashboard::draw(std::size_t width, std::size_t height) {
  Canvas canvas;
  canvas.width = width;
  canvas.height = height;
  if (width == 0 || height == 0) return canvas;
  height_ = height;
  refresh_rows();
  if (help_) {
    draw_help(canvas);
  } else if (screen_ == Screen::kOverview) {
    draw_overview(canvas);
  } else {
    draw_loop(canvas);
  }
  // The bar is the last line, whatever is above.
  if (canvas.height >= 4) {
    canvas.lines.resize(canvas.height - 1);
    draw_bottom(canvas);
  } else if (prompt_ != Prompt::kNone && canvas.height >= 1) {
    canvas.lines.resize(canvas.height - 1);
    draw_bottom(canvas);
  }
  canvas.crop();
  return canvas;
}

}  // namespace loopscope::cli::top
