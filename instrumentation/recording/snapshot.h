// SPDX-License-Identifier: Apache-2.0
//
// What a recording says at one moment: plain values, no pointer into it. Everything downstream
// (findings, JSON, metrics, the command) works on these.
//
// Units: nanoseconds where a name ends in _ns; instants are CLOCK_REALTIME. Copies may be shared
// between threads as any value.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/layout.h"

namespace loopscope::recording {

/// A histogram as (bucket index, count) pairs in rising order, none empty.
struct Histogram {
  enum class Scale { kTime, kCount };

  Scale scale = Scale::kTime;
  std::uint64_t count = 0;
  std::uint64_t sum = 0;  // exact: ns or events
  std::uint64_t min = 0;  // exact; meaningless while count is 0
  std::uint64_t max = 0;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> buckets;

  /// Value below which the share `p` (0 … 1) of the recorded values lies, in ns or events: the
  /// middle of the bucket it falls in, so at most 1.6 % off, never outside [min, max]. 0 for an
  /// empty histogram.
  double quantile(double p) const;

  /// How many recorded values are <= 2^k µs (times) or 2^k (counts): exact, see histogram.h.
  std::uint64_t count_up_to_power(unsigned k) const;

  /// Upper bound of a bucket of this histogram: seconds for times, events for counts.
  double upper_bound(std::uint32_t index) const;

  void add(std::uint64_t value);  // used to fold the turn in progress in; keeps `buckets` sorted
};

/// A stretch of a turn's busy part: one watcher's callback ran, or one descriptor was served.
struct Served {
  std::uint32_t watcher = 0;  // index into LoopSnapshot::watchers + 1; 0: a descriptor, or no name
  std::int32_t fd = -1;       // -1: a watcher
  DescriptorKind kind = DescriptorKind::kOther;  // of the descriptor, as it was then
  std::uint8_t generation = 0;                   // low bits of its generation then
  std::optional<bool> gone;    // of a descriptor: it is not what has that number now; none: unknown
  std::uint64_t start_ns = 0;  // since the wait's return
  std::uint64_t ns = 0;
};

struct Turn {
  std::uint64_t turn = 0;
  std::uint64_t at_ns = 0;  // CLOCK_REALTIME at the wait's return
  std::uint64_t poll_ns = 0;
  std::uint64_t busy_ns = 0;
  std::int64_t timeout_ns = kTimeoutUnknown;
  std::int32_t ready = kReadyUnknown;
  WaitResult result = WaitResult::kEvents;
  std::uint32_t watcher = 0;  // index into LoopSnapshot::watchers + 1; 0: none
  std::uint64_t watcher_ns = 0;
  /// LoopSnapshot::served[served_first …), so many, in order; kNoServed: not known or not asked
  /// for.
  std::uint32_t served_first = kNoServed;
  std::uint32_t served_count = 0;
  std::uint32_t served_lost = 0;  // so many more there were, before those that are given
  static constexpr std::uint32_t kNoServed = ~0u;
};

struct WatcherSnapshot {
  std::string name;
  WatcherKind kind = WatcherKind::kIo;
  std::int32_t active = 0;
  std::int32_t fd = -1;
  Histogram callback;
  std::optional<Histogram> lag;
};

/// The longest turn of a loop so far. The descriptor is the one that took most of its time.
struct WorstTurn {
  std::uint64_t turn = 0;
  std::uint64_t at_ns = 0;  // CLOCK_REALTIME at the wait's return
  std::uint64_t busy_ns = 0;
  std::int32_t ready = kReadyUnknown;
  std::uint32_t watcher = 0;  // index into LoopSnapshot::watchers + 1; 0: none
  std::uint64_t watcher_ns = 0;
  std::int32_t served_fd = -1;
  std::uint64_t served_ns = 0;
  std::optional<std::size_t> served_site;  // index into Ledger::sites
};

struct WorstLag {
  std::uint64_t lag_ns = 0;
  std::uint64_t at_ns = 0;    // CLOCK_REALTIME
  std::uint32_t watcher = 0;  // likewise
};

struct LoopSnapshot {
  std::uint32_t id =
      0;  // stable while the process lives, unless the slot was given to a later loop
  std::uint64_t generation = 0;
  std::string name;
  std::string backend;
  bool ended = false;
  std::int32_t thread_id = 0;
  std::int32_t epoll_fd = -1;
  bool used_after_fork = false;
  std::uint64_t started_ns = 0;  // CLOCK_REALTIME

  // Waits that returned, including the one that began the turn in progress.
  std::uint64_t iterations = 0;
  std::uint64_t ready_events = 0;
  std::uint64_t nonblocking = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t interrupted = 0;
  std::uint64_t errors = 0;
  std::uint64_t saturated = 0;
  std::uint64_t ready_unknown = 0;
  std::uint64_t spins = 0;
  std::uint64_t backend_rebuilds = 0;
  std::uint64_t outside_ns = 0;

  std::uint64_t stall_threshold_ns = 0;
  std::uint64_t stalls = 0;      // finished ones and the one in progress
  std::uint64_t stalled_ns = 0;  // age of the stall in progress, else 0

  Phase phase = Phase::kOutside;
  std::uint64_t phase_ns = 0;  // how long already; for a process that is gone: how long until its
                               // last sign of life is unknown, 0
  std::uint32_t running_watcher = 0;  // index + 1
  std::uint64_t running_watcher_ns = 0;
  std::optional<std::int32_t> current_ready;  // while a turn is in progress

  Histogram poll_wait;
  Histogram busy;  // finished turns only
  Histogram ready;
  Histogram poll_delay;
  Histogram timer_lag;

  std::vector<Turn> recent;       // oldest first
  std::uint64_t recent_lost = 0;  // turns between the cursor asked for and the first in `recent`
  std::uint32_t ring_turns = 0;
  /// What was served in the turns of `recent`; null unless asked for (ReadOptions::served) and
  /// known. Shared, because it is large and a snapshot is copied for each of its readers.
  std::shared_ptr<const std::vector<Served>> served;
  /// 0: all of the above is one exact cut. Else so many turns at most may be missing, ahead, or
  /// counted twice in any one of the values.
  std::uint64_t skew_turns = 0;

  std::vector<WatcherSnapshot> watchers;

  std::optional<WorstTurn> worst_turn;  // finished ones
  std::optional<WorstLag> worst_lag;
};

/// One descriptor as the ledger knows it. Its texts (`target`, `local`, `peer`) are there if they
/// were asked for: ReadOptions::details.
struct FdRecord {
  std::int32_t fd = -1;
  std::uint32_t generation = 0;  // odd: open, as far as was seen
  DescriptorKind kind = DescriptorKind::kOther;
  FdOrigin origin = FdOrigin::kUnknown;
  bool close_on_exec = false;
  bool non_blocking = false;
  bool listening = false;
  bool accepted = false;
  bool read_end = false;
  bool write_end = false;
  bool append = false;  // opened with O_APPEND
  bool locked = false;  // holds a file lock
  std::int32_t registered_epoll_fd = -1;
  std::uint32_t registered_events = 0;
  std::uint64_t events = 0;       // waits that returned it
  std::uint64_t io_calls = 0;     // modulo 2^32
  std::uint64_t activity_ns = 0;  // CLOCK_REALTIME; 0: none
  std::uint64_t busy_ns = 0;
  std::uint64_t opened_ns = 0;  // CLOCK_REALTIME; 0: not seen
  std::int32_t thread_id = 0;   // that opened it; 0: not seen
  std::int32_t pair_fd = -1;
  std::string target;               // path, name; may be cut at its front
  std::string local;                // "127.0.0.1:80", "[::1]:80"
  std::string peer;                 // likewise
  std::optional<std::size_t> site;  // index into Ledger::sites
  // By the census at the process' end, see Ledger::end_census.
  std::uint64_t peer_closed_ns = 0;  // for how long its peer had closed; 0: it had not, or unknown
  bool thread_ended = false;         // the thread that opened it was gone
};

/// A number that was closed and not opened again since, where the closes are noted.
struct ClosedFd {
  FdRecord fd;                            // `generation` is even; what it was, with its texts
  std::uint64_t closed_ns = 0;            // CLOCK_REALTIME
  std::int32_t close_thread_id = 0;       // 0: unknown
  std::optional<std::size_t> close_site;  // index into Ledger::sites
};

/// A code address that can be symbolised after the process is gone.
struct SiteFrame {
  std::uint64_t address = 0;  // as it was in the process
  std::optional<std::size_t>
      module;                // index into Ledger::modules; none: in no file (generated code)
  std::uint64_t offset = 0;  // in the module's own address space; 0 without module
};

/// A line of a script that an interpreter was executing.
struct ScriptFrame {
  std::string function;
  std::string file;
  std::uint32_t line = 0;
};

struct SiteRecord {
  SiteRole role = SiteRole::kOpen;
  DescriptorKind kind = DescriptorKind::kOther;  // of SiteRole::kOpen
  std::uint64_t opened = 0;
  std::uint64_t closed = 0;
  std::uint64_t peak = 0;
  std::uint64_t first_ns = 0;  // CLOCK_REALTIME
  std::uint64_t last_ns = 0;
  std::vector<SiteFrame> frames;     // return addresses, innermost first
  std::vector<ScriptFrame> scripts;  // innermost first; they called the innermost of `frames`
};

/// See layout.h: all incidents of one kind between the same places.
struct IncidentRecord {
  IncidentKind kind = IncidentKind::kDoubleClose;
  DescriptorKind descriptor_kind = DescriptorKind::kOther;
  std::string call;  // that failed
  std::uint64_t count = 0;
  std::uint32_t consecutive = 0;
  std::int32_t fd = -1;  // of the first
  std::int32_t last_fd = -1;
  std::int32_t thread_id = 0;
  std::int32_t close_thread_id = 0;  // 0: unknown
  // CLOCK_REALTIME; 0: unknown.
  std::uint64_t first_ns = 0;
  std::uint64_t last_ns = 0;
  std::uint64_t opened_ns = 0;
  std::uint64_t closed_ns = 0;
  // Index into Ledger::sites.
  std::optional<std::size_t> site;
  std::optional<std::size_t> close_site;
  std::optional<std::size_t> open_site;
};

struct ModuleRecord {
  std::string path;
  bool executable = false;  // the program's own file
  std::vector<std::uint8_t> build_id;
  /// Set in recordings of other users (is_foreign): the path is one that they chose, and is to be
  /// opened with no more rights than theirs.
  std::optional<std::uint32_t> as_user;
};

/// Births and deaths of descriptors, from a source that sees them.
struct Ledger {
  std::uint64_t open = 0;  // by the ledger's own count; the kernel's may differ
  std::uint64_t peak = 0;
  std::uint64_t inherited = 0;
  std::uint64_t met = 0;
  std::uint64_t lost = 0;
  std::uint64_t bad_closes = 0;
  std::uint64_t accepts = 0;
  std::uint64_t opened[kDescriptorKinds] = {};
  std::uint64_t closed[kDescriptorKinds] = {};
  std::vector<FdRecord> fds;  // open by the ledger, rising
  /// Rising. Only with ReadOptions::details, and where closes are noted.
  std::vector<ClosedFd> closed_fds;
  /// FdRecord::site counts them. One that never opened anything (`opened` 0) is a place in the
  /// table that is not in use.
  std::vector<SiteRecord> sites;
  std::vector<ModuleRecord> modules;
  std::vector<IncidentRecord> incidents;
  /// As the process ended (or called exec) `fds` was compared with the kernel's.
  bool end_census = false;
};

/// kExecuted: the process lives and runs another program, which has a recording of its own or none.
enum class Life { kRunning, kExited, kKilled, kExecuted };

/// Failures of one system call that loopscope made for itself, with one errno.
struct OwnFailures {
  OwnCall call = OwnCall::kOther;  // kOther: more kinds than there is room for, of any errno
  int error = 0;
  std::uint64_t failed = 0;   // given up
  std::uint64_t retried = 0;  // made again at once: nothing was lost
};

/// Everything a recording itself knows of its process.
struct RecordingSnapshot {
  std::uint32_t version = 0;
  SourceKind source = SourceKind::kLibrary;
  ClockKind clock = ClockKind::kMonotonic;
  std::int32_t pid = 0;
  std::int32_t parent_pid = 0;
  std::uint64_t start_ticks = 0;
  /// It was forked off a recorded process and runs the same program (no exec since); never set
  /// without a ledger.
  bool forked = false;
  std::string command;
  std::vector<std::string> argv;
  std::uint64_t started_ns = 0;  // CLOCK_REALTIME
  std::uint64_t taken_ns = 0;
  Life life = Life::kRunning;
  std::optional<std::int32_t> exit_status;
  std::uint64_t ended_ns = 0;  // 0: unknown
  std::string path;            // empty: not in a file
  std::string error;           // why it is not in a file, or what could not be recorded

  std::vector<LoopSnapshot> loops;
  /// Descriptor numbers that are registered, with the epoll fd each is registered in.
  std::vector<std::pair<std::int32_t, std::int32_t>> registered;
  std::uint64_t dropped[static_cast<std::size_t>(DropKind::kCount)] = {};
  /// What system calls of loopscope's own failed with in that process; those that never did are not
  /// here.
  std::vector<OwnFailures> own_failures;
  /// Children it has waited for lately: pid and status as wait(2) gives it, the newest last.
  std::vector<std::pair<std::int32_t, int>> reaped;
  std::int32_t run_pid = 0;  // of the `loopscope run` it was started by; 0: none
  std::optional<Ledger> ledger;
  /// Nobody will write to it any more: another reading would say the same.
  bool finished = false;
  /// Whose it is, if that is neither root nor the user who reads it; see ModuleRecord.
  std::optional<std::uint32_t> as_user;
};

}  // namespace loopscope::recording
