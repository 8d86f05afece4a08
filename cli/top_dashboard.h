// SPDX-License-Identifier: Apache-2.0
//
// `loopscope top` without the terminal: takes snapshots and keys, draws screens.
//
//   overview   a line a loop, or a tree of processes and their loops
//   loop       one of them: what it does now, durations, and panes with its watchers, its process'
//              descriptors, its slow turns, findings as prose
//
// Thread-safety: one thread at a time. Cost of a drawing: what is in sight, and sorting the rows
// when they changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/top_canvas.h"
#include "cli/top_cells.h"
#include "cli/top_model.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli::top {

enum class Key {
  kNone,
  kCharacter,
  kUp,
  kDown,
  kLeft,
  kRight,
  kPageUp,
  kPageDown,
  kHome,
  kEnd,
  kEnter,
  kEscape,
  kBackspace,
  kTab,
  kBackTab,
  kFunction,  // F1 … F12
};

struct KeyPress {
  Key key = Key::kNone;
  char32_t character = 0;  // of kCharacter
  int function = 0;        // of kFunction
};

struct DashboardOptions {
  std::optional<std::int32_t> pid;  // only this process, ended or not
  double interval_seconds = 1;
  std::string directories;  // where it looks, for people
};

class Dashboard {
 public:
  explicit Dashboard(DashboardOptions options);

  /// A new snapshot, as wanted() said, taken at `monotonic_ns`.
  void update(snapshot::HostSnapshot host, std::uint64_t monotonic_ns);
  void press(const KeyPress& key);
  Canvas draw(std::size_t width, std::size_t height);

  /// What the next snapshot should hold.
  snapshot::CollectOptions wanted() const;
  /// What is shown now wants something that the last snapshot does not hold: take one at once.
  bool wants_now() const;
  double interval_seconds() const { return interval_; }
  bool paused() const { return paused_; }
  bool quit() const { return quit_; }

 private:
  enum class Screen { kOverview, kLoop };
  enum class Pane { kDurations, kWatchers, kDescriptors, kTurns, kFindings };
  enum class Prompt { kNone, kSearch, kFilter };

  /// A table that can be sorted, filtered, searched and moved in.
  struct List {
    const std::vector<Column>* columns = nullptr;
    std::size_t sort = 0;  // index into columns
    bool descending = true;
    std::string filter;
    Cursor cursor;
    std::vector<std::string> keys;  // of its rows, when last drawn
    std::size_t height = 1;         // rows in sight, when last drawn
  };

  // Keys.
  void press_prompt(const KeyPress& key);
  void press_menu(const KeyPress& key);
  void press_normal(const KeyPress& key);
  void press_letter(char letter);
  bool press_movement(const KeyPress& key);
  void open_prompt(Prompt prompt);
  void sort_by(std::size_t column);
  void step_sort(int by);
  void enter();
  void back();
  void step_pane(int by);
  void step_interval(int by);
  void search(bool again);
  List* list();
  std::vector<Pane> panes() const;
  /// Whether there is room for the durations beside every pane; else they are one.
  bool durations_beside() const { return height_ >= 20; }

  // Data.
  void refresh_rows();
  const snapshot::ProcessSnapshot* process() const;  // of the loop that is shown; null: gone
  const recording::LoopSnapshot* loop() const;
  Window window_of(const snapshot::ProcessSnapshot& process,
                   const recording::LoopSnapshot& loop) const;
  std::string row_text(std::size_t row) const;

  // Drawing: each returns lines of `width`.
  void draw_overview(Canvas& canvas);
  void draw_loop(Canvas& canvas);
  void draw_help(Canvas& canvas);
  void draw_menu(Canvas& canvas, std::size_t rows);
  void draw_bottom(Canvas& canvas);
  void draw_durations(Canvas& canvas, const recording::LoopSnapshot& loop, Window window);
  void draw_watchers(Canvas& canvas, std::size_t rows);
  void draw_descriptors(Canvas& canvas, std::size_t rows);
  void draw_turns(Canvas& canvas, const recording::LoopSnapshot& loop, std::size_t rows);
  void draw_findings(Canvas& canvas, std::size_t rows);
  /// Titles, if there is room for them, and the rows that are in sight of `size`.
  void draw_list(Canvas& canvas, List& list, const std::vector<Column>& columns,
                 const std::vector<std::size_t>& shown, std::size_t size, std::size_t rows,
                 const std::function<Cell(std::size_t, std::size_t)>& cell) const;
  Line headline() const;
  std::vector<Line> notes() const;
  Line titles(const List& list, const std::vector<std::size_t>& shown, std::size_t width) const;
  std::vector<Line> hint() const;

  DashboardOptions options_;
  double interval_;
  std::shared_ptr<const snapshot::HostSnapshot> host_;
  std::shared_ptr<const snapshot::HostSnapshot> before_;
  History history_;
  snapshot::CollectOptions had_;  // what host_ was asked for

  bool quit_ = false;
  bool paused_ = false;
  bool help_ = false;
  std::size_t help_first_ = 0;
  bool menu_ = false;
  std::size_t menu_at_ = 0;
  Prompt prompt_ = Prompt::kNone;
  std::string typed_;
  std::string searched_;
  bool not_found_ = false;

  Screen screen_ = Screen::kOverview;
  bool tree_ = false;
  bool ended_ = false;
  Window window_ = Window::kTenSeconds;
  bool opened_pid_ = false;  // of `top PID`: its only loop was opened
  LoopKey shown_;
  Pane pane_ = Pane::kWatchers;
  std::size_t height_ = 24;  // when last drawn

  List overview_, watchers_, descriptors_, turns_;
  std::size_t findings_first_ = 0;
  std::size_t findings_rows_ = 1;
  std::size_t findings_lines_ = 0;

  bool stale_ = true;  // the rows below are to be made anew
  Overview rows_;
  std::vector<WatcherWindow> watcher_rows_;
  std::vector<DescriptorRow> descriptor_rows_;
  std::vector<recording::Turn> turn_rows_;
};

/// The keys with what they do, and the columns of every table with what they mean.
std::vector<Line> help_lines();

}  // namespace loopscope::cli::top
