// SPDX-License-Identifier: Apache-2.0
//
// The writing side of a recording. `process()` is this process' recording; each loop writes its
// turns through a LoopRecorder.
//
// Thread-safety: a LoopRecorder and its watchers belong to the thread that runs the loop; making
// and ending them, and the descriptor functions, may happen on any thread. Cost of a turn
// (poll_begin + poll_end): two clock reads and about 10 ns. No locked instruction, no allocation,
// no system call (bar a clock_gettime(2) four times a second). Fork: the first operation in a
// forked child gives the child a recording of its own and moves the loop there; the parent's is
// never touched. Nothing here throws; what cannot be recorded is dropped and counted.
#pragma once

#include <cstdint>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/region.h"

namespace loopscope::recording {

/// What the wait call reported, as far as it could be seen.
struct WaitOutcome {
  std::int32_t ready = kReadyUnknown;  // number of events returned; 0 for timeouts and errors
  WaitResult result = WaitResult::kEvents;
  bool saturated = false;  // returned as many as it was allowed to
  std::int64_t timeout_ns = kTimeoutUnknown;
};

/// A named watcher of one loop: index + 1 in its table, 0 if the table was full (then nothing is
/// recorded). Valid until the loop ends, also across fork.
using WatcherRef = std::uint32_t;

/// Descriptor slots are reserved 1024 numbers at a time.
inline constexpr std::uint32_t kFdsPerChunk = 1024;
inline constexpr std::uint32_t kFdChunks = 1024;

class ProcessRecorder {
 public:
  /// Creates the recording on the first call. Any thread. `source` counts on the first call only.
  static ProcessRecorder& instance(SourceKind source = SourceKind::kLibrary) noexcept;

  /// The instance if there is one already, for paths that must not create it.
  static ProcessRecorder* existing() noexcept;

  bool active() const noexcept { return region_.base != nullptr; }
  const Region& region() const noexcept { return region_; }
  ClockKind clock() const noexcept { return clock_; }

  /// Gives a forked child its own recording; returns the number of forks since the first ancestor,
  /// plus one. Harmless to call at any time.
  std::uint32_t settle_fork() noexcept;

  void drop(DropKind kind) noexcept;

  /// Notes that `fd` was put into (or, with epoll_fd -1, taken out of) an epoll set.
  void register_fd(int fd, int epoll_fd, std::uint32_t events) noexcept;

  /// At a normal end of the process.
  void ended(int status, bool status_known) noexcept;

 private:
  friend class LoopRecorder;
  ProcessRecorder() = default;
  void start(SourceKind source) noexcept;

  Region region_;
  ForkSentinel sentinel_;
  SourceKind source_ = SourceKind::kLibrary;
  ClockKind clock_ = ClockKind::kMonotonic;
  std::uint32_t generation_ = 1;
  std::uint32_t lock_ = 0;                        // guards making loops
  std::uint64_t fd_chunks_[kFdChunks / 64] = {};  // bit: this chunk of descriptor slots is reserved
};

struct LoopSettings {
  const char* name = "";
  const char* backend = "";
  std::uint64_t stall_threshold_ns = 100'000'000;
  std::uint32_t ring_turns = kDefaultRingTurns;  // rounded up to a power of two, 16 … 2^20
};

class LoopRecorder {
 public:
  explicit LoopRecorder(const LoopSettings& settings) noexcept;
  ~LoopRecorder();
  LoopRecorder(const LoopRecorder&) = delete;
  LoopRecorder& operator=(const LoopRecorder&) = delete;

  /// False if there is no room for this loop: all calls are harmless then.
  bool active() const noexcept { return block_ != nullptr; }
  std::uint32_t id() const noexcept { return id_; }

  /// Switches recording of this loop off and on (benchmarks; a host that wants none for a while).
  void pause(bool paused) noexcept;
  bool paused() const noexcept { return paused_; }

  // --- the turn ---

  /// The thread starts or stops running the loop (outermost ev_run). Time outside belongs to no
  /// turn.
  void enter() noexcept;
  void leave() noexcept;

  /// For a host whose ev_run cannot be seen: callbacks are about to run, and have run. Whether the
  /// loop goes on after them or was left is not known then. If the next callbacks or the next wait
  /// follow within 1 ms, the time between was the loop's own and belongs to the turn; otherwise the
  /// turn ended with its callbacks.
  void maybe_entering() noexcept;
  void maybe_leaving() noexcept;

  /// Right before and right after the wait call.
  void poll_begin() noexcept;
  void poll_end(const WaitOutcome& outcome) noexcept;

  // --- callbacks ---

  /// Start and end of a named callback. `exact_start`: read the clock for the start; otherwise the
  /// start is where the last measured interval of this turn ended (saves a clock read, right if
  /// nothing unnamed ran in between).
  struct CallbackFrame {
    std::uint64_t start_ns;
    std::uint64_t excluded_ns;
    WatcherRef outer;
    std::uint32_t generation;
  };
  CallbackFrame callback_begin(WatcherRef watcher, bool exact_start) noexcept;
  void callback_end(const CallbackFrame& frame, WatcherRef watcher) noexcept;

  /// The next callback starts now, not where the last one ended.
  void mark() noexcept;

  /// Time of this loop's clock, CLOCK_MONOTONIC ns.
  std::uint64_t now() noexcept { return clock_.now(); }

  /// Return of the wait that began the turn in progress, CLOCK_MONOTONIC ns.
  std::uint64_t turn_started_ns() const noexcept { return turn_start_; }
  /// Whether a callback ran in this turn already.
  bool first_callback() const noexcept { return callbacks_ == 0; }
  std::int32_t ready() const noexcept { return outcome_.ready; }

  /// A timer that was due at `due_ns` ran at `ran_ns` (CLOCK_MONOTONIC). Ran early counts as no
  /// lag.
  void timer_lag(WatcherRef watcher, std::uint64_t due_ns, std::uint64_t ran_ns) noexcept;

  // --- rarely ---

  /// Finds or makes the watcher of that name and kind.
  WatcherRef watcher(const char* name, std::size_t name_size, WatcherKind kind) noexcept;
  void watcher_active(WatcherRef watcher, int change, int fd) noexcept;
  /// True if this is a forked child that has not moved to a recording of its own until now.
  bool settle_fork() noexcept {
    if (__atomic_load_n(sentinel_, __ATOMIC_RELAXED) == generation_) [[likely]]
      return false;
    move_to_child();
    return true;
  }
  std::uint32_t generation() const noexcept { return generation_; }

  void set_backend(const char* backend) noexcept;
  void set_epoll_fd(int epoll_fd) noexcept;
  int epoll_fd() const noexcept { return epoll_fd_; }
  void set_used_after_fork(bool used) noexcept;
  void backend_rebuilt() noexcept;
  void set_stall_threshold(std::uint64_t threshold_ns) noexcept;

 private:
  void allocate_block(const LoopSettings& settings) noexcept;
  void move_to_child() noexcept;
  void finish_turn(std::uint64_t now) noexcept;
  void open_section() noexcept;
  void close_section() noexcept;
  WatcherBlock* watcher_block(WatcherRef watcher) const noexcept {
    return watcher != 0 ? watchers_[watcher - 1] : nullptr;
  }

  ProcessRecorder& process_;
  const std::uint32_t* sentinel_;
  std::uint32_t generation_ = 0;
  std::uint32_t id_ = 0;
  LoopBlock* block_ = nullptr;
  TurnRecord* ring_ = nullptr;
  std::uint64_t ring_mask_ = 0;
  std::uint64_t sequence_ = 0;
  Clock clock_;
  std::int32_t epoll_fd_ = -1;
  std::int32_t thread_id_ = 0;
  bool paused_ = false;
  bool turn_open_ = false;

  std::uint64_t turn_start_ = 0;  // return of the wait that began the turn
  std::uint64_t poll_start_ = 0;
  std::uint64_t poll_ns_ = 0;
  WaitOutcome outcome_;
  std::uint64_t dispatch_end_ = 0;  // 0: not known to have ended
  std::uint64_t mark_ = 0;          // end of the last measured interval
  std::uint64_t excluded_ns_ = 0;   // time inside the running callback that is not its own
  WatcherRef running_ = 0;
  std::uint32_t callbacks_ = 0;  // named callbacks that ran in this turn
  WatcherRef top_watcher_ = 0;
  std::uint64_t top_ns_ = 0;
  std::uint64_t stall_threshold_ns_ = 0;
  std::uint32_t watcher_count_ = 0;
  WatcherBlock* watchers_[kMaxWatchers] = {};
};

}  // namespace loopscope::recording
