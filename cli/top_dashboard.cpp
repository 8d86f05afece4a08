// SPDX-License-Identifier: Apache-2.0
//
// What keys do, and what is kept from one snapshot to the next. Drawing is in top_draw*.cpp.
#include "cli/top_dashboard.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::cli::top {
namespace {

using recording::LoopSnapshot;
using snapshot::ProcessSnapshot;

/// Of a loop's recent turns so many are looked through for slow ones, and shown.
constexpr std::size_t kRecentTurns = 4096;
constexpr std::size_t kShownTurns = 200;

/// Steps of + and -, in seconds. The shortest asks for two snapshots a second.
constexpr double kIntervals[] = {0.5, 1, 2, 5, 10, 30, 60};

void append_utf8(std::string& text, char32_t character) {
  if (character < 0x80) {
    text += static_cast<char>(character);
  } else if (character < 0x800) {
    text += static_cast<char>(0xC0 | character >> 6);
    text += static_cast<char>(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    text += static_cast<char>(0xE0 | character >> 12);
    text += static_cast<char>(0x80 | (character >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (character & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | character >> 18);
    text += static_cast<char>(0x80 | (character >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (character >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (character & 0x3F));
  }
}

void remove_last_character(std::string& text) {
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
  if (!text.empty()) text.pop_back();
}

const ProcessSnapshot* find_process(const snapshot::HostSnapshot* host, const std::string& id) {
  if (host == nullptr) return nullptr;
  const auto found = std::find_if(host->processes.begin(), host->processes.end(),
                                  [&](const ProcessSnapshot& one) { return one.id() == id; });
  return found != host->processes.end() ? &*found : nullptr;
}

}  // namespace

Dashboard::Dashboard(DashboardOptions options)
    : options_(std::move(options)), interval_(options_.interval_seconds) {
  overview_.columns = &overview_columns();
  overview_.sort = overview_column::kUtilization;
  watchers_.columns = &watcher_columns();
  watchers_.sort = 3;  // SHARE
  descriptors_.columns = &descriptor_columns();
  descriptors_.sort = 0;  // FD
  descriptors_.descending = false;
  turns_.columns = &turn_columns();
  turns_.sort = 1;  // BUSY
  if (options_.pid) ended_ = true;
}

void Dashboard::update(snapshot::HostSnapshot host, std::uint64_t monotonic_ns) {
  had_ = wanted();
  before_ = std::move(host_);
  host_ = std::make_shared<const snapshot::HostSnapshot>(std::move(host));
  history_.add(*host_, monotonic_ns);
  stale_ = true;
  // `top PID` is about that process: what there is to choose from is chosen.
  if (options_.pid && !opened_pid_) {
    refresh_rows();
    const auto is_loop = [](const Row& row) { return row.loop != nullptr; };
    if (std::count_if(rows_.rows.begin(), rows_.rows.end(), is_loop) == 1) {
      shown_ = std::find_if(rows_.rows.begin(), rows_.rows.end(), is_loop)->key;
      screen_ = Screen::kLoop;
      opened_pid_ = true;
      stale_ = true;
    }
  }
}

snapshot::CollectOptions Dashboard::wanted() const {
  snapshot::CollectOptions options;
  options.pid = options_.pid;
  options.recent = screen_ == Screen::kLoop && pane_ == Pane::kTurns ? kRecentTurns : 0;
  options.descriptors = screen_ == Screen::kLoop && pane_ == Pane::kDescriptors;
  return options;
}

bool Dashboard::wants_now() const {
  const snapshot::CollectOptions options = wanted();
  return !paused_ && ((options.descriptors && !had_.descriptors) || options.recent > had_.recent);
}

const ProcessSnapshot* Dashboard::process() const {
  return find_process(host_.get(), shown_.process);
}

const LoopSnapshot* Dashboard::loop() const {
  const ProcessSnapshot* shown = process();
  if (shown == nullptr) return nullptr;
  const auto& loops = shown->recording.loops;
  const auto found = std::find_if(loops.begin(), loops.end(), [&](const LoopSnapshot& one) {
    return one.id == shown_.loop && one.generation == shown_.generation;
  });
  return found != loops.end() ? &*found : nullptr;
}

Window Dashboard::window_of(const ProcessSnapshot& process, const LoopSnapshot& loop) const {
  // Nothing happens any more to what has ended: there is only its whole life.
  const bool over = loop.ended || process.recording.life != recording::Life::kRunning;
  return over ? Window::kLife : window_;
}

void Dashboard::refresh_rows() {
  if (!stale_ || host_ == nullptr) return;
  stale_ = false;
  if (screen_ == Screen::kOverview) {
    OverviewOptions options;
    options.window = window_;
    options.sort = overview_sort(overview_.sort);
    options.descending = overview_.descending;
    options.tree = tree_;
    options.filter = overview_.filter;
    options.ended = ended_;
    rows_ = overview(*host_, history_, options);
    overview_.keys.clear();
    for (const Row& row : rows_.rows) {
      overview_.keys.push_back(key_text(row.key) + (row.loop == nullptr ? "p" : ""));
    }
    return;
  }
  const ProcessSnapshot* shown = process();
  const LoopSnapshot* one = loop();
  watcher_rows_.clear();
  descriptor_rows_.clear();
  turn_rows_.clear();
  if (one == nullptr) return;
  watcher_rows_ = history_.watchers(shown_, *one, window_of(*shown, *one));
  arrange(watcher_rows_, watcher_sort(watchers_.sort), watchers_.descending, watchers_.filter);
  watchers_.keys.clear();
  for (const WatcherWindow& row : watcher_rows_) {
    watchers_.keys.push_back(std::string(findings::watcher_kind_name(row.watcher->kind)) + " " +
                             row.watcher->name);
  }
  if (pane_ == Pane::kDescriptors) {
    const auto interval = history_.interval_seconds();
    descriptor_rows_ = descriptor_rows(*shown, find_process(before_.get(), shown_.process),
                                       interval.value_or(0), descriptor_sort(descriptors_.sort),
                                       descriptors_.descending, descriptors_.filter);
    descriptors_.keys.clear();
    for (const DescriptorRow& row : descriptor_rows_) {
      descriptors_.keys.push_back(std::to_string(row.descriptor->record.fd));
    }
  }
  if (pane_ == Pane::kTurns) {
    // The slowest of them, in whatever order.
    std::vector<recording::Turn> slowest = one->recent;
    const auto slower = [](const recording::Turn& a, const recording::Turn& b) {
      return a.busy_ns > b.busy_ns;
    };
    const std::size_t shown_turns = std::min(kShownTurns, slowest.size());
    std::partial_sort(slowest.begin(), slowest.begin() + static_cast<std::ptrdiff_t>(shown_turns),
                      slowest.end(), slower);
    slowest.resize(shown_turns);
    std::stable_sort(slowest.begin(), slowest.end(),
                     [&](const recording::Turn& a, const recording::Turn& b) {
                       return turns_.descending ? turn_before(b, a, turns_.sort)
                                                : turn_before(a, b, turns_.sort);
                     });
    turns_.keys.clear();
    for (const recording::Turn& turn : slowest) {
      const Cell callback = turn_cell(*one, turn, turn_columns().size() - 1);
      if (!contains(callback.text, turns_.filter)) continue;
      turns_.keys.push_back(std::to_string(turn.turn));
      turn_rows_.push_back(turn);
    }
  }
}

std::vector<Dashboard::Pane> Dashboard::panes() const {
  std::vector<Pane> all = {Pane::kWatchers, Pane::kDescriptors, Pane::kTurns, Pane::kFindings};
  if (!durations_beside()) all.insert(all.begin(), Pane::kDurations);
  return all;
}

Dashboard::List* Dashboard::list() {
  if (screen_ == Screen::kOverview) return &overview_;
  switch (pane_) {
    case Pane::kWatchers:
      return &watchers_;
    case Pane::kDescriptors:
      return &descriptors_;
    case Pane::kTurns:
      return &turns_;
    case Pane::kDurations:
    case Pane::kFindings:
      break;
  }
  return nullptr;
}

std::string Dashboard::row_text(std::size_t row) const {
  if (screen_ == Screen::kOverview) {
    const Row& found = rows_.rows[row];
    return std::to_string(found.process->recording.pid) + " " + found.name;
  }
  switch (pane_) {
    case Pane::kWatchers:
      return watchers_.keys[row];
    case Pane::kDescriptors: {
      const DescriptorRow& found = descriptor_rows_[row];
      return std::to_string(found.descriptor->record.fd) + " " +
             process::descriptor_kind_name(found.descriptor->record.kind) + " " + found.what;
    }
    case Pane::kTurns: {
      const LoopSnapshot* one = loop();
      if (one == nullptr) return {};
      return turns_.keys[row] + " " +
             turn_cell(*one, turn_rows_[row], turn_columns().size() - 1).text;
    }
    case Pane::kDurations:
    case Pane::kFindings:
      break;
  }
  return {};
}

// --- keys
// -----------------------------------------------------------------------------------------

void Dashboard::press(const KeyPress& key) {
  if (key.key == Key::kNone) return;
  refresh_rows();
  if (prompt_ != Prompt::kNone) {
    press_prompt(key);
  } else if (help_) {
    if (key.key == Key::kUp || key.key == Key::kPageUp) {
      const std::size_t by = key.key == Key::kUp ? 1 : height_;
      help_first_ -= std::min(by, help_first_);
    } else if (key.key == Key::kDown || key.key == Key::kPageDown) {
      help_first_ += key.key == Key::kDown ? 1 : height_;  // within bounds when drawn
    } else {
      help_ = false;
      if (key.key == Key::kFunction && key.function == 10) quit_ = true;
    }
  } else if (menu_) {
    press_menu(key);
  } else {
    press_normal(key);
  }
}

void Dashboard::press_prompt(const KeyPress& key) {
  List* const in = list();
  const bool filter = prompt_ == Prompt::kFilter;
  if (in == nullptr) {
    prompt_ = Prompt::kNone;
    return;
  }
  switch (key.key) {
    case Key::kCharacter:
      if (key.character < U' ' || key.character == 127) return;
      append_utf8(typed_, key.character);
      break;
    case Key::kBackspace:
      remove_last_character(typed_);
      break;
    case Key::kEnter:
      prompt_ = Prompt::kNone;
      return;
    case Key::kEscape:
      prompt_ = Prompt::kNone;
      if (filter) {
        in->filter.clear();
        stale_ = true;
      }
      return;
    case Key::kFunction:
      if (!filter && key.function == 3) search(true);
      if (key.function == 10) quit_ = true;
      return;
    default:
      // Whoever moves on has typed enough.
      prompt_ = Prompt::kNone;
      press_normal(key);
      return;
  }
  if (filter) {
    in->filter = typed_;
    stale_ = true;
  } else {
    searched_ = typed_;
    search(false);
  }
}

void Dashboard::search(bool again) {
  List* const in = list();
  not_found_ = false;
  if (in == nullptr || searched_.empty()) return;
  refresh_rows();
  const std::size_t rows = in->keys.size();
  const std::size_t from = in->cursor.index + (again ? 1 : 0);
  for (std::size_t i = 0; i < rows; ++i) {
    const std::size_t row = (from + i) % rows;
    if (!contains(row_text(row), searched_)) continue;
    in->cursor.index = row;
    in->cursor.key = in->keys[row];
    return;
  }
  not_found_ = true;
}

void Dashboard::open_prompt(Prompt prompt) {
  const List* const in = list();
  if (in == nullptr) return;
  prompt_ = prompt;
  not_found_ = false;
  typed_ = prompt == Prompt::kFilter ? in->filter : std::string();
}

void Dashboard::press_menu(const KeyPress& key) {
  const List* const in = list();
  if (in == nullptr) {
    menu_ = false;
    return;
  }
  const std::size_t last = in->columns->size() - 1;
  switch (key.key) {
    case Key::kUp:
      menu_at_ -= menu_at_ != 0 ? 1 : 0;
      break;
    case Key::kDown:
      menu_at_ = std::min(menu_at_ + 1, last);
      break;
    case Key::kHome:
    case Key::kPageUp:
      menu_at_ = 0;
      break;
    case Key::kEnd:
    case Key::kPageDown:
      menu_at_ = last;
      break;
    case Key::kEnter:
      menu_ = false;
      sort_by(menu_at_);
      break;
    default:
      menu_ = false;
      if (key.key == Key::kFunction && key.function == 10) quit_ = true;
      break;
  }
}

void Dashboard::sort_by(std::size_t column) {
  List* const in = list();
  if (in == nullptr || column >= in->columns->size()) return;
  // The same again turns it round, as a click on a table's head does elsewhere.
  in->descending = in->sort == column ? !in->descending : (*in->columns)[column].descending;
  in->sort = column;
  stale_ = true;
}

void Dashboard::step_sort(int by) {
  const List* const in = list();
  if (in == nullptr) return;
  const auto count = static_cast<int>(in->columns->size());
  int column = static_cast<int>(in->sort);
  do {
    column = (column + by + count) % count;
  } while ((*in->columns)[static_cast<std::size_t>(column)].title[0] == '\0');
  sort_by(static_cast<std::size_t>(column));
}

void Dashboard::step_pane(int by) {
  if (screen_ != Screen::kLoop) return;
  const std::vector<Pane> all = panes();
  const auto count = static_cast<int>(all.size());
  const auto found = std::find(all.begin(), all.end(), pane_);
  const int at = found != all.end() ? static_cast<int>(found - all.begin()) : 0;
  pane_ = all[static_cast<std::size_t>((at + by + count) % count)];
  stale_ = true;
}

void Dashboard::step_interval(int by) {
  if (by > 0) {
    const auto* next = std::find_if(std::begin(kIntervals), std::end(kIntervals),
                                    [this](double one) { return one > interval_ * 1.001; });
    if (next != std::end(kIntervals)) interval_ = *next;
  } else {
    const auto next = std::find_if(std::rbegin(kIntervals), std::rend(kIntervals),
                                   [this](double one) { return one < interval_ * 0.999; });
    if (next != std::rend(kIntervals)) interval_ = *next;
  }
}

void Dashboard::enter() {
  if (screen_ != Screen::kOverview || overview_.keys.empty()) return;
  const std::size_t at = std::min(overview_.cursor.index, rows_.rows.size() - 1);
  const Row& row = rows_.rows[at];
  if (row.loop != nullptr) {
    shown_ = row.key;
  } else {
    // A process: its busiest loop, which is the first below it.
    const auto found = std::find_if(rows_.rows.begin(), rows_.rows.end(), [&](const Row& other) {
      return other.loop != nullptr && other.process == row.process;
    });
    if (found == rows_.rows.end()) return;
    shown_ = found->key;
  }
  screen_ = Screen::kLoop;
  watchers_.cursor.home();
  descriptors_.cursor.home();
  turns_.cursor.home();
  watchers_.filter.clear();
  descriptors_.filter.clear();
  turns_.filter.clear();
  findings_first_ = 0;
  stale_ = true;
}

void Dashboard::back() {
  not_found_ = false;
  if (screen_ == Screen::kLoop) {
    screen_ = Screen::kOverview;
    opened_pid_ = true;
    stale_ = true;
  } else if (!overview_.filter.empty()) {
    overview_.filter.clear();
    stale_ = true;
  }
}

bool Dashboard::press_movement(const KeyPress& key) {
  std::ptrdiff_t by = 0;
  List* const in = list();
  const auto page = static_cast<std::ptrdiff_t>(in != nullptr ? in->height : findings_rows_);
  const std::ptrdiff_t far = 1 << 30;
  switch (key.key) {
    case Key::kUp:
      by = -1;
      break;
    case Key::kDown:
      by = 1;
      break;
    case Key::kPageUp:
      by = -page;
      break;
    case Key::kPageDown:
      by = page;
      break;
    case Key::kHome:
      by = -far;
      break;
    case Key::kEnd:
      by = far;
      break;
    default:
      return false;
  }
  if (in == nullptr) {
    if (pane_ == Pane::kFindings) {
      const auto last = static_cast<std::ptrdiff_t>(
          findings_lines_ > findings_rows_ ? findings_lines_ - findings_rows_ : 0);
      findings_first_ = static_cast<std::size_t>(
          std::clamp(static_cast<std::ptrdiff_t>(findings_first_) + by, std::ptrdiff_t{0}, last));
    }
  } else if (key.key == Key::kHome) {
    in->cursor.home();
  } else {
    in->cursor.move(in->keys, by);
  }
  return true;
}

void Dashboard::press_normal(const KeyPress& key) {
  if (press_movement(key)) return;
  switch (key.key) {
    case Key::kEnter:
      enter();
      return;
    case Key::kEscape:
    case Key::kBackspace:
      back();
      return;
    case Key::kTab:
    case Key::kRight:
      step_pane(1);
      return;
    case Key::kBackTab:
    case Key::kLeft:
      step_pane(-1);
      return;
    case Key::kFunction:
      switch (key.function) {
        case 1:
          press_letter('h');
          return;
        case 3:
          press_letter('/');
          return;
        case 4:
          press_letter('\\');
          return;
        case 5:
          press_letter('t');
          return;
        case 6:
          if (const List* const in = list(); in != nullptr) {
            menu_ = true;
            menu_at_ = in->sort;
          }
          return;
        case 10:
          quit_ = true;
          return;
        default:
          return;
      }
    case Key::kCharacter:
      if (key.character < 128) press_letter(static_cast<char>(key.character));
      return;
    default:
      return;
  }
}

void Dashboard::press_letter(char letter) {
  switch (letter) {
    case 'q':
      quit_ = true;
      return;
    case 'h':
    case '?':
      help_ = true;
      help_first_ = 0;
      return;
    case '/':
      open_prompt(Prompt::kSearch);
      return;
    case '\\':
      open_prompt(Prompt::kFilter);
      return;
    case 'n':
      search(true);
      return;
    case 't':
      if (screen_ == Screen::kOverview) tree_ = !tree_;
      stale_ = true;
      return;
    case 'e':
      ended_ = !ended_;
      stale_ = true;
      return;
    case 'w':
      window_ = static_cast<Window>((static_cast<int>(window_) + 1) % 4);
      stale_ = true;
      return;
    case ' ':
    case 'Z':
      paused_ = !paused_;
      return;
    case '+':
    case '=':
      step_interval(1);
      return;
    case '-':
      step_interval(-1);
      return;
    case '<':
    case ',':
      step_sort(-1);
      return;
    case '>':
    case '.':
      step_sort(1);
      return;
    default:
      break;
  }
  List* const in = list();
  if (in == nullptr) return;
  if (letter == 'R') {
    in->descending = !in->descending;
    stale_ = true;
    return;
  }
  const auto& all = *in->columns;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (letter == all[i].key && letter != 0) sort_by(i);
  }
}

}  // namespace loopscope::cli::top
