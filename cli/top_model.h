// SPDX-License-Identifier: Apache-2.0
//
// What `loopscope top` shows, without a terminal: what happened to each loop within the last
// interval, ten seconds, hundred seconds or ever, as differences of snapshots; and the rows of its
// tables, sorted and filtered.
//
// Thread-safety: plain values. Cost: adding a snapshot copies each loop (a few kB); rows point into
// the snapshot they were made from.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli::top {

/// Since when things are counted.
enum class Window { kInterval, kTenSeconds, kHundredSeconds, kLife };

/// "last interval", "10 s", "100 s", "since start".
const char* window_name(Window window) noexcept;

/// A loop among all of a host, as long as it lives. A slot that was given to a later loop has
/// another generation.
struct LoopKey {
  std::string process;  // ProcessSnapshot::id()
  std::uint32_t loop = 0;
  std::uint64_t generation = 0;
  auto operator<=>(const LoopKey&) const = default;
};

/// What was recorded in `now` and not yet in `before`, an earlier copy of the same histogram. Its
/// min and max are those of its buckets, at most 3.2 % off, unless the copies know better.
recording::Histogram difference(const recording::Histogram& now,
                                const recording::Histogram& before);

/// The busy share of what passed between two copies of a loop; none if nothing did.
std::optional<double> utilization_between(const recording::LoopSnapshot& now,
                                          const recording::LoopSnapshot& before);

/// What happened in one window.
struct LoopWindow {
  double seconds = 0;        // how long it is
  bool since_start = false;  // it is the loop's whole life
  std::uint64_t turns = 0;
  std::uint64_t stalls = 0;
  std::uint64_t busy_ns = 0;  // with the turn in progress
  std::optional<double> utilization;
  std::optional<double> turns_per_second;
  std::optional<double> ready_per_turn;  // none if the source does not see it
  recording::Histogram poll_wait, busy, poll_delay, timer_lag, ready;
};

/// A watcher's part of one window.
struct WatcherWindow {
  const recording::WatcherSnapshot* watcher = nullptr;
  std::uint64_t ns = 0;  // in its callbacks, with one that runs now
  std::optional<double> calls_per_second;
  std::optional<double> share;  // of the loop's busy time
  recording::Histogram callback;
  std::optional<recording::Histogram> lag;
};

/// The last hundred seconds, in steps: every copy would be too many.
class History {
 public:
  /// `monotonic_ns`: when it was taken. Loops that are not in it are forgotten.
  void add(const snapshot::HostSnapshot& host, std::uint64_t monotonic_ns);

  /// What happened to a loop of the newest snapshot. A loop that is younger than the window has
  /// lived in it: `since_start`. One that is older than what has been watched: since the first
  /// snapshot, which `seconds` says; if that is the only one, its whole life.
  LoopWindow loop(const LoopKey& key, const recording::LoopSnapshot& now, Window window) const;
  std::optional<double> utilization(const LoopKey& key, const recording::LoopSnapshot& now,
                                    Window window) const;
  /// Parallel to now.watchers.
  std::vector<WatcherWindow> watchers(const LoopKey& key, const recording::LoopSnapshot& now,
                                      Window window) const;

  /// Whether a process that is in the newest snapshot was running in it or an earlier one.
  bool seen_running(const std::string& process) const { return running_.contains(process); }

  /// How far apart the last two snapshots are; none before the second.
  std::optional<double> interval_seconds() const;

 private:
  struct Sample {
    std::uint64_t at_ns = 0;  // CLOCK_MONOTONIC
    std::shared_ptr<const recording::LoopSnapshot> loop;
  };
  struct Base {
    const recording::LoopSnapshot* loop = nullptr;  // null: since the loop's start
    double seconds = 0;
  };
  Base base(const LoopKey& key, const recording::LoopSnapshot& now, Window window) const;

  std::map<LoopKey, std::deque<Sample>> loops_;
  std::set<std::string> running_;
  std::uint64_t newest_ns_ = 0;
  std::uint64_t previous_ns_ = 0;
  std::uint64_t newest_realtime_ns_ = 0;
};

// --- the overview
// ---------------------------------------------------------------------------------

/// What a loop, or a process without one, is doing; the worse the later.
enum class State {
  kNoLoop,
  kPolling,
  kDispatching,
  kOutside,
  kStopped,  // the process is, by a signal
  kStalled,
  kExecuted,
  kEnded,  // the loop, while its process lives
  kExited,
  kKilled,
};

/// A line of the overview: a loop, or a process (one without loops; in a tree, every one).
struct Row {
  const snapshot::ProcessSnapshot* process = nullptr;
  const recording::LoopSnapshot* loop = nullptr;  // null: the process
  LoopKey key;                                    // of a process: its id, loop and generation 0
  bool child = false;                             // in a tree, below its process
  bool over = false;                              // nothing will happen to it any more
  State state = State::kNoLoop;
  std::string name;
  // Of a process they are the busiest loop's, or the sum: to sort by, not to be shown.
  std::optional<double> utilization, utilization_10, utilization_100;
  std::optional<double> turns_per_second, ready_per_turn;
  std::optional<std::uint64_t> busy_p50, busy_p99, lag_p99;
  std::optional<std::uint64_t> open_fds, fd_limit;
  std::size_t findings = 0;
  findings::Severity worst = findings::Severity::kInfo;
};

enum class Sort {
  kPid,
  kState,
  kUtilization,
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

struct OverviewOptions {
  Window window = Window::kTenSeconds;
  Sort sort = Sort::kUtilization;
  bool descending = true;
  bool tree = false;
  std::string filter;  // part of pid, command, arguments or loop name; case does not matter
  /// Also processes that had ended before the history began.
  bool ended = false;
};

struct Overview {
  std::vector<Row> rows;
  std::size_t left_out = 0;  // processes that had ended before
};

/// Rows of `host`, which must outlive them.
Overview overview(const snapshot::HostSnapshot& host, const History& history,
                  const OverviewOptions& options);

/// Whether a finding is about this loop of its process.
bool is_about(const findings::Finding& finding, const snapshot::ProcessSnapshot& process,
              const recording::LoopSnapshot& loop);

/// The worst finding, and whose it is; null: none. Of equals the first.
std::pair<const findings::Finding*, const snapshot::ProcessSnapshot*> worst_finding(
    const snapshot::HostSnapshot& host);

State loop_state(const snapshot::ProcessSnapshot& process, const recording::LoopSnapshot& loop);
State process_state(const snapshot::ProcessSnapshot& process);

// --- one loop's descriptors
// -----------------------------------------------------------------------

struct DescriptorRow {
  const snapshot::Descriptor* descriptor = nullptr;
  std::optional<std::uint64_t> age_ns, idle_ns;
  std::optional<double> events_per_second;  // since the snapshot before
  std::string what;                         // addresses, path or name
};

enum class DescriptorSort {
  kFd,
  kKind,
  kAge,
  kIdle,
  kEvents,
  kRate,
  kShare,
  kIoCalls,
  kEpoll,
  kWhat
};

/// The open descriptors of `process`. `before`: the same process in the snapshot before, `seconds`
/// earlier; null: none, or not listed there.
std::vector<DescriptorRow> descriptor_rows(const snapshot::ProcessSnapshot& process,
                                           const snapshot::ProcessSnapshot* before, double seconds,
                                           DescriptorSort sort, bool descending,
                                           const std::string& filter);

enum class WatcherSort { kCalls, kShare, kP50, kP99, kMax, kLag, kFd, kKind, kName };

/// Sorts and filters what History::watchers gave.
void arrange(std::vector<WatcherWindow>& watchers, WatcherSort sort, bool descending,
             const std::string& filter);

/// Whether `text` contains `part`, whatever the case of ASCII letters; an empty part is everywhere.
bool contains(const std::string& text, const std::string& part);

// --- a cursor in a list that changes
// --------------------------------------------------------------

/// Follows its row wherever it moves; if that is gone, what took its place is selected. Before it
/// was moved, and after home(), it stays on the first row, whichever that is.
struct Cursor {
  std::string key;        // empty: it follows none
  std::size_t index = 0;  // where it was last
  std::size_t first = 0;  // first row in sight

  /// The list is `keys` now, of which `height` rows are in sight: finds the row and keeps it in
  /// sight.
  void follow(const std::vector<std::string>& keys, std::size_t height);
  /// `rows` further, within the list.
  void move(const std::vector<std::string>& keys, std::ptrdiff_t rows);
  void home() { *this = Cursor(); }
};

std::string key_text(const LoopKey& key);

}  // namespace loopscope::cli::top
