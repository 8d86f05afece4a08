// SPDX-License-Identifier: Apache-2.0
//
// The writing side of one loop. What happens in every turn and callback is inline here; the rest is
// in loop_recorder.cpp.
//
// Thread-safety: a LoopRecorder and its watchers belong to the thread that runs the loop; making
// and ending them may happen on any thread. Cost of a turn (poll_begin + poll_end): two clock
// reads and a record of 32 bytes, and its share of counting 32 turns at once. No locked
// instruction, no allocation, no system call (bar a clock_gettime(2) four times a second, and one
// to reserve a page for each 256 of the first some thousand callbacks or descriptors served). Fork:
// the first operation in a forked child gives the child a recording of its own and moves the loop
// there; the parent's is never touched. Nothing here throws; what cannot be recorded is dropped and
// counted. errno is kept.
#pragma once

#include <errno.h>

#include <cstdint>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/process_recorder.h"

namespace loopscope::recording {

/// What the wait call reported, as far as it could be seen.
struct WaitOutcome {
  std::int32_t ready = kReadyUnknown;  // number of events returned; 0 for timeouts and errors
  WaitResult result = WaitResult::kEvents;
  bool saturated = false;  // returned as many as it was allowed to
  std::int64_t timeout_ns = kTimeoutUnknown;
};

/// Of a wait call that returned `returned` and left errno; `most`: how many events it may return, 0
/// if it has no bound.
inline WaitOutcome wait_outcome(int returned, std::int64_t timeout_ns, int most) noexcept {
  WaitOutcome seen;
  seen.timeout_ns = timeout_ns;
  seen.ready = returned > 0 ? returned : 0;
  seen.saturated = returned > 0 && returned == most;
  if (returned > 0) [[likely]] {
    seen.result = WaitResult::kEvents;
  } else if (returned == 0) {
    seen.result = WaitResult::kTimeout;
  } else {
    seen.result = errno == EINTR ? WaitResult::kInterrupted : WaitResult::kError;
  }
  return seen;
}

/// A named watcher of one loop: index + 1 in its table, 0 if the table was full (then nothing is
/// recorded). Valid until the loop ends, also across fork.
using WatcherRef = std::uint32_t;

struct LoopSettings {
  const char* name = "";
  const char* backend = "";
  std::uint64_t stall_threshold_ns = 100'000'000;
  std::uint32_t ring_turns = kDefaultRingTurns;  // rounded up to a power of two, 64 … 2^20
  ServedKind served = ServedKind::kWatchers;     // kWatchers: written by callback_end()
};

class LoopRecorder {
 public:
  explicit LoopRecorder(const LoopSettings& settings) noexcept;
  ~LoopRecorder();
  LoopRecorder(const LoopRecorder&) = delete;
  LoopRecorder& operator=(const LoopRecorder&) = delete;

  /// False if there is no room for this loop, or it is paused: all calls are harmless then.
  bool active() const noexcept { return block_ != nullptr; }
  std::uint32_t id() const noexcept { return id_; }

  /// Switches recording of this loop off and on (benchmarks; a host that wants none for a while).
  void pause(bool paused) noexcept;

  // --- the turn ---

  /// The thread starts or stops running the loop (outermost ev_run). Time outside belongs to no
  /// turn.
  void enter() noexcept;
  void leave() noexcept;
  /// For a caller that knows the thread, 0 if it must not ask the kernel; and one that learns later
  /// that the loop was left at `now`.
  void enter(std::int32_t thread_id) noexcept;
  void leave_at(std::uint64_t now) noexcept;

  /// For a host whose ev_run cannot be seen: callbacks are about to run, and have run. Whether the
  /// loop goes on after them or was left is not known then. If the next callbacks or the next wait
  /// follow within 1 ms, the time between was the loop's own and belongs to the turn; otherwise the
  /// turn ended with its callbacks.
  void maybe_entering() noexcept;
  void maybe_leaving() noexcept;

  /// Right before and right after the wait call.
  void poll_begin() noexcept {
    settle_fork();
    if (block_ != nullptr) [[likely]]
      begin_at(clock_.now());
  }
  void poll_end(const WaitOutcome& outcome) noexcept {
    if (block_ != nullptr && poll_start_ != 0) [[likely]]
      end_at(outcome, clock_.now());
  }

  /// Likewise for a wait that was seen before the loop was known to be one; CLOCK_MONOTONIC ns,
  /// rising.
  void poll_began_at(std::uint64_t now) noexcept {
    settle_fork();
    if (block_ != nullptr) begin_at(now);
  }
  void poll_ended_at(const WaitOutcome& outcome, std::uint64_t now) noexcept {
    if (block_ != nullptr && poll_start_ != 0) end_at(outcome, now);
  }

  // --- callbacks ---

  /// Start and end of a named callback. `exact_start`: read the clock for the start; otherwise the
  /// start is where the last measured interval of this turn ended (saves a clock read, right if
  /// nothing unnamed ran in between).
  struct CallbackFrame {
    std::uint64_t start_ns;
    std::uint64_t excluded_ns;
    WatcherRef outer;
    std::uint32_t stamp;
  };
  CallbackFrame callback_begin(WatcherRef watcher, bool exact_start) noexcept;
  void callback_end(const CallbackFrame& frame, WatcherRef watcher) noexcept;

  /// Time of this loop's clock, CLOCK_MONOTONIC ns.
  std::uint64_t now() noexcept { return clock_.now(); }

  /// Begin of the wait in progress or, in a turn, of the one that began it, CLOCK_MONOTONIC ns.
  std::uint64_t poll_started_ns() const noexcept { return poll_start_; }
  /// Number of the turn in progress, or of the next one.
  std::uint64_t turn() const noexcept {
    return block_ != nullptr ? block_->hot.turns.load() + 1 : 0;
  }
  /// Return of the wait that began the turn in progress, CLOCK_MONOTONIC ns.
  std::uint64_t turn_started_ns() const noexcept { return turn_start_; }
  /// Whether no named callback has run in this turn yet.
  bool first_callback() const noexcept { return callbacks_ == 0; }
  /// Events that the wait of this turn returned, kReadyUnknown if not known.
  std::int32_t ready() const noexcept { return ready_; }

  // --- what was served in the turn in progress ---

  /// From `from` to `until` (CLOCK_MONOTONIC ns) the turn in progress served `who`, see
  /// ServedRecord; after what was served before. For ServedKind::kDescriptors.
  void served(std::uint32_t who, std::uint64_t from, std::uint64_t until) noexcept {
    if (block_ == nullptr || turn_start_ == 0) [[unlikely]]
      return;
    // Another clock than ours may be a little behind.
    if (from < turn_start_) from = turn_start_;
    put_served(who, from, until > from ? until : from);
  }
  /// Whether the next record needs prepare_served() first, and whether that reserves memory, by
  /// system calls. served() calls it if nobody has.
  bool served_needs_room() const noexcept { return served_at_ >= served_end_; }
  bool served_grows() const noexcept;
  void prepare_served() noexcept;

  /// Whether the turn that the last call finished is the longest so far; until told by whom.
  bool worst_is_new() const noexcept { return worst_is_new_; }
  /// The descriptor that took most of it; `site` that opened it, index plus 1, 0: unknown.
  void worst_served(int fd, std::uint32_t generation, std::uint64_t ns,
                    std::uint32_t site) noexcept;

  /// A timer that was due at `due_ns` ran at `ran_ns` (CLOCK_MONOTONIC). Ran early counts as no
  /// lag.
  void timer_lag(WatcherRef watcher, std::uint64_t due_ns, std::uint64_t ran_ns) noexcept;

  // --- rarely ---

  /// Finds or makes the watcher of that name and kind.
  WatcherRef watcher(const char* name, std::size_t name_size, WatcherKind kind) noexcept;
  void watcher_active(WatcherRef watcher, int change, int fd) noexcept;

  /// The loop will not wait any more, as another thread found out (its descriptor was closed). The
  /// object stays its own thread's.
  void mark_ended() noexcept {
    if (LoopBlock* block = __atomic_load_n(&made_block_, __ATOMIC_RELAXED)) {
      block->ended.store_release(1);
    }
  }

  /// Takes the loop out of the recording as if it had never been: somebody else records it.
  void withdraw() noexcept;

  /// Whether this is a forked child that has not moved to a recording of its own yet.
  bool forked() const noexcept {
    return __atomic_load_n(sentinel_, __ATOMIC_RELAXED) != generation_;
  }
  /// Moves if need be; true if it did.
  bool settle_fork() noexcept {
    if (!forked()) [[likely]]
      return false;
    move_to_child();
    return true;
  }
  /// Number of forks since the first ancestor, plus one; as this loop knows it, and as the process
  /// does (something else in a child that has not settled).
  std::uint32_t generation() const noexcept { return generation_; }
  std::uint32_t process_generation() const noexcept {
    return __atomic_load_n(sentinel_, __ATOMIC_RELAXED);
  }

  void set_backend(const char* backend) noexcept;
  void set_epoll_fd(int epoll_fd) noexcept;
  void set_used_after_fork(bool used) noexcept;
  void backend_rebuilt() noexcept;

 private:
  void allocate_block(const LoopSettings& settings) noexcept;
  void move_to_child() noexcept;
  /// The turn and the callbacks in progress will not be counted.
  void forget_progress() noexcept;
  void begin_at(std::uint64_t now) noexcept;
  void end_at(const WaitOutcome& outcome, std::uint64_t now) noexcept;
  void finish_turn(std::uint64_t now) noexcept;
  /// In a turn; neither `from` before it nor `until` before `from`.
  void put_served(std::uint32_t who, std::uint64_t from, std::uint64_t until) noexcept;
  /// The callback that is running was until `now`, and something nested in it or another turn
  /// begins.
  void interrupt_callback(std::uint64_t now) noexcept;
  void add_served_chunk() noexcept;
  void count_rare(std::int32_t ready) noexcept;
  /// A stall, or longer than any turn before.
  void long_turn(std::uint64_t turn, std::uint64_t busy) noexcept;
  /// Counts the turns up to `last`, whose durations are given: they may be too long for its record.
  void fold(std::uint64_t last, std::uint64_t poll, std::uint64_t busy) noexcept;

  void open_section() noexcept {
    block_->hot.sequence.store(sequence_ + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
  }
  void close_section() noexcept { block_->hot.sequence.store_release(sequence_ += 2); }

  /// An empty histogram has min = max = 2^64-1, so that any value lies outside (see clear()).
  static void count(HistogramTotals& totals, Cell<std::uint64_t>& bucket,
                    std::uint64_t value) noexcept {
    bucket.add(1);
    totals.sum.add(value);
    const std::uint64_t min = totals.min.load();
    if (value - min > totals.max.load() - min) [[unlikely]]
      widen(totals, value);
  }
  static void widen(HistogramTotals& totals, std::uint64_t value) noexcept;
  static void clear(HistogramTotals& totals) noexcept;

  // In the order in which a turn touches them: after a system call they may have left the cache.
  LoopBlock* block_ = nullptr;  // null: nothing is recorded
  const std::uint32_t* sentinel_;
  std::uint32_t generation_ = 0;
  std::int32_t ready_ = 0;  // of the wait that began the turn in progress
  std::uint64_t sequence_ = 0;
  std::uint64_t turn_start_ = 0;  // return of that wait; 0: no turn is in progress
  std::uint64_t poll_start_ = 0;
  std::uint64_t dispatch_end_ = 0;  // 0: not known to have ended
  std::uint64_t mark_ = 0;          // end of the last measured interval
  std::uint64_t excluded_ns_ = 0;   // time inside the running callback that is not its own
  TurnRecord* ring_ = nullptr;
  std::uint64_t ring_mask_ = 0;
  std::uint64_t long_ns_ = 0;  // from here on a turn is a stall or the longest so far
  std::uint64_t top_ns_ = 0;   // longest named callback of the turn
  WatcherRef top_watcher_ = 0;
  std::uint32_t callbacks_ = 0;  // named callbacks that ran in this turn
  bool worst_is_new_ = false;
  ServedRecord* served_at_ = nullptr;  // where the next one goes; served_end_: into the next chunk
  ServedRecord* served_end_ = nullptr;
  std::uint64_t served_ = 0;         // so many were written
  std::uint64_t served_before_ = 0;  // so many before the turn in progress
  Clock clock_;

  ProcessRecorder& process_;
  std::uint64_t stall_threshold_ns_ = 0;
  std::uint64_t worst_busy_ns_ = 0;
  std::uint64_t worst_lag_ns_ = 0;
  WatcherRef running_ = 0;
  std::uint32_t stamp_ = 1;  // frames from before a fork or a pause are void
  std::uint32_t watcher_count_ = 0;
  std::uint32_t served_chunk_ = 0;   // that served_end_ ends
  std::uint32_t served_chunks_ = 0;  // at most; 0: what is served is not recorded
  LoopBlock* made_block_ = nullptr;  // what block_ is while not paused
  std::uint32_t id_ = 0;
  std::int32_t thread_id_ = 0;
  WatcherBlock* watchers_[kMaxWatchers + 1] = {};  // by WatcherRef
};

/// What a loop does between its last callback and its next wait (epoll_ctl calls, timer heap) stays
/// below this, ns.
inline constexpr std::uint64_t kLongestBookkeeping = 1'000'000;

inline void LoopRecorder::begin_at(std::uint64_t now) noexcept {
  poll_start_ = now;
  LoopHot& hot = block_->hot;
  open_section();
  if (turn_start_ != 0) [[likely]] {
    const bool was_outside = dispatch_end_ != 0 && now - dispatch_end_ > kLongestBookkeeping;
    finish_turn(was_outside ? dispatch_end_ : now);
  }
  dispatch_end_ = 0;
  hot.phase.store(Phase::kPolling);
  hot.phase_since_ns.store(now);
  close_section();
}

inline void LoopRecorder::end_at(const WaitOutcome& outcome, std::uint64_t now) noexcept {
  const std::uint64_t poll = now - poll_start_;
  turn_start_ = now;
  mark_ = now;
  excluded_ns_ += poll;
  ready_ = outcome.ready;

  LoopHot& hot = block_->hot;
  open_section();
  hot.phase.store(Phase::kDispatching);
  hot.phase_since_ns.store(now);
  hot.current_poll_ns.store(poll);
  hot.current_timeout_ns.store(outcome.timeout_ns);
  hot.current_ready.store(outcome.ready);
  hot.current_result.store(static_cast<std::uint16_t>(static_cast<unsigned>(outcome.result) |
                                                      (outcome.saturated ? kSaturatedBit : 0u)));
  hot.current_turn.store(static_cast<std::uint16_t>(hot.turns.load() + 1));
  close_section();
}

/// Inside a section. The wait's facts are read back from where poll_end put them: the loop's thread
/// is the only writer.
inline void LoopRecorder::finish_turn(std::uint64_t now) noexcept {
  LoopHot& hot = block_->hot;
  const std::uint64_t busy = now - turn_start_;
  const std::uint64_t poll = hot.current_poll_ns.load();
  const std::int32_t ready = hot.current_ready.load();
  const std::uint64_t turn = hot.turns.load() + 1;
  if (running_ != 0) [[unlikely]]
    interrupt_callback(now);

  TurnRecord& record = ring_[(turn - 1) & ring_mask_];
  record.at_ns.store(turn_start_);
  record.poll_and_busy.store(pack_duration(poll) | (std::uint64_t{pack_duration(busy)} << 32));
  record.timeout_and_watcher.store(pack_timeout(hot.current_timeout_ns.load()) |
                                   (std::uint64_t{pack_duration(top_ns_)} << 32));
  record.facts.store(
      pack_facts(ready, hot.current_result.load(), top_watcher_, served_ - served_before_, turn));
  served_before_ = served_;
  // Published last: once a reader has copied the ring and `turns` has not moved past what it
  // copied, the copy is whole.
  hot.turns.store_release(turn);

  // The histograms take the turn from the ring, with others.
  if (turn % kFoldTurns == 0 || (poll | busy) >= kExactDuration) [[unlikely]]
    fold(turn, poll, busy);
  // Most waits return events, were allowed to block and had room: one test for all that is rarer.
  if (ready <= 0 || hot.current_timeout_ns.load() == 0 || hot.current_result.load() != 0)
      [[unlikely]]
    count_rare(ready);
  if (busy >= long_ns_) [[unlikely]]
    long_turn(turn, busy);

  turn_start_ = 0;
  callbacks_ = 0;
  top_watcher_ = 0;
  top_ns_ = 0;
}

inline void LoopRecorder::put_served(std::uint32_t who, std::uint64_t from,
                                     std::uint64_t until) noexcept {
  if (served_needs_room()) [[unlikely]] {
    prepare_served();
    if (served_needs_room()) return;
  }
  LoopHot& hot = block_->hot;
  // A reader that sees any of what follows sees the count of the record before: it throws away what
  // lies where this one goes.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  served_at_->turn_and_who.store(((hot.turns.load() + 1) & 0xFFFFFFFF) | std::uint64_t{who} << 32);
  served_at_->start_and_duration.store(pack_durations(from - turn_start_, until - from));
  // The ring is larger than the nearest caches, and what a store waits for is paid at the next
  // system call: the line is asked for some records ahead.
  __builtin_prefetch(served_at_ + 16, 1);
  ++served_at_;
  hot.served.store_release(++served_);
}

inline LoopRecorder::CallbackFrame LoopRecorder::callback_begin(WatcherRef watcher,
                                                                bool exact_start) noexcept {
  settle_fork();
  if (block_ == nullptr) [[unlikely]]
    return {0, 0, 0, 0};
  const bool nested = running_ != 0;
  const std::uint64_t start = exact_start || nested ? clock_.now() : mark_;
  if (nested) [[unlikely]]
    interrupt_callback(start);
  const CallbackFrame frame{start, excluded_ns_, running_, stamp_};
  excluded_ns_ = 0;
  running_ = watcher;
  block_->hot.watcher_since_ns.store(start);
  block_->hot.running_watcher.store(watcher);
  return frame;
}

inline void LoopRecorder::callback_end(const CallbackFrame& frame, WatcherRef watcher) noexcept {
  // A callback that began in the parent, or while recording was off, has no usable start.
  if (settle_fork() || block_ == nullptr || frame.stamp != stamp_) [[unlikely]]
    return;
  const std::uint64_t now = clock_.now();
  const std::uint64_t total = now - frame.start_ns;
  const std::uint64_t own = total > excluded_ns_ ? total - excluded_ns_ : 0;
  excluded_ns_ = frame.excluded_ns + total;
  running_ = frame.outer;
  // Where the last thing nested in it ended, if anything was.
  if (turn_start_ != 0) [[likely]]
    put_served(watcher, mark_ > frame.start_ns ? mark_ : frame.start_ns, now);
  mark_ = now;
  block_->hot.running_watcher.store(frame.outer);
  ++callbacks_;
  const bool longest = own > top_ns_;
  top_ns_ = longest ? own : top_ns_;
  top_watcher_ = longest ? watcher : top_watcher_;
  if (WatcherBlock* block = watchers_[watcher]) [[likely]] {
    const std::uint64_t sequence = block->sequence.load();
    block->sequence.store(sequence + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    count(block->callback, block->callback_buckets[time_index(own)], own);
    block->sequence.store_release(sequence + 2);
  }
}

}  // namespace loopscope::recording
